"""The collector of cyclic garbage, kept from walking over the same living objects again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collected_after() -> Iterator[None]:
    """Within, nothing is collected; what was young is looked through at the end.

    For a stretch that makes hundreds of thousands of objects which live as long as it does: each collection
    on the way would walk over them all and find nothing. Nested, the outermost counts.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(1)
