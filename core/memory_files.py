"""Files that are on no disk, for libraries that take keys by a file's name alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_memory(certificate: bytes, key: bytes) -> Iterator[tuple[Path, Path]]:
    """A certificate and its key as files that are on no disk."""
    opened = []
    try:
        for content in (certificate, key):
            descriptor = os.memfd_create("hilltop-tls", os.MFD_CLOEXEC)
            opened.append(descriptor)
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(content)
        first, second = (Path(f"/proc/self/fd/{one}") for one in opened)
        yield first, second
    finally:
        for descriptor in opened:
            os.close(descriptor)
