"""Legal entities and brands: who invoices in a name of its own, under numbers of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from billing.config import BillingSettings
from billing.documents.keep_look import change_look, find_said
from billing.documents.look import LookTerms
from billing.store import entity_rows, number_rows
from billing.store.entity_rows import LegalEntity
from core.refusal import Refusal
from core.work import Work

_ID = re.compile(r"[a-z][a-z0-9-]{1,19}")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9/._-]{0,18}[A-Za-z/._-]")
OWN = ("address", "email", "phone", "website", "tax_number", "bank", "iban", "bic", "payment_instructions")
"""Fields of a letterhead that an entity never takes from the house."""
HOUSE_ID = "house"


async def define_entity(
    work: Work,
    settings: BillingSettings,
    *,
    entity_id: str,
    name: str,
    invoice_prefix: str,
    credit_note_prefix: str,
    letterhead: Mapping[str, Any] | None = None,
) -> LegalEntity | Refusal:
    """A new entity. It prints as the house does (colours, templates), under ``letterhead`` (``OWN`` fields).

    ``entity_id`` is a short name that stays for good: ledger exports and series carry it. A prefix is of one
    series alone and ends with no digit, so that no number is given twice.
    """
    entity_id, name = entity_id.strip(), name.strip()
    if not _ID.fullmatch(entity_id) or entity_id == HOUSE_ID:
        message = "name it in 2 to 20 small letters, digits and hyphens, like valley-fiber (house is taken)"
        return Refusal("bad_entity_id", message, "entity_id")
    if not 0 < len(name) <= 120:
        return Refusal("bad_name", "give it a name of 1 to 120 characters", "name")
    prefixes = {"invoice_prefix": invoice_prefix.strip(), "credit_note_prefix": credit_note_prefix.strip()}
    refusal = await _refuse_prefixes(work, settings, prefixes)
    if refusal is not None:
        return refusal
    values = {"id": entity_id, "name": name, **prefixes, "created_at": work.now, "created_by": work.actor}
    if not await entity_rows.insert_entity(work.connection, values):
        return Refusal("entity_exists", f"there is an entity {entity_id} already", "entity_id")
    said = (await find_said(work.connection)).model_dump(mode="json", exclude_unset=True)
    shared = {field: value for field, value in said.items() if field not in {*OWN, "name", "logo"}}
    own = {field: value for field, value in (letterhead or {}).items() if field in OWN and value}
    looked = await change_look(work, settings, {**shared, **own, "name": name}, brand=entity_id)
    if isinstance(looked, Refusal):
        return looked
    await work.audit("billing.entity_defined", entity_id, name=name, **prefixes)
    return LegalEntity(entity_id, name, **prefixes)


async def change_entity(
    work: Work,
    settings: BillingSettings,
    *,
    entity_id: str,
    name: str | None = None,
    invoice_prefix: str | None = None,
    credit_note_prefix: str | None = None,
) -> LegalEntity | Refusal:
    """Another name from now on; another prefix while its series has given no number."""
    found = await entity_rows.find_entity(work.connection, entity_id)
    if found is None:
        return Refusal("unknown_entity", f"there is no legal entity {entity_id!r}", "entity_id")
    given = {"invoice_prefix": invoice_prefix, "credit_note_prefix": credit_note_prefix}
    prefixes = {
        field: value.strip()
        for field, value in given.items()
        if value is not None and value.strip() != getattr(found, field)
    }
    numbers = await entity_rows.numbers_given(work.connection)
    for field, kind in (
        ("invoice_prefix", number_rows.INVOICE_SERIES),
        ("credit_note_prefix", number_rows.CREDIT_NOTE_SERIES),
    ):
        if field in prefixes and numbers.get((kind, entity_id)):
            message = "its series has given numbers; it goes on as it began"
            return Refusal("series_begun", message, field)
    refusal = await _refuse_prefixes(work, settings, prefixes, entity_id)
    if refusal is not None:
        return refusal
    values: dict[str, Any] = dict(prefixes)
    if name is not None and name.strip() != found.name:
        if not 0 < len(name.strip()) <= 120:
            return Refusal("bad_name", "give it a name of 1 to 120 characters", "name")
        values["name"] = name.strip()
        looked: LookTerms | Refusal = await change_look(
            work, settings, {"name": name.strip()}, brand=entity_id
        )
        if isinstance(looked, Refusal):
            return looked
    if values:
        await entity_rows.update_entity(work.connection, entity_id, values)
        await work.audit("billing.entity_changed", entity_id, **values)
    changed = await entity_rows.find_entity(work.connection, entity_id)
    return found if changed is None else changed


async def _refuse_prefixes(
    work: Work, settings: BillingSettings, prefixes: Mapping[str, str], entity_id: str = ""
) -> Refusal | None:
    if len(set(prefixes.values())) < len(prefixes):
        return Refusal("prefix_taken", "invoices and credit notes are numbered apart", "credit_note_prefix")
    of_house = {settings.invoice_prefix, settings.credit_note_prefix, settings.account_prefix}
    for field, prefix in prefixes.items():
        if not _PREFIX.fullmatch(prefix):
            message = (
                "write a prefix of 2 to 20 letters, digits and / . _ - that ends with no digit, like VF-"
            )
            return Refusal("bad_prefix", message, field)
        if prefix in of_house or await entity_rows.prefix_taken(work.connection, prefix, entity_id):
            return Refusal("prefix_taken", f"{prefix} numbers another series", field)
    return None
