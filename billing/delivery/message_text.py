"""The words of a message: templates in a sandbox, the operator's own over the built-in ones.

Values are data: they are never read as templates, and in HTML they are escaped. A subject is one line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, Undefined, pass_context
from jinja2.runtime import Context

from billing.documents.look import Look
from billing.documents.sandbox import TemplateSandbox
from billing.documents.words import LANGUAGES, Words
from core.refusal import Refusal

TEMPLATES = Path(__file__).parent / "templates"
_LONGEST_SUBJECT = 200
_LARGEST_TEMPLATE = 20_000


class MessageError(Exception):
    """A template cannot be filled in; the message says which value or construct it is."""


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """Sources of one message in one language; ``html`` None: made of the body."""

    subject: str
    body: str
    html: str | None = None


@dataclass(frozen=True, slots=True)
class MessageText:
    """A message as it is read."""

    subject: str
    text: str
    html: str

    @property
    def paragraphs(self) -> list[str]:
        """The text for a letter."""
        return [" ".join(one.split()) for one in self.text.split("\n\n") if one.strip()]


@cache
def built_in(language: str) -> Mapping[str, MessageTemplate]:
    """Every message that Hilltop comes with, by name, in a language (English for one it does not speak)."""
    name = language if language in LANGUAGES else "en"
    found = tomllib.loads((TEMPLATES / f"{name}.toml").read_text(encoding="utf-8"))
    return {key: MessageTemplate(one["subject"], one["body"]) for key, one in found.items()}


def fill_in(template: MessageTemplate, look: Look, words: Words, values: Mapping[str, Any]) -> MessageText:
    """The message with its values. Raises ``MessageError``."""
    context = {
        "pay_url": None, "document_url": None, "next_on": None, "due_on": None, "next_try_on": None,
        **values, "provider": look.issuer.name, "provider_phone": look.issuer.phone or "",
        "provider_email": look.issuer.email or "", "_words": words,
    }  # fmt: skip
    try:
        subject = " ".join(_plain(template.subject).render(context).split())[:_LONGEST_SUBJECT]
        text = _tidy(_plain(template.body).render(context))
        shown = {
            **context, "language": words.language, "subject": subject, "accent": look.terms.accent,
            "paragraphs": _paragraphs(text), "footer": _footer(look),
        }  # fmt: skip
        html = _escaped(template.html).render(shown) if template.html else _frame().render(shown)
    except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as trouble:
        raise MessageError(f"{type(trouble).__name__}: {trouble}"[:500]) from None
    if not subject:
        raise MessageError("the subject is empty")
    return MessageText(subject, text, html)


def _tidy(text: str) -> str:
    """Paragraphs that came out empty are left out."""
    paragraphs = [one.strip() for one in text.replace("\r\n", "\n").split("\n\n")]
    return "\n\n".join(one for one in paragraphs if one) + "\n"


def _paragraphs(text: str) -> list[dict[str, Any]]:
    return [
        {"link": one if _is_link(one) else None, "lines": one.split("\n")}
        for one in text.strip().split("\n\n")
    ]


def _is_link(text: str) -> bool:
    return text.startswith(("https://", "http://")) and not any(one.isspace() for one in text)


def _footer(look: Look) -> list[str]:
    issuer = look.issuer
    return [one for one in (issuer.name, *issuer.address, issuer.phone, issuer.email, issuer.website) if one]


@pass_context
def _money(context: Context, minor: Any) -> str:
    if isinstance(minor, Undefined) or minor is None:
        raise ValueError("there is no such amount")
    return str(context["_words"].money(int(minor), context.get("currency")))


@pass_context
def _day(context: Context, day: Any) -> str:
    return str(context["_words"].day(date.fromisoformat(str(day))))


@pass_context
def _octets(context: Context, octets: Any) -> str:
    return str(context["_words"].octets(int(octets)))


@lru_cache(maxsize=128)
def _plain(source: str) -> Any:
    return _environment(autoescape=False).from_string(source)


@lru_cache(maxsize=32)
def _escaped(source: str) -> Any:
    return _environment(autoescape=True).from_string(source)


@cache
def _environment(*, autoescape: bool) -> Environment:
    environment = TemplateSandbox(autoescape=autoescape, undefined=StrictUndefined)
    environment.filters.update(money=_money, day=_day, octets=_octets)
    return environment


@cache
def _frame() -> Any:
    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("message.html.j2")


def sample_values(words: Words) -> dict[str, Any]:
    """Values of every message that Hilltop comes with, for previews."""
    return {
        "name": "Juniper Flats Creamery", "account_number": "A-000217",
        "account_name": "Juniper Flats Creamery",
        "currency": words.currency, "number": "INV-000042", "total_minor": 7944, "open_minor": 5944,
        "issued_on": "2026-04-01", "due_on": "2026-04-15", "amount_minor": 5000, "method": "card",
        "received_on": "2026-04-09", "from_on": "2026-04-01", "until_on": "2026-04-30",
        "overdue_minor": 5944, "days_overdue": 5, "overdue": words.money(5944), "invoice": "INV-000042",
        "invoices": ["INV-000042"], "next_on": "2026-04-25", "next_stage": "restricted", "next_try_on": None,
        "promise_until": None, "stage": "reminded", "on": "2026-04-20", "invoice_id": "inv_sample",
        "percent": 80, "used": 160_000_000_000, "included": 200_000_000_000, "window_end": "2026-05-01",
        "plan": "Home 100", "bound_until": "2026-05-01", "renews_months": 12, "after": "renews",
        "pay_url": "https://pay.example.net/INV-000042", "document_url": None,
    }  # fmt: skip


def check_template(template: MessageTemplate, look: Look, language: str) -> MessageText | Refusal:
    """The message with made-up values, or why its template cannot be used."""
    parts = (("subject", template.subject), ("body", template.body), ("html", template.html or ""))
    for name, source in parts:
        if len(source) > _LARGEST_TEMPLATE:
            return Refusal("template.large", f"is longer than {_LARGEST_TEMPLATE} characters", name)
    words = Words(language)
    try:
        return fill_in(template, look, words, sample_values(words))
    except MessageError as trouble:
        return Refusal("template.wrong", str(trouble), "body")
