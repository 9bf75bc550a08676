"""Move the live sessions of a service to its present entitlement: CoA where it can, Disconnect where it must.

A change of rate or list goes by CoA in the NAS's dialect. A block, an ended service, and a NAS that
refuses the CoA mean Disconnect: the CPE dials again and is answered from the directory. What the NAS no
longer knows is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.directory import Directory, ServiceAccess
from aaa.domain.effect import Effect
from aaa.entitlements import entitlement_of
from aaa.store import directory_rows
from core.log import logger
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Workplace
from radius.config import RadiusSettings
from radius.dynauth.client import Acknowledged, Refused, Silent
from radius.dynauth.nas_orders import REMEDY_SILENT, Answered, NasOrders
from radius.reply.rendering import Renderings

_log = logger("radius")
_HEARD_LATELY_S = 900
_ACTOR = "system:radius"


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
        self._orders = NasOrders(workplace, sealer, settings)

    async def move(self, service_id: str, generation: int, effect: str) -> LiveSessionOutcome:
        """Bring every open session of the service to ``effect``; those that follow get ``generation``.

        It is the same when the speed of its profile changed: sessions are moved to the terms that stand now.
        """
        async with self._workplace.reading() as connection:
            sessions = await directory_rows.live_sessions(connection, service_id)
            access = await self._access(connection, service_id, Effect(effect)) if sessions else None
            renderings = await self._renderings(connection, access)
        if not sessions:
            return LiveSessionOutcome("nothing_live", "the service has no open session")
        results = [await self._move_one(session, access, renderings) for session in sessions]
        followed = [one.session_id for one in results if one.outcome in ("moved", "disconnected")]
        gone = [one.session_id for one in results if one.outcome == "nothing_live"]
        await self._note_generation([*followed, *gone], generation)
        return _summed_up(results)

    async def disconnect(self, session_id: str, actor: str) -> LiveSessionOutcome | Refusal:
        """End one session: the CPE may dial again at once, and is answered from the directory."""
        session = await self._live(session_id)
        if isinstance(session, Refusal):
            return session
        result = _result(session, await self._orders.disconnect(session, actor), "disconnected")
        return _summed_up([result])

    async def reapply(self, session_id: str, actor: str) -> LiveSessionOutcome | Refusal:
        """Bring one session to its service's present terms, without ending it."""
        session = await self._live(session_id)
        if isinstance(session, Refusal):
            return session
        async with self._workplace.reading() as connection:
            stands = await entitlement_of(connection, session.service_id or "")
            access = None
            if stands is not None:
                access = await self._access(connection, stands.service_id, stands.effect)
            renderings = await self._renderings(connection, access)
        if stands is None:
            return Refusal(
                "session.nobody", "nobody has that user name, so there are no terms; disconnect it", "session"
            )
        if access is None:
            return Refusal(
                "session.not_admitted", "its service may not be used now; disconnect it", "session"
            )
        change = renderings.of(session.nas_id, session.dialect).change(access, self._settings.open_list)
        if not change:
            words = f"a {session.dialect} NAS has no words for its terms; disconnect it"
            return Refusal("session.no_words", words, "session")
        result = _result(session, await self._orders.change(session, change, actor), "moved")
        if result.outcome == "moved":
            await self._note_generation([session.id], stands.generation)
        return _summed_up([result])

    async def _live(self, session_id: str) -> Any:
        async with self._workplace.reading() as connection:
            session = await directory_rows.live_session(connection, session_id)
        if session is None:
            return Refusal(
                "session.not_live",
                f"{session_id} is no open session of a registered NAS; look at the session again",
                "session",
            )
        return session

    async def _note_generation(self, session_ids: list[str], generation: int) -> None:
        if session_ids:
            async with self._workplace.work(_ACTOR) as work:
                await directory_rows.record_session_generation(work.connection, session_ids, generation)

    async def _renderings(self, connection: AsyncConnection, access: ServiceAccess | None) -> Renderings:
        templates = await Directory.templates_of(connection) if access else ()
        return Renderings(templates, self._settings.dictionary_files)

    async def _access(
        self, connection: AsyncConnection, service_id: str, effect: Effect
    ) -> ServiceAccess | None:
        """What the service may do under ``effect``; None when there is no session to have under it."""
        if effect is Effect.ENDED:
            return None
        policy = self._settings.policy
        access = await Directory.access_of(connection, self._sealer, service_id, effect, policy)
        return access if access.admitted else None

    async def _move_one(self, session: Any, access: ServiceAccess | None, renderings: Renderings) -> _Moved:
        exchanges: list[dict[str, Any]] = []
        change = []
        if access is not None:
            change = renderings.of(session.nas_id, session.dialect).change(access, self._settings.open_list)
        if change:
            answered = await self._orders.change(session, change, _ACTOR)
            changed = _result(session, answered, "moved")
            if changed.outcome != "refused":
                return changed
            exchanges = changed.exchanges
        answered = await self._orders.disconnect(session, _ACTOR)
        return _result(session, answered, "disconnected", exchanges)

    async def end_surplus(self) -> None:
        """Simultaneous use: the newest sign-in wins, an older one on another device is disconnected.

        Where those online are to stay, a newer one is refused at its sign-in
        (``radius.sign_in.live_devices``), and only what got in meanwhile by another process is disconnected
        here. Only sessions heard of lately count, so a stale row locks nobody out.
        """
        since = self._workplace.clock.now() - timedelta(seconds=_HEARD_LATELY_S)
        async with self._workplace.reading() as connection:
            crowded = await directory_rows.crowded_services(
                connection, since, self._settings.policy.when_crowded
            )
            surplus = [
                session
                for one in crowded
                for session in _surplus(
                    await directory_rows.live_sessions(connection, one.id),
                    one.allowed,
                    oldest_stay=one.when_crowded == "oldest",
                )
            ]
        for session in surplus:
            if self._orders.target(session) is None:
                continue
            answered = await self._orders.disconnect(session, "system:simultaneous-use")
            _log.info(
                "surplus_session_ended",
                username=session.username,
                nas=session.nas_name,
                answer=str(answered.outcome),
            )


