"""An expected "no", as a value.

A use case that cannot do what was asked returns a ``Refusal``; broken invariants raise. The caller shows
``message`` to the operator: it names the field and the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not done. ``code`` is stable for programs, ``message`` is for people."""

    code: str
    message: str
    field: str | None = None

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class Refused(Exception):  # noqa: N818 - the word of the glossary
    """Carries a refusal through a transaction that must be rolled back."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


_T = TypeVar("_T")


def granted(outcome: _T | Refusal) -> _T:
    """The outcome, or ``Refused`` raised so that the surrounding transaction rolls back."""
    if isinstance(outcome, Refusal):
        raise Refused(outcome)
    return outcome
