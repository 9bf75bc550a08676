"""Provisioning's live-session port over the RADIUS room's dynamic authorization."""

from __future__ import annotations

from appliance.wiring import House
from provisioning.domain.outcome import LiveSessionOutcome
from radius.live_session import LiveSessions


class LiveSessionsOverRadius:
    """Moves a service's open sessions by CoA or Disconnect (RFC 5176)."""

    def __init__(self, house: House) -> None:
        self._sessions = LiveSessions(house.workplace, house.sealer, house.settings.radius)

    async def move(self, service_id: str, generation: int, effect: str) -> LiveSessionOutcome:
        """Bring every open session of the service to ``generation``."""
        outcome = await self._sessions.move(service_id, generation, effect)
        return LiveSessionOutcome(outcome.outcome, outcome.detail, outcome.exchanges)
