"""What a dialect declares: how it says a speed, a filter and the rest of a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aaa.domain.profile import SessionTerms
from radius.dialects.attributes import WireAttribute

Words = list[WireAttribute]


def nothing(_terms: SessionTerms) -> Words:
    """This kind of NAS has no words for that."""
    return []


def no_remarks(_terms: SessionTerms) -> list[str]:
    """Everything can be said."""
    return []


@dataclass(frozen=True, slots=True)
class Dialect:
    """The words of one kind of NAS. An Accept carries all of them, a CoA ``speed`` and ``filter``.

    ``filter`` gets the terms and the name of the filter: a CoA that restores a session names the open one,
    because a filter can be replaced and not taken away. ``gives_addresses`` is False for radios that would
    take a subscriber's address for their own. ``remarks`` say what the words cannot carry.
    """

    name: str
    speed: Callable[[SessionTerms], Words]
    filter: Callable[[SessionTerms, str], Words]
    session: Callable[[SessionTerms], Words] = nothing
    gives_addresses: bool = True
    remarks: Callable[[SessionTerms], list[str]] = no_remarks
