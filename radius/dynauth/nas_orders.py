"""One order to the NAS of a live session: named as that NAS names it, sent, written down with its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from aaa.close_session import close_lost_sessions
from aaa.store.dynauth_rows import keep_exchange
from core.secrets import Sealer, Secret
from core.work import Workplace
from radius.config import RadiusSettings
from radius.dialects.attributes import WireAttribute
from radius.dynauth.client import (
    Acknowledged,
    DynauthOutcome,
    DynauthRequest,
    DynauthTarget,
    Refused,
    Silent,
    send_dynauth,
)
from radius.dynauth.session_naming import may_ask_plainer, naming
from radius.nas.secret_rotation import secrets_of
from radius.nas.table import RADSEC
from radius.radsec.door import RadSecRoute, door_name

REMEDY_SILENT = "check that it listens (RouterOS: /radius incoming set accept=yes) and its secret"


@dataclass(frozen=True, slots=True)
class Answered:
    """What was sent, and what came of it. ``target`` is None when it is not known where to send."""

    request: str  # coa, disconnect
    sent: str
    outcome: DynauthOutcome
    reached: bool = True

    @property
    def answer(self) -> str:
        """In a word: ack, nak, silent, not_sent."""
        if not self.reached:
            return "not_sent"
        match self.outcome:
            case Acknowledged():
                return "ack"
            case Refused():
                return "nak"
            case Silent():
                return "silent"

    @property
    def error_cause(self) -> int | None:
        """Error-Cause of a NAK, where one was given."""
        return self.outcome.error_cause if isinstance(self.outcome, Refused) else None

    @property
    def session_is_gone(self) -> bool:
        """The NAS said that it has no such session."""
        return isinstance(self.outcome, Refused) and self.outcome.session_is_gone


class NasOrders:
    """Reaches the NASes of sessions. A session is a row of ``directory_rows.live_sessions``."""

    def __init__(self, workplace: Workplace, sealer: Sealer, settings: RadiusSettings) -> None:
        self._workplace = workplace
        self._sealer = sealer
        self._settings = settings

    def target(self, session: Any) -> DynauthTarget | None:
        """Where the session's NAS listens; None when it is one of a prefix and nobody knows which."""
        network = ip_network(session.network)
        address = session.nas_address
        if address is not None and address.startswith(RADSEC):
            route = RadSecRoute(session.nas_id, door_name(self._sealer, self._workplace))
            return DynauthTarget("", 0, Secret(""), radsec=route)
        if network.num_addresses == 1:
            address = str(network.network_address)
        if address is None or ip_address(address) not in network:
            return None
        secret, other = secrets_of(session, self._sealer, self._workplace.clock.now())
        return DynauthTarget(address, session.dynauth_port, secret, self._settings.dynauth_source, other)

    async def disconnect(self, session: Any, actor: str) -> Answered:
        """Order the NAS to end the session."""
        return await self._order(session, (), actor, disconnect=True)

    async def change(self, session: Any, change: Sequence[WireAttribute], actor: str) -> Answered:
        """Order the NAS to change the session."""
        return await self._order(session, change, actor, disconnect=False)

    async def _order(
        self, session: Any, change: Sequence[WireAttribute], actor: str, *, disconnect: bool
    ) -> Answered:
        target = self.target(session)
        word = "disconnect" if disconnect else "coa"
        if target is None:
            answered = Answered(word, "nothing", Silent(0, _unknown_place(session), 0), reached=False)
            await self._keep(session, answered, actor)
            return answered
        for plainly in (False, True):
            names = naming(session, target.address, plainly=plainly)
            now = int(self._workplace.clock.now().timestamp())
            request = DynauthRequest(disconnect, [*names, *change], now)
            settings = self._settings
            outcome = await send_dynauth(
                target, request, timeout_s=settings.dynauth_timeout_s, tries=settings.dynauth_tries
            )
            answered = Answered(word, str(request), outcome)
            await self._keep(session, answered, actor)
            if not may_ask_plainer(session.dialect, answered.error_cause, disconnect=disconnect):
                break
        return answered

    async def _keep(self, session: Any, answered: Answered, actor: str) -> None:
        """Write it down; a session that the NAS does not have is closed by inference."""
        async with self._workplace.work(actor) as work:
            await keep_exchange(
                work.connection,
                {
                    "id": work.ids.new("dyn"), "session_id": session.id, "at": work.now, "actor": actor,
                    "request": answered.request, "sent": answered.sent, "answer": answered.answer,
                    "error_cause": answered.error_cause, "detail": str(answered.outcome),
                    "tries": answered.outcome.tries, "ms": round(answered.outcome.ms),
                },
            )  # fmt: skip
            if answered.session_is_gone:
                await close_lost_sessions(work, [session.id])


def _unknown_place(session: Any) -> str:
    return (
        f"{session.nas_name} is registered as {session.network} and this session's address in it is "
        "not known; register the NAS by its own address, or wait for its next report"
    )
