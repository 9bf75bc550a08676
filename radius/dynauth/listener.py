"""The ear for Disconnect- and CoA-Requests of proxies and scripts (RFC 5176), in front of our NASes.

Only clients on record are heard, each with its own secret and permissions. A request must carry a right
Message-Authenticator and a fresh Event-Timestamp (section 6.3); everything else is dropped without a word. A
request that was heard before, whichever port it comes from now, gets the same answer and does nothing twice.
What is asked is found among the open sessions, exactly one, and handed on to its NAS by our own client.

The datagram callback only checks signatures: the work is done in tasks, of which there is a bounded number,
because it waits for the database and for NASes.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.dynauth_clients import PURPOSE, DynauthClient, client_of
from aaa.store import directory_rows, dynauth_rows
from core.log import logger
from core.refusal import Refusal
from core.secrets import Sealer, SealError
from core.work import Workplace
from radius.config import RadiusSettings
from radius.dynauth.live_session import LiveSessions
from radius.dynauth.nas_orders import NasOrders
from radius.dynauth.order import NAS_MISMATCH, DynauthOrder, read_order
from radius.guard.rate_limits import Bucket
from radius.packet.codec import (
    COA_REQUEST,
    DISCONNECT_REQUEST,
    Attr,
    MalformedPacket,
    attribute,
    integer,
    locate,
    parse,
    trim,
)
from radius.packet.shared_secret import SharedSecret
from radius.reply.cache import ReplyCache, Source
from radius.serving.endpoint import Datagram, Endpoint
from radius.sign_in.class_tokens import ClassTokens

PROHIBITED = 501
NOT_ROUTABLE = 502
CONTEXT_NOT_FOUND = 503
PROXY_TROUBLE = 505
RESOURCES = 506
SEVERAL_SESSIONS = 508

MOST_AT_WORK = 64
"""Requests being carried out; more are dropped, and asked again."""
_FRESH_S = 300  # RFC 5176 section 6.3
_REMEMBERED = 16_384
_REFRESH_S = 2.0
_PATIENCE_S = 30.0
_LOG_EVERY_S = 60.0
_log = logger("radius")


@dataclass(frozen=True, slots=True)
class _Known:
    """A client with what checking its requests needs."""

    client: DynauthClient
    network: IPv4Network | IPv6Network
    secret: SharedSecret
    sealed: str
    bucket: Bucket


class DynauthListener:
    """Opens ``radius.dynauth_listen`` and answers until told to stop. One process of a machine runs it."""

    def __init__(self, workplace: Workplace, sealer: Sealer, settings: RadiusSettings) -> None:
        self._workplace = workplace
        self._clock = workplace.clock
        self._sealer = sealer
        self._settings = settings
        self._orders = NasOrders(workplace, sealer, settings)
        self._sessions = LiveSessions(workplace, sealer, settings)
        self._sign_ins = ClassTokens(sealer.derive_key("class-token"))
        self._clients: list[_Known] = []
        self._replies = ReplyCache(2 * _FRESH_S, _REMEMBERED)
        self._tasks: set[asyncio.Task[None]] = set()
        self._endpoints: list[Endpoint] = []
        self.counts: Counter[str] = Counter()
        self.failing = False

    @property
    def ports(self) -> list[int]:
        """The ports it listens on."""
        return [endpoint.port for endpoint in self._endpoints]

    def open(self, bound: Mapping[str, socket.socket] | None = None) -> None:
        """Have the sockets ``bound`` (by their names in ``RadiusSettings.endpoints``), or bind them."""
        for listen in self._settings.dynauth_listen:
            handle = partial(self._hear, len(self._endpoints))
            endpoint = Endpoint(listen, handle, (bound or {}).get(f"dynauth {listen}"))
            self._endpoints.append(endpoint)

    def begin(self) -> None:
        """Hear from now on."""
        for endpoint in self._endpoints:
            endpoint.start(asyncio.get_running_loop())

    def stop_reading(self) -> None:
        """Hear no more; answers may still leave."""
        for endpoint in self._endpoints:
            endpoint.stop_reading()

    async def run(self, stop: asyncio.Event) -> None:
        """Answer until ``stop``; a database that is away costs answers and nothing else."""
        try:
            told, logged_s = self.counts.copy(), self._clock.monotonic_s()
            while not stop.is_set():
                await self.refresh()
                self._replies.age(self._clock.monotonic_s())
                if self._clock.monotonic_s() - logged_s >= _LOG_EVERY_S and self.counts != told:
                    _log.info("dynauth_requests", **self.counts)
                    told, logged_s = self.counts.copy(), self._clock.monotonic_s()
                try:
                    await asyncio.wait_for(stop.wait(), _REFRESH_S)
                except TimeoutError:
                    continue
        finally:
            await self.close()

    async def close(self) -> None:
        """Hear nothing more; what is at work is ended."""
        for endpoint in self._endpoints:
            endpoint.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def refresh(self) -> None:
        """Look who may ask. The clients stay as they were while the database is away."""
        try:
            async with self._workplace.reading() as connection:
                rows = await dynauth_rows.clients(connection)
        except Exception as trouble:  # noqa: BLE001 - the boundary of one turn
            if not self.failing:
                _log.warning("dynauth_clients_not_read", error=f"{type(trouble).__name__}: {trouble}")
            self.failing = True
            return
        self.failing = False
        before = {known.client.id: known for known in self._clients}
        found = [self._known(row, before.get(row.id)) for row in rows if row.enabled]
        self._clients = sorted(
            [one for one in found if one is not None], key=lambda one: one.network.prefixlen, reverse=True
        )

    def _known(self, row: Any, before: _Known | None) -> _Known | None:
        client = client_of(row)
        if before is not None and before.sealed == row.secret_sealed:
            return _Known(client, ip_network(row.network), before.secret, before.sealed, before.bucket)
        try:
            secret = SharedSecret(self._sealer.open(row.secret_sealed, PURPOSE).reveal().encode())
        except SealError as trouble:
            _log.error("dynauth_client_unusable", client=client.name, reason=str(trouble))
            return None
        rate = self._settings.dynauth_rate
        return _Known(client, ip_network(row.network), secret, row.secret_sealed, Bucket(rate, 2 * rate))

    def _hear(self, own: int, datagrams: list[Datagram]) -> None:
        for datagram, source in datagrams:
            try:
                self._receive(own, datagram, source)
            except MalformedPacket:
                self.counts["malformed"] += 1
            except Exception as trouble:  # noqa: BLE001 - the boundary of one datagram
                self.counts["failures"] += 1
                if self.counts["failures"] == 1:
                    _log.error("dynauth_defect", error=type(trouble).__name__, exc_info=trouble)

    def _receive(self, own: int, datagram: bytes, source: Source) -> None:
        """Check who asks and that the request is his and fresh; then answer again, or set to work."""
        known = self._client_at(str(source[0]))
        if known is None:
            self.counts["strangers"] += 1
            return
        packet = trim(datagram)
        if not self._is_genuine(packet, known):
            return
        key, fingerprint = (known.client.id, packet[4:20]), hash(packet)
        before = self._replies.find(key, fingerprint)
        if before is not None:
            self.counts["duplicates"] += 1
            if before[1] is not None:
                self._endpoints[own].send(before[1], source)
            return
        order = read_order(parse(packet))
        if not self._is_fresh(order):
            return
        if len(self._tasks) >= MOST_AT_WORK or not known.bucket.take(1, self._clock.monotonic_s()):
            self.counts["too_many"] += 1
            return
        self._replies.put(key, fingerprint, None)
        task = asyncio.get_running_loop().create_task(
            self._answer(own, known, packet, order, source, (key, fingerprint))
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _client_at(self, address: str) -> _Known | None:
        asked = ip_address(address.partition("%")[0])
        for known in self._clients:
            if known.network.version == asked.version and asked in known.network:
                return known
        return None

    def _is_genuine(self, packet: bytes, known: _Known) -> bool:
        if packet[0] not in (DISCONNECT_REQUEST, COA_REQUEST):
            self.counts["malformed"] += 1
            return False
        first, _ = locate(packet)
        at = first.get(Attr.MESSAGE_AUTHENTICATOR)
        if at is None:
            self.counts["unsigned"] += 1
            return False
        if not known.secret.request_is_right(packet) or not known.secret.accounting_is_signed(packet, at):
            self.counts["wrong_secret"] += 1
            return False
        return True

    def _is_fresh(self, order: DynauthOrder) -> bool:
        if order.event_time_s is None:
            fresh = not self._settings.dynauth_require_timestamp
        else:
            fresh = abs(self._clock.now().timestamp() - order.event_time_s) <= _FRESH_S
        self.counts["stale"] += not fresh
        return fresh

    async def _answer(  # noqa: PLR0917 - what a request came with
        self,
        own: int,
        known: _Known,
        packet: bytes,
        order: DynauthOrder,
        source: Source,
        remembered: tuple[Any, int],
    ) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                cause = await self._carry_out(known.client, order)
        except Exception as trouble:  # noqa: BLE001 - silence: the client asks again
            self._replies.drop(*remembered)
            self.counts["failures"] += 1
            _log.warning(
                "dynauth_request_failed",
                client=known.client.name,
                error=f"{type(trouble).__name__}: {trouble}",
            )
            return
        self.counts["granted" if cause is None else "refused"] += 1
        code = order.ack_code if cause is None else order.ack_code + 1
        said = attribute(Attr.ERROR_CAUSE, integer(cause)) if cause else b""
        reply = known.secret.reply(code, packet, said + order.proxy_state)
        self._replies.complete(*remembered, reply)
        self._endpoints[own].send(reply, source)

    async def _carry_out(self, client: DynauthClient, order: DynauthOrder) -> int | None:
        """Do what is asked; the Error-Cause when it is refused (0: its NAS gave none)."""
        if not (client.may_disconnect if order.disconnect else client.may_change):
            return PROHIBITED
        if order.error_cause is not None:
            return order.error_cause
        async with self._workplace.reading() as connection:
            found = await self._found(connection, client, order)
        if isinstance(found, int):
            return found
        cause = await self._hand_on(client, order, found)
        async with self._workplace.work(f"dynauth:{client.name}") as work:
            await work.audit(
                "dynauth.disconnect" if order.disconnect else "dynauth.change", found.id,
                client=client.id, error_cause=cause, change=[str(one) for one in order.change],
            )  # fmt: skip
        return cause

    async def _found(self, connection: AsyncConnection, client: DynauthClient, order: DynauthOrder) -> Any:
        """The one session that is meant, or the Error-Cause."""
        names = dict(order.names)
        if order.chargeable:
            service_id = await self._service_called(connection, client, order)
            if service_id is None:
                return CONTEXT_NOT_FOUND
            names["service_id"] = service_id
        rows = await directory_rows.live_sessions_named(connection, names, client.nas_ids, 50)
        if not rows:
            return CONTEXT_NOT_FOUND
        there = [row for row in rows if _is_on(row, order)]
        if not there:
            return NAS_MISMATCH
        return there[0] if len(there) == 1 else SEVERAL_SESSIONS

    async def _service_called(
        self, connection: AsyncConnection, client: DynauthClient, order: DynauthOrder
    ) -> str | None:
        """The service online whose pseudonym a Chargeable-User-Identity is. It cannot be read backwards."""
        service_ids = await directory_rows.live_service_ids(connection, client.nas_ids)

        def seek() -> str | None:
            called = self._sign_ins.chargeable_identity
            mine = attribute(Attr.CHARGEABLE_USER_IDENTITY, order.chargeable)
            return next((one for one in service_ids if called(one, order.operator) == mine), None)

        return await asyncio.to_thread(seek)

    async def _hand_on(self, client: DynauthClient, order: DynauthOrder, session: Any) -> int | None:
        actor = f"dynauth:{client.name}"
        if order.disconnect:
            answered = await self._orders.disconnect(session, actor)
        elif order.change:
            answered = await self._orders.change(session, order.change, actor)
        else:
            return await self._reapply(session, actor)
        match answered.answer:
            case "ack":
                return None
            case "nak":
                return answered.error_cause or 0
            case "not_sent":
                return NOT_ROUTABLE
            case _:
                return PROXY_TROUBLE

    async def _reapply(self, session: Any, actor: str) -> int | None:
        """A CoA that says nothing: the terms that stand."""
        outcome = await self._sessions.reapply(session.id, actor)
        if isinstance(outcome, Refusal):
            return PROHIBITED
        known = {"moved": None, "nothing_live": CONTEXT_NOT_FOUND, "refused": 0, "silent": PROXY_TROUBLE}
        return known.get(outcome.outcome, RESOURCES)


def _is_on(session: Any, order: DynauthOrder) -> bool:
    """Whether the session is on the NAS that the order names, by whatever name that goes."""
    if order.nas_identifier is not None and order.nas_identifier not in (
        session.identifier,
        session.nas_name,
    ):
        return False
    if order.nas_address is None:
        return True
    return order.nas_address in (
        session.nas_own_address, session.nas_address, session.network.partition("/")[0]
    )  # fmt: skip
