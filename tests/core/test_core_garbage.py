"""The collector rests within, works afterwards, and is left alone by who is nested or had it off."""

from __future__ import annotations

import gc
import weakref

import pytest

from core.garbage import collected_after


class Knot:
    """Refers to itself."""

    def __init__(self) -> None:
        self.self = self


def test_nothing_is_collected_within_and_what_was_made_is_afterwards() -> None:
    with collected_after():
        assert not gc.isenabled()
        with collected_after():
            pass
        assert not gc.isenabled()
        lost = weakref.ref(Knot())
        assert lost() is not None
    assert gc.isenabled()
    assert lost() is None


def test_it_works_again_after_a_failure_and_stays_off_where_it_was() -> None:
    with pytest.raises(LookupError), collected_after():
        raise LookupError
    assert gc.isenabled()
    gc.disable()
    try:
        with collected_after():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
