"""The square that a telephone pays from: EPC069-12 for euro by bank transfer, else a link to a page.

EPC069-12 "Quick Response Code: Guidelines to enable data capture for the initiation of a SEPA credit
transfer": version 002, service SCT, error correction level M, remittance of at most 140 characters.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from core.money import minor_digits

_LARGEST_EPC_MINOR = 99_999_999_999


@dataclass(frozen=True, slots=True)
class PaymentCode:
    """A drawn code. ``kind``: epc or link; ``svg`` has no size of its own; ``target``: what a link opens."""

    kind: str
    svg: str
    target: str | None = None


def payment_code(
    *, name: str, iban: str | None, bic: str | None, pay_url: str | None, amount_minor: int, currency: str,
    number: str, link: str | None = None,
) -> PaymentCode | None:  # fmt: skip
    """The code for an amount that is asked for; None when nothing is, or nobody said how it could be paid.

    ``pay_url`` has ``{number}`` where the invoice's number goes, ``{link}`` where its own signed link does.
    """
    if amount_minor <= 0:
        return None
    if currency == "EUR" and iban and amount_minor <= _LARGEST_EPC_MINOR:
        return _epc(name, iban, bic, Decimal(amount_minor).scaleb(-minor_digits(currency)), number)
    target = pay_target(pay_url, number, link)
    if target:
        import segno

        return PaymentCode("link", _svg(segno.make(target, error="m", micro=False)), target)
    return None


def pay_target(pay_url: str | None, number: str, link: str | None) -> str | None:
    """The page to pay at; None without one, or without the link that it needs."""
    if not pay_url or ("{link}" in pay_url and not link):
        return None
    return pay_url.replace("{number}", quote(number, safe="")).replace("{link}", link or "")


def _epc(name: str, iban: str, bic: str | None, amount: Decimal, number: str) -> PaymentCode:
    from segno.helpers import make_epc_qr

    code = make_epc_qr(
        name=name[:70], iban=iban.replace(" ", ""), amount=amount, text=number[:140], bic=bic,
        encoding="utf-8",
    )  # fmt: skip
    return PaymentCode("epc", _svg(code))


def _svg(code: Any) -> str:
    drawn = io.BytesIO()
    code.save(
        drawn, kind="svg", xmldecl=False, svgclass=None, lineclass=None, omitsize=True, border=0, nl=False
    )
    return drawn.getvalue().decode()
