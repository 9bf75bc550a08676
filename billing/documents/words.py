"""The words of documents in each language, and dates, amounts and octets as a locale writes them.

English stands in the code. The other languages are gettext catalogues in `languages/`, `de.po` and so on:
they are read as they are, so that a translator's change needs no build.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

from babel import Locale
from babel.dates import format_date, format_interval, format_skeleton
from babel.messages.pofile import read_po
from babel.numbers import format_currency, format_decimal

from core.money import minor_digits
from core.periods import Period

CATALOGUES = Path(__file__).parent / "languages"
LANGUAGES = ("en", "de", "es", "fr", "pt")
_TOUCHING = re.compile(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
"""Where letters of a currency meet digits: CLDR's currencySpacing, which babel leaves out."""
_LETTER_PAPER = {"US", "CA", "MX", "PH", "CL", "CO", "VE"}


class Words:
    """One locale's words and figures, in one currency."""

    def __init__(self, locale: str, currency: str = "USD") -> None:
        self.locale = locale
        self.currency = currency
        self._parsed = _parsed(locale)
        self.language = self._parsed.language if self._parsed.language in LANGUAGES else "en"
        self._catalogue = catalogue(self.language)

    @property
    def paper(self) -> str:
        """The sheet that the locale's country prints on, as Typst calls it."""
        return "us-letter" if self._parsed.territory in _LETTER_PAPER else "a4"

    def say(self, english: str, **values: object) -> str:
        """``english`` in this language, with ``{name}`` replaced by ``values``."""
        text = self._catalogue.get(english, english)
        return text.format(**values) if values else text

    def money(self, amount_minor: int, currency: str | None = None) -> str:
        """An amount in the currency's own digits."""
        currency = currency or self.currency
        major = Decimal(amount_minor).scaleb(-minor_digits(currency))
        written = format_currency(major, currency, _pattern(self._parsed, currency), self._parsed, False)
        return _TOUCHING.sub("\N{NO-BREAK SPACE}", written)

    def unit_price(self, minor: str) -> str:
        """A price in minor units that may have more decimals than the currency."""
        digits = minor_digits(self.currency)
        major = Decimal(minor).scaleb(-digits)
        if major == round(major, digits):
            return self.money(int(Decimal(minor)))
        return format_currency(
            major.normalize(), self.currency, locale=self._parsed, decimal_quantization=False
        )

    def day(self, day: date) -> str:
        """The date as in a letter."""
        return format_date(day, "long", locale=self._parsed)

    def short_day(self, day: date) -> str:
        """The date for a column of a table."""
        return format_date(day, "medium", locale=self._parsed)

    def day_and_month(self, day: date) -> str:
        """For an axis."""
        return str(format_skeleton("MMMd", day, locale=self._parsed))

    def period(self, period: Period) -> str:
        """First to last day, both included, as people write it."""
        last = period.end - timedelta(days=1)
        if last <= period.start:
            return self.short_day(period.start)
        return str(format_interval(period.start, last, "yMMMd", locale=self._parsed))

    def octets(self, octets: int) -> str:
        """``1.50 GB``: decimal multiples, as plans are sold."""
        value, unit = Decimal(octets), "B"
        for larger in ("kB", "MB", "GB", "TB"):
            if abs(value) < 1000:
                break
            value, unit = value / 1000, larger
        digits = "#,##0" if unit == "B" else "#,##0.00"
        unit = unit.replace("B", "o") if self.language == "fr" else unit
        return f"{format_decimal(value, digits, locale=self._parsed)} {unit}"

    def rate(self, bps: int) -> str:
        """``42.50 Mbit/s``."""
        return f"{format_decimal(Decimal(bps) / 10**6, '#,##0.00', locale=self._parsed)} Mbit/s"


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """English to ``language``; empty for English itself."""
    path = CATALOGUES / f"{language}.po"
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        found = read_po(file, locale=language)
    return {str(one.id): str(one.string) for one in found if one.id and one.string and not one.fuzzy}


@cache
def _parsed(locale: str) -> Locale:
    return Locale.parse(locale)


@cache
def _pattern(locale: Locale, currency: str) -> str:
    """The locale's way with the digits that ISO 4217 gives the currency, whatever CLDR thinks of its use."""
    digits = minor_digits(currency)
    pattern = locale.currency_formats["standard"].pattern
    return ";".join(_with_digits(part, digits) for part in pattern.split(";"))


def _with_digits(pattern: str, digits: int) -> str:
    return pattern.replace("0.00", "0." + "0" * digits if digits else "0")
