"""The use cases over several rooms that the panel asks for."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.add_subscriber import add_service
from appliance.change_service import change_plan, end_line
from appliance.import_subscribers import import_subscribers
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Workplace
from radius.config import RadiusSettings
from ui.ports import CrossRoomActs, Explain, OrderOutcome, OrderSession

if TYPE_CHECKING:
    from radius.live_session import LiveSessionOutcome


def panel_acts(sealer: Sealer, radius: RadiusSettings | None = None) -> CrossRoomActs:
    """Import, selling, changing and ending services, orders to NASes, with this house's seal."""
    settings = radius or RadiusSettings()
    return CrossRoomActs(
        import_subscribers=lambda work, text: import_subscribers(work, sealer, text),
        add_service=lambda work, account_id, new: add_service(work, sealer, account_id, new),
        change_plan=change_plan,
        end_line=end_line,
        disconnect_session=_order(sealer, settings, "disconnect"),
        reapply_session=_order(sealer, settings, "reapply"),
        explain=_explain(sealer, settings),
    )


def _order(sealer: Sealer, settings: RadiusSettings, word: str) -> OrderSession:
    async def act(workplace: Workplace, session_id: str, actor: str) -> OrderOutcome | Refusal:
        from radius.live_session import LiveSessions  # its client is heavy: only for who gives orders

        sessions = LiveSessions(workplace, sealer, settings)
        order = sessions.disconnect if word == "disconnect" else sessions.reapply
        found: LiveSessionOutcome | Refusal = await order(session_id, actor)
        if isinstance(found, Refusal):
            return found
        async with workplace.work(actor) as work:
            await work.audit(f"session.{word}", session_id, outcome=found.outcome, detail=found.detail)
        return OrderOutcome(found.outcome, found.detail)

    return act


def _explain(sealer: Sealer, settings: RadiusSettings) -> Explain:
    async def act(
        connection: AsyncConnection, username: str, nas_name: str | None
    ) -> dict[str, Any] | Refusal:
        from radius.explain import explain

        try:
            found = await explain(
                connection, sealer, username, nas_name=nas_name, policy=settings.policy,
                dictionary_files=settings.dictionary_files,
            )  # fmt: skip
        except LookupError as trouble:
            return Refusal("nas.unknown", str(trouble), "nas")
        return asdict(found)

    return act
