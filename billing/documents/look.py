"""What documents look like: letterhead, logo, colour, templates. A value; ``keep_look`` keeps it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from billing.config import BillingSettings, IssuerSettings
from billing.documents.logo import Logo
from core.iban import check_iban
from core.locales import check_locale

TEMPLATES = Path(__file__).parent / "templates"
EDITABLE = {
    "style.typ": "What all printed documents share: type, letterhead, address, footer",
    "invoice.typ": "Invoices and credit notes",
    "statement.typ": "Statements of account",
    "receipt.typ": "Receipts",
    "letter.typ": "Reminder letters",
    "deposit.typ": "Deposit slips for the bank",
    "invoice.html.j2": "Invoices and credit notes on a screen",
    "invoice.css": "The style of invoices on a screen",
}
_COLOUR = re.compile(r"#[0-9a-f]{6}")


class LookTerms(BaseModel):
    """What may be set in the panel, over the settings file; None: as the file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(None, min_length=1, max_length=120)
    address: list[str] | None = Field(None, max_length=6)
    email: str | None = Field(None, max_length=254)
    phone: str | None = Field(None, max_length=40)
    website: str | None = Field(None, max_length=200)
    tax_number: str | None = Field(None, max_length=60)
    bank: str | None = Field(None, max_length=120)
    iban: str | None = None
    bic: str | None = Field(None, pattern="^[A-Z0-9]{8}([A-Z0-9]{3})?$")
    payment_instructions: str | None = Field(None, max_length=600)
    locale: str | None = None
    accent: str = "#0f5c55"
    payment_code: Literal["auto", "none"] = "auto"
    pay_url: str | None = Field(None, max_length=300)
    documents_url: str | None = Field(
        None, max_length=300, description="where subscribers fetch documents; a signed name is put behind it"
    )
    usage_chart: bool = True
    paper: Literal["auto", "a4", "us-letter"] = "auto"
    closing: str | None = Field(None, max_length=600, description="a line under every invoice")
    logo: str | None = Field(None, description="id of the stored file")
    templates: dict[str, str] = Field(default_factory=dict, description="name to id of the stored file")

    @field_validator("accent")
    @classmethod
    def _a_colour(cls, value: str) -> str:
        if not _COLOUR.fullmatch(value.lower()):
            raise ValueError("is no colour: write it like #0f5c55")
        return value.lower()

    @field_validator("iban")
    @classmethod
    def _an_iban(cls, value: str | None) -> str | None:
        return None if value is None else check_iban(value)

    @field_validator("locale")
    @classmethod
    def _a_locale(cls, value: str | None) -> str | None:
        return None if value is None else check_locale(value)

    @field_validator("pay_url", "documents_url")
    @classmethod
    def _a_page(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[\x21-\x7e]+", value):
            raise ValueError("is no page: write it like https://pay.example.net/")
        return value

    @field_validator("templates")
    @classmethod
    def _known_templates(cls, value: dict[str, str]) -> dict[str, str]:
        if not value.keys() <= EDITABLE.keys():
            raise ValueError(f"there are {', '.join(EDITABLE)}")
        return value


_OF_THE_ISSUER = frozenset(IssuerSettings.model_fields)


@dataclass(frozen=True)
class Look:
    """Everything a document needs beside its own content. ``templates``: source of what is not built in."""

    issuer: IssuerSettings
    terms: LookTerms
    locale: str = "en_US"
    logo: Logo | None = None
    templates: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Fingerprint of what the typesetter keeps between documents: templates and logo."""
        parts = [
            json.dumps(dict(self.templates), sort_keys=True).encode(),
            self.logo.content if self.logo else b"",
        ]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]

    def source(self, name: str) -> str:
        """The template in force."""
        return self.templates.get(name) or built_in(name)


@cache
def built_in(name: str) -> str:
    """The template that Hilltop comes with."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def house_look(settings: BillingSettings) -> Look:
    """The look of the settings file alone."""
    return Look(settings.issuer, LookTerms(), settings.locale)


def in_force(said: Mapping[str, Any], issuer: IssuerSettings, locale: str) -> dict[str, Any]:
    """What was set in the panel over ``issuer`` and ``locale``, as it is stored: all of it, for good."""
    terms = LookTerms.model_validate(said)
    own = {
        name: value
        for name, value in terms.model_dump().items()
        if name in _OF_THE_ISSUER and value is not None
    }
    return {
        "issuer": {**issuer.model_dump(mode="json"), **own},
        "terms": terms.model_dump(mode="json"),
        "locale": terms.locale or locale,
    }


def look_of(content: Mapping[str, Any], files: Mapping[str, Any]) -> Look:
    """The look of a stored ``content``; ``files`` are rows of stored files by id."""
    terms = LookTerms.model_validate(content["terms"])
    logo = files.get(terms.logo or "")
    return Look(
        IssuerSettings.model_validate(content["issuer"]),
        terms,
        content["locale"],
        None if logo is None else Logo(logo.media_type, bytes(logo.content)),
        {
            name: bytes(files[file_id].content).decode()
            for name, file_id in terms.templates.items()
            if file_id in files
        },
    )