@dataclass(frozen=True, slots=True)
class _Moved:
    session_id: str
    outcome: str
    detail: str
    exchanges: list[dict[str, Any]]


def _result(
    session: Any, answered: Answered, done: str, before: list[dict[str, Any]] | None = None
) -> _Moved:
    outcome = answered.outcome
    exchange = {"sent": answered.sent, "received": str(outcome), "ms": outcome.ms}
    exchanges = [*(before or []), *([exchange] if answered.reached else [])]
    if not answered.reached:
        return _Moved(session.id, "silent", str(outcome), exchanges)
    if answered.session_is_gone:
        detail = f"{session.nas_name} no longer has session {session.acct_session_id}: it is gone"
        return _Moved(session.id, "nothing_live", detail, exchanges)
    match outcome:
        case Acknowledged():
            return _Moved(session.id, done, f"{session.nas_name}: {done}", exchanges)
        case Refused():
            return _Moved(session.id, "refused", f"{session.nas_name} refused: {outcome}", exchanges)
        case Silent():
            return _Moved(session.id, "silent", f"{session.nas_name}: {outcome}; {REMEDY_SILENT}", exchanges)


def _summed_up(results: list[_Moved]) -> LiveSessionOutcome:
    worst = max(results, key=lambda one: _WORST_LAST.index(one.outcome))
    exchanges = [exchange for one in results for exchange in one.exchanges]
    return LiveSessionOutcome(worst.outcome, "; ".join(one.detail for one in results), exchanges)


def _surplus(sessions: Any, allowed: int, *, oldest_stay: bool = False) -> list[Any]:
    """The sessions beyond ``allowed`` devices, newest kept or oldest; sessions of one MAC are one device."""
    kept: set[str] = set()
    surplus = []
    for session in sessions if oldest_stay else reversed(sessions):
        device = session.calling_station or session.id
        if device in kept:
            continue
        if len(kept) < allowed:
            kept.add(device)
        else:
            surplus.append(session)
    return surplus
