"""Who hands in ACH files: what the bank told when origination was agreed."""

from __future__ import annotations

from typing import Any

from billing.domain.ach import Originator, check_originator, originator_as_json
from billing.store import ach_rows
from core.refusal import Refusal, answering, granted, refuse
from core.work import Work


@answering
async def define_originator(work: Work, *, name: str, **profile: Any) -> str:
    """Define an originator, or tell anew what the bank says of the one with that name; returns its id."""
    name = name.strip()
    if not 1 <= len(name) <= 80 or not name.isprintable():
        refuse("bad_name", "give it a name of 1 to 80 characters", "name")
    checked: Originator = granted(check_originator(profile))
    kept = originator_as_json(checked)
    found = await ach_rows.find_originator(work.connection, name)
    originator_id = work.ids.new("aor") if found is None else str(found.id)
    if found is not None:
        await ach_rows.change_originator(work.connection, originator_id, kept)
    elif not await ach_rows.insert_originator(
        work.connection, {"id": originator_id, "name": name, "profile": kept, "created_at": work.now}
    ):
        refuse("name_taken", f"there is an originator {name} already", "name")
    await work.audit("billing.ach_originator_defined", originator_id, name=name, profile=kept)
    return originator_id


def read_originator(profile: dict[str, Any]) -> Originator:
    """The originator as it was kept."""
    checked = check_originator(profile)
    if isinstance(checked, Refusal):
        raise RuntimeError(f"a kept originator is no good: {checked}")  # noqa: TRY004 - it was checked before
    return checked
