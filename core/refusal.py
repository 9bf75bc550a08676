"""An expected "no", as a value.

A use case that cannot do what was asked returns a ``Refusal``; broken invariants raise. The caller shows
``message`` to the operator: it names the field and the remedy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar


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
_P = ParamSpec("_P")


def refuse(code: str, message: str, field: str | None = None) -> NoReturn:
    """Raise a refusal, inside a use case that is ``answering``."""
    raise Refused(Refusal(code, message, field))


def answering(use_case: Callable[_P, Awaitable[_T]]) -> Callable[_P, Awaitable[_T | Refusal]]:
    """A use case of several steps, any of which may refuse by raising: it answers with the refusal.

    It must refuse before it writes, or its caller must roll back on a refusal, as with any use case.
    """

    @wraps(use_case)
    async def answer(*args: _P.args, **kwargs: _P.kwargs) -> _T | Refusal:
        try:
            return await use_case(*args, **kwargs)
        except Refused as refused:
            return refused.refusal

    return answer


def granted(outcome: _T | Refusal) -> _T:
    """The outcome, or ``Refused`` raised so that the surrounding transaction rolls back."""
    if isinstance(outcome, Refusal):
        raise Refused(outcome)
    return outcome
