"""Reading forms: each field becomes a value or a fault that is shown beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from core.money import parse_amount
from core.refusal import Refusal

LONGEST_FIELD = 4_000
GENERAL = ""  # the key of a fault that belongs to no field


class Form:
    """Posted text and what is wrong with it."""

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        self._fields = dict(fields or {})
        self.faults: dict[str, str] = {}
        self._labels: dict[str, str] = {}

    @property
    def ok(self) -> bool:
        """True while nothing is wrong."""
        return not self.faults

    def over(self, stands: Mapping[str, str]) -> Form:
        """This form on a page with others: fields that it does not have show what ``stands``."""
        whole = Form({**stands, **self._fields})
        whole.faults, whole._labels = self.faults, self._labels
        return whole

    def value(self, name: str, default: str = "") -> str:
        """The text as typed, for showing it again."""
        return self._fields.get(name, default)

    def has(self, name: str) -> bool:
        """Whether the form was sent with that field."""
        return name in self._fields

    def fault(self, name: str) -> str:
        """What is wrong with a field, or nothing."""
        return self.faults.get(name, "")

    def labelled(self, name: str, label: str) -> str:
        """Remember what a page calls a field, for the list of faults above it; writes nothing."""
        self._labels[name] = label
        return ""

    def label(self, name: str) -> str:
        """What the page calls the field; before it was drawn, its name."""
        return self._labels.get(name) or name.replace("_", " ").capitalize()

    def refuse(self, refusal: Refusal) -> None:
        """Show a use case's refusal beside its field; ``amount_minor`` is what ``amount`` typed."""
        name = refusal.field or GENERAL
        typed = name.removesuffix("_minor").removesuffix("_id")
        self.faults[typed if name not in self._fields and typed in self._fields else name] = refusal.message

    def text(self, name: str, *, longest: int = 200) -> str:
        """A text that must be there."""
        value = self.optional(name, longest=longest)
        if value is None:
            self.blame(name, "is missing: fill it in")
            return ""
        return value

    def optional(self, name: str, *, longest: int = 200) -> str | None:
        """A text, or None when the field is empty."""
        value = self._fields.get(name, "").strip()
        if len(value) > longest:
            self.blame(name, f"is too long: use at most {longest} characters")
        if any(ord(character) < 32 and character not in "\r\n\t" for character in value):
            self.blame(name, "holds characters that cannot be typed: remove them")
        return value or None

    def secret(self, name: str) -> str | None:
        """A secret exactly as typed (blanks count), or None when empty."""
        value = self._fields.get(name, "")[:LONGEST_FIELD].replace("\r\n", "\n")
        return value or None

    def choice(self, name: str, choices: Iterable[str]) -> str:
        """One of ``choices``."""
        value = self._fields.get(name, "")
        allowed = list(choices)
        if value not in allowed:
            self.blame(name, "is not one of the choices: pick one")
        return value

    def flag(self, name: str) -> bool:
        """True when the box is ticked."""
        return self._fields.get(name, "") == "yes"

    def integer(self, name: str, *, least: int, most: int, default: int | None = None) -> int:
        """A whole number within bounds."""
        typed = self._fields.get(name, "").strip()
        if not typed and default is not None:
            return default
        if not (typed.isascii() and typed.isdigit() and least <= int(typed[:18]) <= most):
            self.blame(name, f"must be a whole number from {least} to {most}")
            return least
        return int(typed)

    def optional_integer(self, name: str, *, least: int, most: int) -> int | None:
        """A whole number within bounds, or None when the field is empty."""
        if not self._fields.get(name, "").strip():
            return None
        return self.integer(name, least=least, most=most)

    def scaled(self, name: str, unit: int, *, most: int, required: bool = True) -> int | None:
        """A decimal number such as ``2.5`` times ``unit`` (1,000,000 for Mbit/s), as a whole number."""
        typed = self._fields.get(name, "").strip()
        if not typed and not required:
            return None
        number = self._decimal(typed)
        if number is None or not 0 < number <= most:
            self.blame(name, f"must be a number above 0 and at most {most}, like 25 or 2.5")
            return 1
        return int(number * unit)

    def optional_decimal(self, name: str, *, least: int, most: int) -> float | None:
        """A decimal number within bounds, or None when the field is empty."""
        typed = self._fields.get(name, "").strip()
        if not typed:
            return None
        number = self._decimal(typed)
        if number is None or not least <= number <= most:
            self.blame(name, f"must be a number from {least} to {most}")
            return None
        return float(number)

    def amount(self, name: str, currency: str, *, zero: bool = False) -> int:
        """An amount of money in minor units, above zero (or zero where that makes sense)."""
        try:
            minor = parse_amount(self._fields.get(name, "")[:20], currency)
        except ValueError as trouble:
            self.blame(name, str(trouble))
            return 1
        if minor < 0 or (minor == 0 and not zero) or minor > 10**12:
            self.blame(name, "must be above zero, like 49.00")
            return 1
        return minor

    def optional_date(self, name: str) -> date | None:
        """A date, or None when the field is empty."""
        typed = self._fields.get(name, "").strip()
        if not typed:
            return None
        try:
            return date.fromisoformat(typed)
        except ValueError:
            self.blame(name, "is not a date: write it like 2026-03-31")
            return None

    @staticmethod
    def _decimal(typed: str) -> Decimal | None:
        try:
            number = Decimal(typed[:30])
        except InvalidOperation:
            return None
        return number if number.is_finite() else None

    def instant(self, name: str) -> datetime | None:
        """An instant that a page put into its form."""
        try:
            told = datetime.fromisoformat(self._fields.get(name, "").strip())
        except ValueError:
            told = None
        if told is None or told.tzinfo is None:
            self.blame(name, "is missing: open the page anew")
            return None
        return told

    def blame(self, name: str, message: str) -> None:
        """Note what is wrong with a field; the first fault of a field stands."""
        self.faults.setdefault(name, message)
