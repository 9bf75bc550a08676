"""Keep the operator's own reply lines; whoever knows the dictionary checks that they can be sent."""

from __future__ import annotations

from collections.abc import Callable

from aaa.domain import checks
from aaa.domain.reply_template import scope_of
from aaa.store import repositories, template_rows
from core.refusal import Refusal
from core.work import Work

LineCheck = Callable[[str], Refusal | None]
"""Refuses lines that cannot be sent."""


async def set_reply_template(
    work: Work,
    check: LineCheck,
    *,
    lines: str,
    profile_id: str | None = None,
    nas_id: str | None = None,
    dialect: str | None = None,
) -> str | Refusal:
    """Put these lines in place of what stands for the scope; empty ones take the template away.

    Returns the scope. Without any of the three the lines are for every reply; a NAS and a dialect exclude
    each other.
    """
    await repositories.take_directory_lane(work.connection)
    text = "\n".join(line.rstrip() for line in lines.replace("\r\n", "\n").split("\n")).rstrip()
    refusal = await _check_scope(work, profile_id, nas_id, dialect)
    if refusal is None and text.strip():
        refusal = check(text)
    if refusal is not None:
        return refusal
    scope = scope_of(profile_id, nas_id, dialect)
    stands = await template_rows.template_of(work.connection, scope)
    if stands is None and not text.strip():
        return scope
    if stands is not None and stands.lines == text:
        return scope
    if stands is not None:
        await template_rows.delete_template(work.connection, stands.id)
    template_id = work.ids.new("tpl") if stands is None else str(stands.id)
    if text.strip():
        row = {
            "id": template_id, "scope": scope, "profile_id": profile_id, "nas_id": nas_id,
            "dialect": dialect, "lines": text, "changed_at": work.now, "changed_by": work.actor,
        }  # fmt: skip
        await template_rows.insert_template(work.connection, row)
    await repositories.append_directory_change(work.connection, "template", template_id, work.now)
    before = "" if stands is None else str(stands.lines)
    await work.audit("reply_template.set", template_id, scope=scope, before=before, after=text)
    return scope


async def _check_scope(
    work: Work, profile_id: str | None, nas_id: str | None, dialect: str | None
) -> Refusal | None:
    if nas_id is not None and dialect is not None:
        return Refusal(
            "template.scope", "a NAS has its dialect already; give the NAS or the dialect", "dialect"
        )
    if profile_id is not None and await repositories.profile_row(work.connection, profile_id) is None:
        return Refusal("profile.unknown", f"there is no profile {profile_id}; define it first", "profile_id")
    if nas_id is not None and await repositories.nas_row(work.connection, nas_id) is None:
        return Refusal("nas.unknown", f"there is no NAS {nas_id}; look it up by its name", "nas_id")
    if dialect is not None:
        checked = checks.check_choice(dialect, "dialect", tuple(checks.DIALECTS))
        return checked if isinstance(checked, Refusal) else None
    return None
