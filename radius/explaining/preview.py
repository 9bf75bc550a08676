"""What an Accept and a CoA would carry, attribute by attribute, with where each comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.directory import Directory, ServiceAccess
from aaa.domain.effect import Effect
from aaa.domain.profile import AccessPolicy
from aaa.domain.reply_template import ReplyTemplate
from aaa.store import directory_rows, repositories
from core.refusal import Refusal
from core.secrets import Sealer
from radius.dialects.attributes import WireAttribute
from radius.dictionary.attributes import attribute_dictionary
from radius.dictionary.definitions import DictionaryFault
from radius.explaining.pool_words import pooled_attributes
from radius.reply.rendering import Renderings
from radius.reply.template import TemplateFault, read_template


@dataclass(frozen=True, slots=True)
class PreviewedAttribute:
    """One attribute. ``octets`` are the complete ones, in hexadecimal."""

    name: str
    value: str
    octets: str
    origin: str


@dataclass(frozen=True, slots=True)
class PreviewQuestion:
    """Which reply: of a service or of a profile, on which NAS, under which effect.

    ``effect`` None is the service's own (a profile's: none). ``draft`` takes the place of the template of its
    scope, or stands beside the others: how it would be if it were saved.
    """

    nas_id: str
    service_id: str | None = None
    profile_id: str | None = None
    effect: Effect | None = None
    draft: ReplyTemplate | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """``accept`` lacks the Class, which every sign-in has of its own. ``admitted``: False is a reject."""

    profile: str
    nas: str
    dialect: str
    effect: str
    admitted: bool
    accept: list[PreviewedAttribute]
    coa: list[PreviewedAttribute]
    remarks: list[str]
    troubles: list[str]


async def preview(
    connection: AsyncConnection,
    sealer: Sealer,
    question: PreviewQuestion,
    policy: AccessPolicy,
    dictionary_files: Sequence[str] = (),
) -> Preview | Refusal:
    """Render as the server would, from the database as it stands."""
    nas = await repositories.nas_row(connection, question.nas_id)
    if nas is None:
        return Refusal("nas.unknown", f"there is no NAS {question.nas_id}; look it up by its name", "nas")
    access = await _access(connection, sealer, question, policy)
    if isinstance(access, Refusal):
        return access
    templates = await Directory.templates_of(connection)
    if question.draft is not None:
        templates = (*(one for one in templates if one.scope != question.draft.scope), question.draft)
    renderings = Renderings(templates, dictionary_files)
    rendering = renderings.of(nas.id, nas.dialect)
    accept = rendering.accept(access) if access.admitted else []
    pooled = access.admitted and rendering.dialect.gives_addresses
    leased = await pooled_attributes(connection, access) if pooled else []
    coa = rendering.change(access, policy.open_list) if access.admitted else []
    return Preview(
        access.profile_name, nas.name, nas.dialect, access.effect.value, access.admitted,
        _shown(accept) + [PreviewedAttribute(one.name, one.value, one.octets, one.origin) for one in leased],
        _shown(coa), rendering.remarks(access), list(renderings.troubles),
    )  # fmt: skip


async def _access(
    connection: AsyncConnection, sealer: Sealer, question: PreviewQuestion, policy: AccessPolicy
) -> ServiceAccess | Refusal:
    if question.service_id is not None:
        found = await directory_rows.services_with_ids(connection, [question.service_id])
        if not found:
            return Refusal(
                "service.unknown", f"there is no service {question.service_id}; look it up by its account",
                "service",
            )  # fmt: skip
        effect = question.effect or Effect(found[0].effect)
        return await Directory.access_of(connection, sealer, question.service_id, effect, policy)
    effect = question.effect or Effect.NONE
    access = await Directory.access_under(connection, question.profile_id or "", effect, policy)
    if access is None:
        return Refusal(
            "profile.unknown", f"there is no profile {question.profile_id}; look it up by its name", "profile"
        )
    return access


def _shown(attributes: Sequence[WireAttribute]) -> list[PreviewedAttribute]:
    return [
        PreviewedAttribute(one.name, one.shown.strip('"'), one.encoded().hex(), one.origin)
        for one in attributes
    ]


def template_refusal(text: str, dictionary_files: Sequence[str] = ()) -> Refusal | None:
    """Why a template cannot be saved, naming the line; None: it can."""
    try:
        read_template(text, attribute_dictionary(dictionary_files))
    except DictionaryFault as trouble:
        return Refusal("template.dictionary", f"radius.dictionary_files: {trouble}", "lines")
    except TemplateFault as trouble:
        return Refusal("template.line", str(trouble), "lines")
    return None


def format_preview(found: Preview) -> str:
    """The preview as lines for a terminal."""
    lines = [f"{found.profile} on {found.nas} ({found.dialect}), effect {found.effect}"]
    if not found.admitted:
        lines.append("  Access-Reject: no session is given under this effect")
    for title, attributes in (("Access-Accept", found.accept), ("CoA-Request", found.coa)):
        if attributes:
            lines.append(f"  {title}")
        for one in attributes:
            lines += [f"    {one.name} = {one.value}", f"        {one.octets}  ({one.origin})"]
    lines += [f"  but      {remark}" for remark in found.remarks]
    lines += [f"  trouble  {trouble}" for trouble in found.troubles]
    return "\n".join(lines)
