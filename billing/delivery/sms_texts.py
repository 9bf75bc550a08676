"""The words of text messages: short, in the account's language, the operator's own over the built-in ones."""

from __future__ import annotations

import string
from collections.abc import Mapping
from datetime import date
from typing import Any

from billing.documents.words import Words

LONGEST = 480
"""Characters: three parts of a GSM message."""
NAMES = ("number", "name", "overdue", "invoice", "due_on", "days", "next_on", "promise_until")
"""What a text may name in braces."""
BUILT_IN: dict[str, dict[str, str]] = {
    "en": {
        "reminder_1": "{overdue} has been due since {due_on} (account {number}). Please pay soon.",
        "reminder_2": "Second reminder: {overdue} is overdue (account {number}). Please pay by {next_on}.",
        "restriction_notice": "Your line is slowed down: {overdue} is overdue (account {number}).",
        "suspension_notice": "Your line is suspended: {overdue} is overdue (account {number}).",
        "ended_notice": "Your service has ended: {overdue} is overdue (account {number}).",
        "promise_broken": "We did not get the payment promised by {promise_until} (account {number}).",
        "service_restored": "Thank you. Your line is back (account {number}).",
    },
    "de": {
        "reminder_1": "{overdue} sind seit {due_on} fällig (Konto {number}). Bitte zahlen Sie bald.",
        "reminder_2": "Zweite Mahnung: {overdue} überfällig (Konto {number}). Bitte bis {next_on} zahlen.",
        "restriction_notice": "Ihr Anschluss ist gedrosselt: {overdue} sind überfällig (Konto {number}).",
        "suspension_notice": "Ihr Anschluss ist gesperrt: {overdue} sind überfällig (Konto {number}).",
        "ended_notice": "Ihr Anschluss ist beendet: {overdue} sind überfällig (Konto {number}).",
        "promise_broken": "Die bis {promise_until} zugesagte Zahlung kam nicht an (Konto {number}).",
        "service_restored": "Vielen Dank. Ihr Anschluss ist wieder frei (Konto {number}).",
    },
    "es": {
        "reminder_1": "Debe {overdue} desde el {due_on} (cuenta {number}). Por favor, pague pronto.",
        "reminder_2": "Segundo aviso: {overdue} pendiente (cuenta {number}). Pague antes del {next_on}.",
        "restriction_notice": "Su línea va más lenta: {overdue} pendiente (cuenta {number}).",
        "suspension_notice": "Su línea está suspendida: {overdue} pendiente (cuenta {number}).",
        "ended_notice": "Su servicio ha terminado: {overdue} pendiente (cuenta {number}).",
        "promise_broken": "No recibimos el pago prometido para el {promise_until} (cuenta {number}).",
        "service_restored": "Gracias. Su línea funciona de nuevo (cuenta {number}).",
    },
}
"""Other languages read English."""


def fault_of(text: str) -> str | None:
    """What is wrong with a text of the operator's, or None."""
    if not text.strip() or len(text) > LONGEST:
        return f"a text has 1 to {LONGEST} characters"
    try:
        named = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as trouble:
        return str(trouble)
    unknown = sorted(named - set(NAMES))
    return f"there is no {{{unknown[0]}}}; there are {', '.join(NAMES)}" if unknown else None


def compose_sms(template: str, context: Mapping[str, Any], locale: str, own: Mapping[str, str]) -> str | None:
    """The message; None for a template that nobody has written."""
    words = Words(locale, str(context["currency"]))
    source = own.get(template) or BUILT_IN.get(words.language, BUILT_IN["en"]).get(template)
    if source is None:
        return None
    values = {
        "number": context["account_number"], "name": context["account_name"],
        "overdue": words.money(context["overdue_minor"]), "invoice": context["invoice"] or "",
        "days": context["days_overdue"], "due_on": _day(context["due_on"], words),
        "next_on": _day(context["next_on"], words), "promise_until": _day(context["promise_until"], words),
    }  # fmt: skip
    # Filled in by name, once: a value is never read as a template.
    return "".join(
        literal + ("" if name is None else str(values[name]))
        for literal, name, _, _ in string.Formatter().parse(source)
    )[:LONGEST]


def _day(text: str | None, words: Words) -> str:
    return "" if text is None else words.short_day(date.fromisoformat(text))
