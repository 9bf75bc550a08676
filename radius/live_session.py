"""Move the live sessions of a service to its present entitlement: CoA where it can, Disconnect where it must.

A change of rate or list goes by CoA in the NAS's dialect. A block, an ended service, and a NAS that
refuses the CoA mean Disconnect: the CPE dials again and is answered from the directory. What the NAS no
longer knows is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from aaa.directory import Directory, ServiceAccess
from aaa.domain.effect import Effect
from aaa.store import directory_rows
from core.log import logger
from core.secrets import Sealer
from core.work import Workplace
from radius.codec import Attr
from radius.config import RadiusSettings
from radius.dialects.attributes import WireAttribute
from radius.dynamic_authorization import (
    Acknowledged,
    DynauthOutcome,
    DynauthRequest,
    DynauthTarget,
    Refused,
    Silent,
    send_dynauth,
)
from radius.nas_table import RADSEC
from radius.rendering import Renderings
from radius.secret_rotation import secrets_of

_log = logger("radius")
_HEARD_LATELY_S = 900


@dataclass(frozen=True, slots=True)
class LiveSessionOutcome:
    """What became of a service's live sessions.

    ``outcome``: nothing_live, moved, disconnected, refused (a NAS said no to both orders), silent (a NAS
    does not answer). With several sessions the worst one counts. ``exchanges`` holds what was sent and
    received, in order.
    """

    outcome: str
    detail: str
    exchanges: list[dict[str, Any]] = field(default_factory=list)


_WORST_LAST = ("nothing_live", "moved", "disconnected", "refused", "silent")


class LiveSessions:
    """Reaches the NASes on which a service has open sessions."""

    def __init__(self, workplace: Workplace, sealer: Sealer, settings: RadiusSettings) -> None:
        self._workplace = workplace
        self._sealer = sealer
        self._settings = settings

    async def move(self, service_id: str, generation: int, effect: str) -> LiveSessionOutcome:
        """Bring every open session of the service to ``effect``; those that follow get ``generation``."""
        async with self._workplace.reading() as connection:
            sessions = await directory_rows.live_sessions(connection, service_id)
            access = await self._access(connection, service_id, Effect(effect)) if sessions else None
            renderings = Renderings(
                await Directory.templates_of(connection) if access else (), self._settings.dictionary_files
            )
        if not sessions:
            return LiveSessionOutcome("nothing_live", "the service has no open session")
        results = [await self._move_one(session, access, renderings) for session in sessions]
        followed = [one.session_id for one in results if one.outcome in ("moved", "disconnected")]
        gone = [one.session_id for one in results if one.outcome == "nothing_live"]
        if followed or gone:
            async with self._workplace.work("system:radius") as work:
                await directory_rows.record_session_generation(
                    work.connection, [*followed, *gone], generation
                )
        return _summed_up(results)

    async def _access(self, connection: Any, service_id: str, effect: Effect) -> ServiceAccess | None:
        """What the service may do under ``effect``; None when there is no session to have under it."""
        if effect is Effect.ENDED:
            return None
        policy = self._settings.policy
        access = await Directory.access_of(connection, self._sealer, service_id, effect, policy)
        return access if access.admitted else None

    async def _move_one(self, session: Any, access: ServiceAccess | None, renderings: Renderings) -> _Moved:
        target = self._target(session)
        if target is None:
            return _Moved(
                session.id, "silent",
                f"{session.nas_name} is registered as {session.network} and this session's address in it is "
                "not known; register the NAS by its own address, or wait for its next report", [],
            )  # fmt: skip
        exchanges: list[dict[str, Any]] = []
        if access is not None:
            rendering = renderings.of(session.nas_id, session.dialect)
            change = rendering.change(access, self._settings.open_list)
            whole = [*self._identification(session, target), *change]
            outcome = await self._order(target, whole, exchanges, disconnect=False)
            if not isinstance(outcome, Refused):
                return _read_outcome(session, outcome, "moved", exchanges)
            if outcome.session_is_gone:
                return _gone(session, exchanges)
        outcome = await self._order(target, self._identification(session, target), exchanges, disconnect=True)
        if isinstance(outcome, Refused) and outcome.session_is_gone:
            return _gone(session, exchanges)
        return _read_outcome(session, outcome, "disconnected", exchanges)

    async def _order(
        self,
        target: DynauthTarget,
        attributes: list[WireAttribute],
        exchanges: list[dict[str, Any]],
        *,
        disconnect: bool,
    ) -> DynauthOutcome:
        request = DynauthRequest(disconnect, attributes, int(self._workplace.clock.now().timestamp()))
        settings = self._settings
        outcome = await send_dynauth(
            target, request, timeout_s=settings.dynauth_timeout_s, tries=settings.dynauth_tries
        )
        exchanges.append({"sent": str(request), "received": str(outcome), "ms": outcome.ms})
        return outcome

    def _target(self, session: Any) -> DynauthTarget | None:
        network = ip_network(session.network)
        address = session.nas_address
        if network.num_addresses == 1:
            address = str(network.network_address)
        if address is None or address.startswith(RADSEC) or ip_address(address) not in network:
            return None
        secret, other = secrets_of(session, self._sealer, self._workplace.clock.now())
        return DynauthTarget(address, session.dynauth_port, secret, self._settings.dynauth_source, other)

    def _identification(self, session: Any, target: DynauthTarget) -> list[WireAttribute]:
        """What names the session and the NAS to itself (RFC 5176 section 3).

        A NAS refuses what names another (Error-Cause 403), and behind an address translator it knows itself
        by another address than the one it is reached at: it is called what it called itself.
        """
        named = [
            ("User-Name", Attr.USER_NAME, session.username),
            ("Acct-Session-Id", Attr.ACCT_SESSION_ID, session.acct_session_id),
            ("NAS-Identifier", Attr.NAS_IDENTIFIER, session.identifier),
        ]
        attributes = [WireAttribute(name, 0, kind, text.encode(), text) for name, kind, text in named if text]
        for name, kind, text in (
            ("NAS-IP-Address", Attr.NAS_IP_ADDRESS, session.nas_own_address or target.address),
            ("Framed-IP-Address", Attr.FRAMED_IP_ADDRESS, session.framed_ip),
        ):
            if text and ip_address(text).version == 4:
                attributes.append(WireAttribute(name, 0, kind, IPv4Address(text).packed, text))
        return attributes

    async def end_surplus(self) -> None:
        """Simultaneous use: the newest sign-in wins, an older one on another device is disconnected.

        Nobody is ever refused for it, and only sessions heard of lately count, so a stale row locks nobody
        out.
        """
        since = self._workplace.clock.now() - timedelta(seconds=_HEARD_LATELY_S)
        async with self._workplace.reading() as connection:
            crowded = await directory_rows.crowded_services(connection, since)
            surplus = [
                session
                for service_id, allowed in crowded
                for session in _surplus(await directory_rows.live_sessions(connection, service_id), allowed)
            ]
        for session in surplus:
            target = self._target(session)
            if target is not None:
                exchanges: list[dict[str, Any]] = []
                outcome = await self._order(
                    target, self._identification(session, target), exchanges, disconnect=True
                )
                _log.info(
                    "surplus_session_ended",
                    username=session.username,
                    nas=session.nas_name,
                    answer=str(outcome),
                )


@dataclass(frozen=True, slots=True)
class _Moved:
    session_id: str
    outcome: str
    detail: str
    exchanges: list[dict[str, Any]]


def _read_outcome(
    session: Any, outcome: DynauthOutcome, done: str, exchanges: list[dict[str, Any]]
) -> _Moved:
    match outcome:
        case Acknowledged():
            return _Moved(session.id, done, f"{session.nas_name}: {done}", exchanges)
        case Refused():
            return _Moved(session.id, "refused", f"{session.nas_name} refused: {outcome}", exchanges)
        case Silent():
            remedy = "check that it listens (RouterOS: /radius incoming set accept=yes) and its secret"
            return _Moved(session.id, "silent", f"{session.nas_name}: {outcome}; {remedy}", exchanges)


def _gone(session: Any, exchanges: list[dict[str, Any]]) -> _Moved:
    detail = f"{session.nas_name} no longer has session {session.acct_session_id}: it is gone"
    return _Moved(session.id, "nothing_live", detail, exchanges)


def _summed_up(results: list[_Moved]) -> LiveSessionOutcome:
    worst = max(results, key=lambda one: _WORST_LAST.index(one.outcome))
    exchanges = [exchange for one in results for exchange in one.exchanges]
    return LiveSessionOutcome(worst.outcome, "; ".join(one.detail for one in results), exchanges)


def _surplus(sessions: Any, allowed: int) -> list[Any]:
    """The sessions beyond ``allowed`` devices, newest kept; sessions of one MAC are one device."""
    kept: set[str] = set()
    surplus = []
    for session in reversed(sessions):
        device = session.calling_station or session.id
        if device in kept:
            continue
        if len(kept) < allowed:
            kept.add(device)
        else:
            surplus.append(session)
    return surplus
