"""What the API offers, declared once: requests are read, and the OpenAPI document is written, from it.

A parameter that is missing, malformed or unknown is refused by name before a handler sees the request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from core.instants import read_instant
from core.refusal import Refusal, Refused
from ui.store.token_rows import ApiToken
from ui.web.visit import Panel

PREFIX = "/api/v1"
_LONGEST = 300


class Scope(StrEnum):
    """What a token may do: look, or also act."""

    READ = "read"
    ACT = "act"

    def covers(self, asked: Scope) -> bool:
        """``act`` includes ``read``."""
        return self is Scope.ACT or asked is Scope.READ


class Kind(StrEnum):
    """How a parameter is written."""

    TEXT = "text"
    COUNT = "count"
    INSTANT = "instant"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a path or a query. ``at_most`` bounds a count; ``choices`` a text."""

    name: str
    meaning: str
    kind: Kind = Kind.TEXT
    in_path: bool = False
    required: bool = False
    default: int | None = None
    at_most: int = 1_000
    at_least: int = 0
    choices: tuple[str, ...] = ()

    def read(self, text: str) -> str | int | date | Refusal:
        """The value, or what is wrong with it."""
        if len(text) > _LONGEST:
            return self._wrong("long", f"is longer than {_LONGEST} characters")
        if self.kind is Kind.COUNT:
            return self._read_count(text)
        if self.kind is Kind.INSTANT:
            return self._read_instant(text)
        if self.kind is Kind.DAY:
            return self._read_day(text)
        if self.choices and text not in self.choices:
            return self._wrong("unknown", f"must be one of {', '.join(self.choices)}")
        return text

    def _read_count(self, text: str) -> int | Refusal:
        if text.isascii() and text.isdigit() and self.at_least <= int(text[:18]) <= self.at_most:
            return int(text)
        return self._wrong("range", f"must be a whole number from {self.at_least} to {self.at_most}")

    def _read_day(self, text: str) -> date | Refusal:
        try:
            return date.fromisoformat(text)
        except ValueError:
            return self._wrong("malformed", "is not a date; write it like 2026-03-31")

    def _read_instant(self, text: str) -> datetime | Refusal:
        try:
            return read_instant(text)
        except ValueError as trouble:
            return self._wrong("malformed", str(trouble))

    def _wrong(self, code: str, message: str) -> Refusal:
        return Refusal(f"{self.name}.{code}", message, self.name)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to the API: who asks, and the parameters as read."""

    panel: Panel
    token: ApiToken
    values: Mapping[str, Any]

    @property
    def actor(self) -> str:
        """For the audit trail."""
        return f"token:{self.token.name}"

    def text(self, name: str) -> str:
        """A text parameter; empty when it was left out."""
        return str(self.values.get(name) or "")

    def day(self, name: str) -> date | None:
        """A day; None when it was left out."""
        found = self.values.get(name)
        return found if isinstance(found, date) else None

    def count(self, name: str) -> int:
        """A count, or its default."""
        return int(self.values[name])


@dataclass(frozen=True, slots=True)
class Download:
    """An answer that is a file, written while it is read."""

    file_name: str
    content_type: str
    parts: Callable[[], AsyncIterator[str]]


Answer = Mapping[str, Any] | Download
Handler = Callable[[Ask], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing the API does. ``shape`` describes its answer for the OpenAPI document."""

    method: str
    path: str
    name: str
    summary: str
    scope: Scope
    handler: Handler
    shape: Mapping[str, Any]
    parameters: Sequence[Parameter] = field(default_factory=tuple)
    content_type: str = "application/json"

    def values(self, path: Mapping[str, str], query: Mapping[str, str]) -> dict[str, Any]:
        """Every parameter as read. Raises ``Refused`` naming the first that is wrong."""
        known = {one.name for one in self.parameters if not one.in_path}
        for name in query:
            if name not in known:
                offered = ", ".join(sorted(known)) or "none"
                words = f"there is no such parameter; there are {offered}"
                raise Refused(Refusal("parameter.unknown", words, name[:60]))
        return {one.name: _value(one, path if one.in_path else query) for one in self.parameters}


def _value(parameter: Parameter, given: Mapping[str, str]) -> Any:
    text = given.get(parameter.name, "").strip()
    if not text:
        if parameter.required:
            raise Refused(
                Refusal(f"{parameter.name}.missing", f"is missing: {parameter.meaning}", parameter.name)
            )
        return parameter.default
    value = parameter.read(text)
    if isinstance(value, Refusal):
        raise Refused(value)
    return value


class Operations:
    """The operations of one module; each is declared with its scope, for there is no other way."""

    def __init__(self) -> None:
        self.declared: list[Operation] = []

    def get(
        self, path: str, summary: str, shape: Mapping[str, Any], *parameters: Parameter
    ) -> Callable[[Handler], Handler]:
        """Declare something to look at."""
        return self._declare("GET", path, summary, Scope.READ, shape, parameters)

    def download(self, path: str, summary: str, *parameters: Parameter) -> Callable[[Handler], Handler]:
        """Declare a file to take away."""
        return self._declare("GET", path, summary, Scope.READ, {"type": "string"}, parameters, "text/plain")

    def post(
        self, path: str, summary: str, shape: Mapping[str, Any], *parameters: Parameter
    ) -> Callable[[Handler], Handler]:
        """Declare something to do."""
        return self._declare("POST", path, summary, Scope.ACT, shape, parameters)

    def _declare(  # noqa: PLR0917 - what an operation is
        self,
        method: str,
        path: str,
        summary: str,
        scope: Scope,
        shape: Mapping[str, Any],
        parameters: Sequence[Parameter],
        content_type: str = "application/json",
    ) -> Callable[[Handler], Handler]:
        def keep(handler: Handler) -> Handler:
            name = handler.__name__
            self.declared.append(
                Operation(
                    method,
                    PREFIX + path,
                    name,
                    summary,
                    scope,
                    handler,
                    shape,
                    tuple(parameters),
                    content_type,
                )
            )
            return handler

        return keep
