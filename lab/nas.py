"""A NAS as RADIUS knows it: dials in, counts, tells, obeys CoA, forgets at a power cut.

It speaks through pyrad and its own MS-CHAP, never through the product's codecs, so that it can contradict
them. Time comes from the clock it is given, time-outs of the wire from the real one.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast

from pyrad.packet import (
    AccessAccept,
    AcctPacket,
    AuthPacket,
    Packet,
)

from core.clock import Clock, SystemClock
from lab import mschap
from lab.coa_listener import CoaListener
from lab.radius_wire import RadiusServer, RequestSocket, decoded, hide_password, load_dictionary

Method = Literal["pap", "chap", "mschap", "mschapv2", "mac"]
CoaMode = Literal["obey", "silent", "nak", "lying"]
GIGAWORD = 1 << 32
ADMINISTRATIVELY_PROHIBITED = 501  # Error-Cause, RFC 5176 3.6


@dataclass(frozen=True, slots=True)
class RejectedDial:
    """No session. ``answered`` is False when no server spoke; ``message`` is for people."""

    answered: bool
    message: str
    attributes: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cpe:
    """The subscriber's device and where it is plugged in."""

    mac: str = "02:00:00:00:00:01"
    service: str = "pppoe1"
    port_id: str = "ether2"


@dataclass(slots=True)
class AccountingRecord:
    """One event to be told; kept until a server has acknowledged it."""

    status: str
    happened_at: datetime
    attributes: dict[str, Any]


def mac_as_client_id(mac: str) -> str:
    """``1:0:e1:c:38:c8:f8``: how MikroTik's DHCP server writes Calling-Station-Id, zeros not padded."""
    return "1:" + ":".join(f"{int(octet, 16):x}" for octet in mac.split(":"))


@dataclass(eq=False, slots=True)
class LabSession:
    """A live session. ``octets_in`` come from the subscriber (upload), ``octets_out`` go to him."""

    nas: LabNas
    username: str
    session_id: str
    calling_station: str
    called_station: str
    port_id: str
    framed_ip: str
    started_at: datetime
    accept: dict[str, list[Any]]
    octets_in: int = 0
    octets_out: int = 0
    rate_limit: str | None = None
    address_lists: set[str] = field(default_factory=set)
    live: bool = True
    terminate_cause: str | None = None
    last_interim_at: datetime | None = None

    @property
    def interim_interval_s(self) -> int | None:
        """As the server asked in Acct-Interim-Interval."""
        return self._first_number("Acct-Interim-Interval")

    @property
    def session_timeout_s(self) -> int | None:
        """As the server asked in Session-Timeout."""
        return self._first_number("Session-Timeout")

    def _first_number(self, name: str) -> int | None:
        values = self.accept.get(name)
        return int(values[0]) if values else None

    @property
    def class_values(self) -> list[bytes]:
        """Class, to be echoed in every accounting record, octet for octet and in order."""
        return cast(list[bytes], self.accept.get("Class", []))

    @property
    def session_time_s(self) -> int:
        """Age on the NAS's clock."""
        return max(0, int((self.nas.clock.now() - self.started_at).total_seconds()))

    def transfer(self, *, down: int = 0, up: int = 0) -> None:
        """Traffic of the subscriber passes."""
        self.octets_out += down
        self.octets_in += up

    def rates_bps(self) -> tuple[int, int] | None:
        """``(down, up)`` from ``rx/tx``: rx is what the router receives, the subscriber's upload."""
        if not self.rate_limit:
            return None
        up, _, down = self.rate_limit.split()[0].partition("/")
        return _rate(down or up), _rate(up)

    async def interim(self) -> bool:
        """Tell the counters so far; whether a server acknowledged."""
        self.last_interim_at = self.nas.clock.now()
        return await self.nas.account("Interim-Update", self)

    async def stop(self, cause: str = "User-Request", *, counters: bool = True) -> bool:
        """End and tell it (without counters, as some NASes do); whether a server acknowledged."""
        self.nas.drop(self, cause)
        return await self.nas.account("Stop", self, counters=counters)

    def lose(self) -> None:
        """End without a word: power or uplink was cut."""
        self.nas.drop(self, "Lost-Carrier")


def _rate(text: str) -> int:
    multiples = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
    return int(text[:-1]) * multiples[text[-1]] if text[-1:] in multiples else int(text)


