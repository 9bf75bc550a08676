"""Keep looks: each is a row of its own with the instant it begins, so that a reprint is the original."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.config import BillingSettings, IssuerSettings
from billing.documents.logo import check_logo
from billing.documents.look import EDITABLE, Look, LookTerms, house_look, in_force, look_of
from billing.store import document_rows
from core.refusal import Refusal
from core.work import Work

HOUSE = ""
"""The brand of whoever has none."""
_LARGEST_TEMPLATE = 200_000


async def find_look(
    connection: AsyncConnection, settings: BillingSettings, *, brand: str = HOUSE, at: datetime | None = None
) -> Look:
    """The look of a brand at an instant (None: now), else the house's."""
    row = await document_rows.look_at(connection, brand, at)
    if row is None and brand != HOUSE:
        row = await document_rows.look_at(connection, HOUSE, at)
    if row is None:
        return house_look(settings)
    terms = row.content["terms"]
    wanted = [one for one in (terms.get("logo"), *terms.get("templates", {}).values()) if one]
    return look_of(row.content, await document_rows.files(connection, wanted))


async def find_said(connection: AsyncConnection, brand: str = HOUSE) -> LookTerms:
    """What was set in the panel, for its form."""
    row = await document_rows.look_at(connection, brand, None)
    return LookTerms() if row is None else LookTerms.model_validate(row.said)


async def note_looks(work: Work, settings: BillingSettings) -> int:
    """Put the settings file's letterhead on record where it changed; how many looks that made.

    Called when a role that bills starts: settings are read then, and what is issued later carries them.
    """
    made = 0
    for brand in {HOUSE, *await document_rows.brands(work.connection)}:
        row = await document_rows.look_at(work.connection, brand, None)
        said = {} if row is None else row.said
        content = in_force(said, _issuer(settings, brand), settings.locale)
        if row is None or content != row.content:
            await _begin(work, brand, said, content)
            made += 1
    return made


async def change_look(
    work: Work, settings: BillingSettings, changes: Mapping[str, Any], *, brand: str = HOUSE
) -> LookTerms | Refusal:
    """Set ``changes`` (fields of ``LookTerms``) from now on; None takes one back to the settings file."""
    stands = await find_said(work.connection, brand)
    said = {**stands.model_dump(mode="json", exclude_unset=True), **changes}
    said = {name: value for name, value in said.items() if value is not None}
    try:
        terms = LookTerms.model_validate(said)
        content = in_force(said, _issuer(settings, brand), settings.locale)
    except ValidationError as trouble:
        first = trouble.errors(include_url=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        return Refusal("look.wrong", message, str(first["loc"][0]) if first["loc"] else None)
    await _begin(work, brand, terms.model_dump(mode="json", exclude_unset=True), content)
    await work.audit("documents.look_changed", brand or "house", changed=sorted(changes))
    return terms


def _issuer(settings: BillingSettings, brand: str) -> IssuerSettings:
    """The letterhead under what was set: a brand never prints the house's tax number or bank account."""
    if brand == HOUSE:
        return settings.issuer
    return IssuerSettings(payment_instructions=settings.issuer.payment_instructions)


async def _begin(work: Work, brand: str, said: dict[str, Any], content: dict[str, Any]) -> None:
    await document_rows.insert_look(
        work.connection,
        {
            "id": work.ids.new("dlk"), "brand": brand, "since": work.now, "said": said, "content": content,
            "by": work.actor,
        },
    )  # fmt: skip


async def set_logo(
    work: Work, settings: BillingSettings, content: bytes | None, *, brand: str = HOUSE
) -> str | Refusal | None:
    """Print this logo from now on, or none; returns the id of its file."""
    if content is None:
        outcome = await change_look(work, settings, {"logo": None}, brand=brand)
        return outcome if isinstance(outcome, Refusal) else None
    logo = check_logo(content)
    if isinstance(logo, Refusal):
        return logo
    file_id = await _keep(work, "logo", logo.media_type, logo.content)
    outcome = await change_look(work, settings, {"logo": file_id}, brand=brand)
    return outcome if isinstance(outcome, Refusal) else file_id


async def set_template(
    work: Work, settings: BillingSettings, name: str, source: str | None, *, brand: str = HOUSE
) -> str | Refusal | None:
    """Use this source for a template from now on; None: the built-in one again.

    It must have been tried before (``try_look``): nothing is rendered here.
    """
    if name not in EDITABLE:
        return Refusal(
            "template.unknown", f"there is no template {name!r}; there are {', '.join(EDITABLE)}", "name"
        )
    if source is not None and len(source) > _LARGEST_TEMPLATE:
        return Refusal("template.large", f"is longer than {_LARGEST_TEMPLATE} characters", "source")
    stands = dict((await find_said(work.connection, brand)).templates)
    file_id = None
    if source is None:
        stands.pop(name, None)
    else:
        file_id = stands[name] = await _keep(work, name, "text/plain", source.encode())
    outcome = await change_look(work, settings, {"templates": stands}, brand=brand)
    return outcome if isinstance(outcome, Refusal) else file_id


async def _keep(work: Work, name: str, media_type: str, content: bytes) -> str:
    file_id = work.ids.new("dfl")
    await document_rows.insert_file(
        work.connection,
        {
            "id": file_id, "name": name, "media_type": media_type, "content": content,
            "created_at": work.now, "created_by": work.actor,
        },
    )  # fmt: skip
    return file_id
