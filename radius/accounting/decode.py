"""One journalled Accounting-Request as an accounting event in our words (RFC 2866, RFC 2869). Pure.

The event happened at Event-Timestamp when that is within five minutes of the arrival less Acct-Delay-Time;
a NAS clock that is further off is not believed, and the arrival less the delay counts. Both are kept as
evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address, IPv6Network
from socket import inet_ntoa
from typing import Any

from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.class_token import PREFIX
from radius.packet.codec import Attr, MalformedPacket, locate, trim, value_at, values_of

_NO_ADDRESS = bytes(4)
_TRUSTED_CLOCK = timedelta(minutes=5)
_LONGEST_AGE_S = 10 * 366 * 86_400
_LONGEST_DELAY_S = 7 * 86_400  # a NAS that says it waited longer counts something else

_KINDS = {
    1: AccountingKind.START,
    2: AccountingKind.STOP,
    3: AccountingKind.INTERIM,
    7: AccountingKind.NAS_ON,
    8: AccountingKind.NAS_OFF,
}
_OF_A_SESSION = (AccountingKind.START, AccountingKind.INTERIM, AccountingKind.STOP)
TERMINATE_CAUSES = {  # RFC 2866 section 5.10
    1: "User-Request", 2: "Lost-Carrier", 3: "Lost-Service", 4: "Idle-Timeout", 5: "Session-Timeout",
    6: "Admin-Reset", 7: "Admin-Reboot", 8: "Port-Error", 9: "NAS-Error", 10: "NAS-Request",
    11: "NAS-Reboot", 12: "Port-Unneeded", 13: "Port-Preempted", 14: "Port-Suspended",
    15: "Service-Unavailable", 16: "Callback", 17: "User-Error", 18: "Host-Request",
}  # fmt: skip

_NUMBERS = (
    (int(Attr.ACCT_STATUS_TYPE), "status_type"), (int(Attr.ACCT_DELAY_TIME), "delay_s"),
    (int(Attr.ACCT_INPUT_OCTETS), "input_octets"), (int(Attr.ACCT_OUTPUT_OCTETS), "output_octets"),
    (int(Attr.ACCT_INPUT_GIGAWORDS), "input_gigawords"),
    (int(Attr.ACCT_OUTPUT_GIGAWORDS), "output_gigawords"),
    (int(Attr.ACCT_SESSION_TIME), "session_time_s"), (int(Attr.EVENT_TIMESTAMP), "event_timestamp"),
)  # fmt: skip
"""Plain integers, ready for the loop that every record goes through, and their names in the evidence."""


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
    packet = trim(datagram)
    first, repeats = locate(packet)
    evidence = _numbers(packet, first)
    kind = _kind(evidence)
    if kind is None:
        return None
    session_id = _text(packet, first, Attr.ACCT_SESSION_ID) or ""
    if not session_id and kind in _OF_A_SESSION:
        raise MalformedPacket("an accounting record of a session without Acct-Session-Id")
    octets_in = _joined(evidence, "input_octets", "input_gigawords")
    octets_out = _joined(evidence, "output_octets", "output_gigawords")
    if origin.octets_reversed:
        octets_in, octets_out = octets_out, octets_in
    return AccountingEvent(
        nas_id=origin.nas_id,
        kind=kind,
        acct_session_id=session_id,
        username=_text(packet, first, Attr.USER_NAME) or "",
        class_token=_class(packet, first, repeats),
        occurred_at=_occurred_at(evidence, origin.received_at),
        received_at=origin.received_at,
        octets_in=octets_in,
        octets_out=octets_out,
        gigawords_present="input_gigawords" in evidence or "output_gigawords" in evidence,
        session_time_s=_age_s(evidence),
        framed_ip=_address(packet, first, Attr.FRAMED_IP_ADDRESS),
        framed_ipv6_address=_ipv6_address(packet, first),
        framed_ipv6_prefix=_ipv6_prefix(packet, first, Attr.FRAMED_IPV6_PREFIX),
        delegated_ipv6_prefix=_ipv6_prefix(packet, first, Attr.DELEGATED_IPV6_PREFIX),
        calling_station=_text(packet, first, Attr.CALLING_STATION_ID),
        nas_port_id=_text(packet, first, Attr.NAS_PORT_ID),
        terminate_cause=_terminate_cause(packet, first),
        evidence=_with_origin(evidence, _address(packet, first, Attr.NAS_IP_ADDRESS), origin),
    )


def _numbers(packet: bytes, first: Mapping[int, int]) -> dict[str, Any]:
    """The counters and times as received: the evidence for the one who asks why a line says what it says."""
    found: dict[str, Any] = {}
    for kind, name in _NUMBERS:
        at = first.get(kind)
        if at is not None and packet[at + 1] == 6:
            found[name] = int.from_bytes(packet[at + 2 : at + 6], "big")
    return found


def _kind(evidence: Mapping[str, int]) -> AccountingKind | None:
    status = evidence.get("status_type")
    if status is None:
        raise MalformedPacket("an Accounting-Request without Acct-Status-Type")
    return _KINDS.get(status)


def _occurred_at(evidence: Mapping[str, int], received_at: datetime) -> datetime:
    delay_s = evidence.get("delay_s", 0)
    arrival = received_at - timedelta(seconds=delay_s) if 0 < delay_s <= _LONGEST_DELAY_S else received_at
    stamp = evidence.get("event_timestamp")
    if stamp is None:
        return arrival
    stamped = datetime.fromtimestamp(stamp, UTC)
    return stamped if abs(stamped - arrival) <= _TRUSTED_CLOCK else arrival


def _age_s(evidence: Mapping[str, int]) -> int | None:
    """Acct-Session-Time, unless no device can have been up for so long: -1, or a clock's reading."""
    age_s = evidence.get("session_time_s")
    return None if age_s is None or age_s > _LONGEST_AGE_S else age_s


