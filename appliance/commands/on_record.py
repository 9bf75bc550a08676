"""What was done to this machine, written into the audit trail also when the database may be away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from appliance.commands.running import actor, config_path, say

if TYPE_CHECKING:
    from appliance.settings import Settings

ANSWERS_WITHIN_S = 10.0
"""A database that takes longer is taken to be away."""


def put_on_record(in_force: Settings | None, action: str, subject: str, detail: Mapping[str, Any]) -> None:
    """As well as can be: settings may be wrong, and be changed, because the database is away."""
    from appliance.settings import SettingsError, load_settings
    from appliance.trouble import in_words

    try:
        chosen = in_force or load_settings(config_path())
        try:
            asyncio.run(_record(chosen, action, subject, detail))
        except Exception as trouble:  # noqa: BLE001 - the change is made, and must be told
            say(f"(not on record: {in_words(trouble, chosen) or type(trouble).__name__})")
    except SettingsError as trouble:
        say(f"(not on record: {trouble})")


async def _record(chosen: Settings, action: str, subject: str, detail: Mapping[str, Any]) -> None:
    from appliance.wiring import open_records

    async with (
        open_records(chosen) as workplace,
        asyncio.timeout(ANSWERS_WITHIN_S),
        workplace.work(actor()) as work,
    ):
        await work.audit(action, subject, **detail)