class LabNas:
    """One NAS. ``coa_mode``: obey; silent; nak (with ``nak_cause``); lying (ACK, and nothing is done)."""

    def __init__(
        self,
        name: str,
        source_address: str,
        servers: Sequence[RadiusServer],
        secret: str,
        *,
        clock: Clock | None = None,
        pool: str = "100.64.0.0/24",
        timeout_s: float = 0.3,
        tries: int = 3,
        coa_port: int = 3799,
        message_authenticator: bool = True,
        identifier: str | None = None,
    ) -> None:
        self.name = name
        self.identifier = name if identifier is None else identifier
        self.source_address = source_address
        self.servers = tuple(servers)
        self.secret = secret.encode()
        self.clock = clock or SystemClock()
        self.message_authenticator = message_authenticator
        self.octets_reversed = False
        self.sends_gigawords = True
        self.sends_event_timestamp = True
        self.coa_mode: CoaMode = "obey"
        self.nak_cause = ADMINISTRATIVELY_PROHIBITED
        self.listens_to_coa: Callable[[], bool] = lambda: True  # RouterOS: /radius incoming set accept=yes
        self.sessions: list[LabSession] = []
        self.unacknowledged: list[AccountingRecord] = []
        self.coa_heard: list[dict[str, Any]] = []
        self.on_start: list[Callable[[LabSession], None]] = []
        self.on_end: list[Callable[[LabSession], None]] = []
        self.before_change: list[Callable[[LabSession], None]] = []
        self.on_change: list[Callable[[LabSession], None]] = []
        self.wire = RequestSocket(timeout_s, tries)
        self.dictionary = load_dictionary()
        self.coa_port = coa_port
        self._coa = CoaListener(self)
        self._pool = ipaddress.ip_network(pool)
        self._session_numbers = itertools.count(1)
        self._boot = 0x81
        self._tasks: set[asyncio.Task[bool]] = set()

    # -- being there

    async def start(self) -> None:
        """Bind the sockets. ``coa_port`` 0 becomes the port that was found."""
        await self.wire.open(self.source_address)
        self.coa_port = await self._coa.open(self.source_address, self.coa_port)

    async def stop(self) -> None:
        """Close the sockets without telling anybody."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.wire.close()
        self._coa.close()

    async def reboot(self, *, announce: bool = False) -> None:
        """All sessions are gone without a Stop; RouterOS announces nothing after a power cut."""
        for session in list(self.sessions):
            session.lose()
        self.unacknowledged.clear()
        self._boot = (self._boot + 1) % 256
        self._session_numbers = itertools.count(1)
        if announce:
            await self.accounting_on()

    # -- dialling

    async def dial(
        self,
        username: str,
        password: str = "",
        method: Method = "pap",
        *,
        mac: str = "02:00:00:00:00:01",
        service: str = "pppoe1",
        port_id: str = "ether2",
        accounting: bool = True,
    ) -> LabSession | RejectedDial:
        """A CPE signs in. Method ``mac`` is a DHCP lease: the MAC as user name, an empty password.

        Accounting starts by itself when accepted, unless ``accounting`` is False.
        """
        session_id = self._new_session_id()
        cpe = Cpe(mac, service, port_id)
        for server in self.servers:
            request = self._access_request(server, username, session_id, cpe, leased=method == "mac")
            proof = self._put_credentials(request, request["User-Name"][0], password, method)
            reply = await self.wire.ask(request, server.host, server.auth_port)
            if reply is not None:
                break
        else:
            return RejectedDial(False, f"no answer from {len(self.servers)} RADIUS server(s)")
        attributes = decoded(reply)
        if reply.code != AccessAccept:
            return RejectedDial(True, _words(attributes), attributes)
        if proof is not None and proof not in b"".join(attributes.get("MS-CHAP2-Success", [])):
            return RejectedDial(True, "the server does not prove that it knows the password", attributes)
        return await self._begin(request, session_id, attributes, accounting)

    async def _begin(
        self, request: Packet, session_id: str, accept: dict[str, list[Any]], accounting: bool
    ) -> LabSession:
        session = LabSession(
            nas=self,
            username=accept.get("User-Name", request["User-Name"])[0],
            session_id=session_id,
            calling_station=request["Calling-Station-Id"][0],
            called_station=request["Called-Station-Id"][0],
            port_id=request["NAS-Port-Id"][0],
            framed_ip=self._address(accept),
            started_at=self.clock.now(),
            accept=accept,
        )
        self._obey(session, accept)
        self.sessions.append(session)
        for listener in self.on_start:
            listener(session)
        if accounting:
            await self.account("Start", session)
        return session

    def _new_session_id(self) -> str:
        return f"{self._boot:02x}{next(self._session_numbers):06x}"

    def _access_request(
        self, server: RadiusServer, username: str, session_id: str, cpe: Cpe, *, leased: bool
    ) -> AuthPacket:
        request = AuthPacket(
            id=self.wire.take_id(server.host, server.auth_port),
            secret=self.secret,
            authenticator=os.urandom(16),
            dict=self.dictionary,
        )
        if self.message_authenticator:
            request.add_message_authenticator()
        if not leased:
            request["Service-Type"] = "Framed-User"
            request["Framed-Protocol"] = "PPP"
        request["NAS-Port"] = 15728640 + len(self.sessions)
        request["NAS-Port-Type"] = "Ethernet"
        request["User-Name"] = cpe.mac.upper() if leased and not username else username
        request["Calling-Station-Id"] = mac_as_client_id(cpe.mac) if leased else cpe.mac.upper()
        request["Called-Station-Id"] = cpe.service
        request["NAS-Port-Id"] = cpe.port_id
        request["Acct-Session-Id"] = session_id
        self._name_itself(request)
        return request

    def _name_itself(self, request: Packet) -> None:
        if self.identifier:
            request["NAS-Identifier"] = self.identifier
        request["NAS-IP-Address"] = self.source_address

    def _put_credentials(
        self, request: AuthPacket, username: str, password: str, method: Method
    ) -> bytes | None:
        """Add the credentials; the server's proof to expect where the method has one."""
        if method in ("pap", "mac"):
            request["User-Password"] = hide_password(password, self.secret, request.authenticator)
            return None
        challenge, identifier = os.urandom(16), os.urandom(1)[0]
        if method == "chap":
            answer = hashlib.md5(bytes((identifier,)) + password.encode() + challenge).digest()
            request["CHAP-Challenge"] = challenge
            request["CHAP-Password"] = bytes((identifier,)) + answer
            return None
        if method == "mschap":
            request["MS-CHAP-Challenge"] = challenge[:8]
            request["MS-CHAP-Response"] = mschap.chap1_response(challenge[:8], password, identifier)
            return None
        response = mschap.chap2_response(challenge, os.urandom(16), username, password, identifier)
        request["MS-CHAP-Challenge"] = challenge
        request["MS-CHAP2-Response"] = response
        return mschap.server_proof(response, challenge, username, password)

    def _address(self, accept: dict[str, list[Any]]) -> str:
        """The server's address, or one of the pool where the server leaves it to the NAS (RFC 2865 5.8)."""
        given = accept.get("Framed-IP-Address", ["255.255.255.254"])[0]
        address = ipaddress.IPv4Address(given)
        if not (address.is_loopback or address >= ipaddress.IPv4Address("224.0.0.0")):
            return str(address)
        taken = {session.framed_ip for session in self.sessions}
        free = next((str(host) for host in self._pool.hosts() if str(host) not in taken), None)
        if free is None:
            raise RuntimeError(f"the pool {self._pool} of {self.name} is empty")
        return free

    def _obey(self, session: LabSession, attributes: dict[str, list[Any]]) -> None:
        """Take over what Accept or CoA-Request asks for."""
        if "Mikrotik-Rate-Limit" in attributes:
            session.rate_limit = str(attributes["Mikrotik-Rate-Limit"][0]) or None
        if "Mikrotik-Address-List" in attributes:
            session.address_lists = {str(name) for name in attributes["Mikrotik-Address-List"] if name}
        for name in ("Session-Timeout", "Acct-Interim-Interval", "Class"):
            if name in attributes:
                session.accept[name] = attributes[name]

    def drop(self, session: LabSession, cause: str) -> None:
        """The session is over on this NAS; telling is another matter."""
        if not session.live:
            return
        session.live = False
        session.terminate_cause = cause
        self.sessions.remove(session)
        for listener in self.on_end:
            listener(session)

    # -- accounting

    async def accounting_on(self) -> bool:
        """Tell that the NAS has just started."""
        return await self.account("Accounting-On", None)

    async def accounting_off(self) -> bool:
        """Tell that the NAS is about to stop."""
        return await self.account("Accounting-Off", None)

    async def account(self, status: str, session: LabSession | None, *, counters: bool = True) -> bool:
        """Tell one event; it is kept in ``unacknowledged`` until a server has answered."""
        attributes: dict[str, Any] = {"Acct-Session-Id": f"{self._boot:02x}000000"}
        if session is not None:
            attributes = self._session_attributes(status, session, counters)
        record = AccountingRecord(status, self.clock.now(), attributes)
        self.unacknowledged.append(record)
        return await self._tell(record)

    async def resend(self) -> int:
        """Tell again, oldest first, what nobody has acknowledged; the number acknowledged now."""
        told = 0
        for record in list(self.unacknowledged):
            told += await self._tell(record)
        return told

    async def _tell(self, record: AccountingRecord) -> bool:
        """Each retry is a new packet: Acct-Delay-Time has grown, so identifier and authenticator differ."""
        for server in self.servers:
            for attempt in range(self.wire.tries):
                request = self._accounting_request(server, record)
                self.wire.counters.retransmitted += attempt > 0
                if await self.wire.ask(request, server.host, server.accounting_port, tries=1) is not None:
                    if record in self.unacknowledged:
                        self.unacknowledged.remove(record)
                    return True
        return False

    def _accounting_request(self, server: RadiusServer, record: AccountingRecord) -> AcctPacket:
        request = AcctPacket(
            id=self.wire.take_id(server.host, server.accounting_port),
            secret=self.secret,
            dict=self.dictionary,
        )
        request["Acct-Status-Type"] = record.status
        for name, value in record.attributes.items():
            request[name] = value
        if self.sends_event_timestamp:
            request["Event-Timestamp"] = int(record.happened_at.timestamp())
        self._name_itself(request)
        delay = (self.clock.now() - record.happened_at).total_seconds()
        request["Acct-Delay-Time"] = max(0, int(delay))
        return request

    def _session_attributes(self, status: str, session: LabSession, counters: bool) -> dict[str, Any]:
        attributes: dict[str, Any] = {
            "Service-Type": "Framed-User",
            "Framed-Protocol": "PPP",
            "NAS-Port-Type": "Ethernet",
            "User-Name": session.username,
            "Calling-Station-Id": session.calling_station,
            "Called-Station-Id": session.called_station,
            "NAS-Port-Id": session.port_id,
            "Acct-Session-Id": session.session_id,
            "Framed-IP-Address": session.framed_ip,
            "Acct-Authentic": "RADIUS",
        }
        if session.class_values:
            attributes["Class"] = session.class_values
        if status != "Start":
            attributes["Acct-Session-Time"] = session.session_time_s
            attributes |= self._counters(session) if counters else {}
        if status == "Stop":
            attributes["Acct-Terminate-Cause"] = session.terminate_cause or "User-Request"
        return attributes

    def _counters(self, session: LabSession) -> dict[str, int]:
        octets_in, octets_out = session.octets_in, session.octets_out
        if self.octets_reversed:
            octets_in, octets_out = octets_out, octets_in
        counters = {
            "Acct-Input-Octets": octets_in % GIGAWORD,
            "Acct-Output-Octets": octets_out % GIGAWORD,
            "Acct-Input-Packets": (octets_in + 999) // 1000 % GIGAWORD,
            "Acct-Output-Packets": (octets_out + 999) // 1000 % GIGAWORD,
        }
        if self.sends_gigawords:
            counters["Acct-Input-Gigawords"] = octets_in // GIGAWORD
            counters["Acct-Output-Gigawords"] = octets_out // GIGAWORD
        return counters

    # -- CoA and Disconnect

    def sessions_meant(self, attributes: dict[str, list[Any]]) -> list[LabSession]:
        """The live sessions that all the identifying attributes of a request agree on."""
        return [
            session
            for session in self.sessions
            if attributes.get("User-Name", [session.username])[0] == session.username
            and attributes.get("Acct-Session-Id", [session.session_id])[0] == session.session_id
            and attributes.get("Framed-IP-Address", [session.framed_ip])[0] == session.framed_ip
        ]

    def change(self, session: LabSession, attributes: dict[str, list[Any]]) -> None:
        """A CoA-Request that was accepted."""
        if self.coa_mode == "lying":
            return
        for listener in self.before_change:
            listener(session)
        self._obey(session, attributes)
        for listener in self.on_change:
            listener(session)

    def disconnect(self, session: LabSession) -> None:
        """A Disconnect-Request that was accepted; the Stop follows the ACK."""
        if self.coa_mode == "lying":
            return
        task = asyncio.get_running_loop().create_task(session.stop("Admin-Reset"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _words(attributes: dict[str, list[Any]]) -> str:
    said = [str(text) for text in attributes.get("Reply-Message", [])]
    said += [text.decode(errors="replace") for text in attributes.get("MS-CHAP-Error", [])]
    return " ".join(said)