def _joined(evidence: Mapping[str, int], low: str, high: str) -> int | None:
    """Input and Output as the NAS sees them: Input is the subscriber's upload."""
    octets = evidence.get(low)
    return None if octets is None else evidence.get(high, 0) << 32 | octets


def _class(packet: bytes, first: Mapping[int, int], repeats: Sequence[int]) -> bytes:
    """Our Class among those the NAS echoes, else the first."""
    values = values_of(packet, Attr.CLASS, first, repeats)
    return next((value for value in values if value.startswith(PREFIX)), values[0] if values else b"")


def _text(packet: bytes, first: Mapping[int, int], kind: int) -> str | None:
    """A text as UTF-8. NUL, which databases refuse, and broken sequences become the replacement mark."""
    at = first.get(kind)
    return None if at is None else value_at(packet, at).decode("utf-8", "replace").replace("\0", "\ufffd")


def _address(packet: bytes, first: Mapping[int, int], kind: int) -> str | None:
    at = first.get(kind)
    if at is None or packet[at + 1] != 6 or packet[at + 2 : at + 6] == _NO_ADDRESS:
        return None
    return inet_ntoa(packet[at + 2 : at + 6])


def _ipv6_address(packet: bytes, first: Mapping[int, int]) -> str | None:
    """Framed-IPv6-Address (RFC 6911 section 3.1); None for one of an impossible length, or ``::``."""
    at = first.get(Attr.FRAMED_IPV6_ADDRESS)
    if at is None or packet[at + 1] != 18:
        return None
    octets = packet[at + 2 : at + 18]
    return str(IPv6Address(octets)) if any(octets) else None


def _ipv6_prefix(packet: bytes, first: Mapping[int, int], kind: int) -> str | None:
    """A prefix as RFC 3162 section 2.3 and RFC 4818 write it: reserved, length in bits, leading octets.

    Bits behind the length must be zero; a NAS that leaves them is taken at the length it says.
    """
    at = first.get(kind)
    if at is None or not 4 <= packet[at + 1] <= 20:
        return None
    bits, octets = packet[at + 3], packet[at + 4 : at + packet[at + 1]]
    if not 0 < bits <= 128 or len(octets) * 8 < bits:
        return None
    return str(IPv6Network((octets.ljust(16, b"\0"), bits), strict=False))


def _terminate_cause(packet: bytes, first: Mapping[int, int]) -> str | None:
    at = first.get(Attr.ACCT_TERMINATE_CAUSE)
    if at is None or packet[at + 1] != 6:
        return None
    cause = int.from_bytes(packet[at + 2 : at + 6], "big")
    return TERMINATE_CAUSES.get(cause, f"cause {cause}")


def _with_origin(
    evidence: dict[str, Any], nas_address: str | None, origin: AccountingOrigin
) -> dict[str, Any]:
    evidence["source"] = origin.source
    if nas_address is not None:
        evidence["nas_ip_address"] = nas_address
    if origin.octets_reversed:
        evidence["octets_reversed"] = True
    return evidence
