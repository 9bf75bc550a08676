"""One journalled Accounting-Request as an accounting event in our words (RFC 2866, RFC 2869). Pure.

The event happened at Event-Timestamp when that is within five minutes of the arrival less Acct-Delay-Time;
a NAS clock that is further off is not believed, and the arrival less the delay counts. Both are kept as
evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.class_token import PREFIX
from radius.codec import Attr, MalformedPacket, Packet, parse, read_integer

_TRUSTED_CLOCK = timedelta(minutes=5)
_LONGEST_DELAY_S = 7 * 86_400  # a NAS that says it waited longer counts something else

_KINDS = {
    1: AccountingKind.START,
    2: AccountingKind.STOP,
    3: AccountingKind.INTERIM,
    7: AccountingKind.NAS_ON,
    8: AccountingKind.NAS_OFF,
}
TERMINATE_CAUSES = {  # RFC 2866 section 5.10
    1: "User-Request", 2: "Lost-Carrier", 3: "Lost-Service", 4: "Idle-Timeout", 5: "Session-Timeout",
    6: "Admin-Reset", 7: "Admin-Reboot", 8: "Port-Error", 9: "NAS-Error", 10: "NAS-Request",
    11: "NAS-Reboot", 12: "Port-Unneeded", 13: "Port-Preempted", 14: "Port-Suspended",
    15: "Service-Unavailable", 16: "Callback", 17: "User-Error", 18: "Host-Request",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccountingOrigin:
    """What is known of a record besides its octets."""

    nas_id: str
    source: str
    received_at: datetime
    octets_reversed: bool = False


def decode_accounting(datagram: bytes, origin: AccountingOrigin) -> AccountingEvent | None:
    """The event; None for a status type that says nothing about a session.

    Raises ``MalformedPacket`` when the record makes no sense.
    """
    packet = parse(datagram)
    status = read_integer(packet.first(Attr.ACCT_STATUS_TYPE))
    if status is None:
        raise MalformedPacket("an Accounting-Request without Acct-Status-Type")
    kind = _KINDS.get(status)
    if kind is None:
        return None
    session_id = _text(packet, Attr.ACCT_SESSION_ID) or ""
    if not session_id and kind in (AccountingKind.START, AccountingKind.INTERIM, AccountingKind.STOP):
        raise MalformedPacket("an accounting record of a session without Acct-Session-Id")
    octets_in, octets_out = _octets(packet)
    if origin.octets_reversed:
        octets_in, octets_out = octets_out, octets_in
    return AccountingEvent(
        nas_id=origin.nas_id,
        kind=kind,
        acct_session_id=session_id,
        username=_text(packet, Attr.USER_NAME) or "",
        class_token=_class(packet),
        occurred_at=_occurred_at(packet, origin.received_at),
        received_at=origin.received_at,
        octets_in=octets_in,
        octets_out=octets_out,
        gigawords_present=packet.first(52) is not None or packet.first(53) is not None,
        session_time_s=read_integer(packet.first(Attr.ACCT_SESSION_TIME)),
        framed_ip=_address(packet.first(Attr.FRAMED_IP_ADDRESS)),
        calling_station=_text(packet, Attr.CALLING_STATION_ID),
        nas_port_id=_text(packet, Attr.NAS_PORT_ID),
        terminate_cause=_terminate_cause(packet),
        evidence=_evidence(packet, origin),
    )


def _occurred_at(packet: Packet, received_at: datetime) -> datetime:
    delay_s = read_integer(packet.first(Attr.ACCT_DELAY_TIME)) or 0
    arrival = received_at - timedelta(seconds=delay_s if delay_s <= _LONGEST_DELAY_S else 0)
    stamp = read_integer(packet.first(Attr.EVENT_TIMESTAMP))
    if stamp is None:
        return arrival
    stamped = datetime.fromtimestamp(stamp, UTC)
    return stamped if abs(stamped - arrival) <= _TRUSTED_CLOCK else arrival


def _octets(packet: Packet) -> tuple[int | None, int | None]:
    """Input and Output as the NAS sees them: Input is the subscriber's upload."""
    return (
        _joined(packet, Attr.ACCT_INPUT_OCTETS, Attr.ACCT_INPUT_GIGAWORDS),
        _joined(packet, Attr.ACCT_OUTPUT_OCTETS, Attr.ACCT_OUTPUT_GIGAWORDS),
    )


def _joined(packet: Packet, low: Attr, high: Attr) -> int | None:
    octets = read_integer(packet.first(low))
    if octets is None:
        return None
    return ((read_integer(packet.first(high)) or 0) << 32) | octets


def _class(packet: Packet) -> bytes:
    """Our Class among those the NAS echoes, else the first."""
    values = packet.all(Attr.CLASS)
    ours = [value for value in values if value.startswith(PREFIX)]
    return (ours or values or [b""])[0]


def _text(packet: Packet, kind: Attr) -> str | None:
    """A text as UTF-8. NUL, which databases refuse, and broken sequences become the replacement mark."""
    value = packet.first(kind)
    return None if value is None else value.decode("utf-8", "replace").replace("\0", "\ufffd")


def _address(value: bytes | None) -> str | None:
    if value is None or len(value) != 4 or not any(value):
        return None
    return str(IPv4Address(value))


def _terminate_cause(packet: Packet) -> str | None:
    cause = read_integer(packet.first(Attr.ACCT_TERMINATE_CAUSE))
    return None if cause is None else TERMINATE_CAUSES.get(cause, f"cause {cause}")


def _evidence(packet: Packet, origin: AccountingOrigin) -> dict[str, Any]:
    """The counters and times as received, for the one who asks why a line says what it says."""
    named = {
        "input_octets": Attr.ACCT_INPUT_OCTETS,
        "output_octets": Attr.ACCT_OUTPUT_OCTETS,
        "input_gigawords": Attr.ACCT_INPUT_GIGAWORDS,
        "output_gigawords": Attr.ACCT_OUTPUT_GIGAWORDS,
        "session_time_s": Attr.ACCT_SESSION_TIME,
        "delay_s": Attr.ACCT_DELAY_TIME,
        "event_timestamp": Attr.EVENT_TIMESTAMP,
        "status_type": Attr.ACCT_STATUS_TYPE,
    }
    found = {name: read_integer(packet.first(kind)) for name, kind in named.items()}
    evidence: dict[str, Any] = {name: value for name, value in found.items() if value is not None}
    evidence["source"] = origin.source
    nas_address = _address(packet.first(Attr.NAS_IP_ADDRESS))
    if nas_address is not None:
        evidence["nas_ip_address"] = nas_address
    if origin.octets_reversed:
        evidence["octets_reversed"] = True
    return evidence
