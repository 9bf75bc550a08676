"""Where a request comes from, read out of the packet: CPE, port, and the line that an access node named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aaa.domain.conditions import Attachment
from radius.packet.codec import Attr, value_at, values_of

_CALLING_STATION_ID = 31
_NAS_PORT_ID = 87
_FRAMED_PROTOCOL = 7
_PPP = (1).to_bytes(4, "big")

_CISCO = 9
_DHCP = 54  # accel-ppp and FreeRADIUS carry DHCP options under this number, the option code as type
_ADSL_FORUM = 3561  # RFC 4679; RouterOS's DHCP server sends these too
_CIRCUIT, _REMOTE = 1, 2
_OPTION_82 = 82
_AV_CIRCUIT = (b"circuit-id-tag=", b"circuit-id=")
_AV_REMOTE = (b"remote-id-tag=", b"remote-id=")


def read_attachment(packet: bytes, first: Mapping[int, int], nas_id: str, mac: str | None) -> Attachment:
    """Where a located Access-Request comes from, as its NAS says."""
    port = first.get(_NAS_PORT_ID)
    return Attachment(
        nas_id,
        mac,
        None if port is None else value_at(packet, port).decode("utf-8", "replace"),
        is_over_ppp(packet, first),
    )


def is_over_ppp(packet: bytes, first: Mapping[int, int]) -> bool:
    """Whether a located Access-Request is for PPP (RFC 2865 section 5.7)."""
    at = first.get(_FRAMED_PROTOCOL)
    return at is not None and value_at(packet, at) == _PPP


def read_line_ids(
    packet: bytes, first: Mapping[int, int], repeats: Sequence[int]
) -> tuple[bytes | None, bytes | None]:
    """The circuit id and the remote id of a located Access-Request, from whoever speaks of them first."""
    circuit: bytes | None = None
    remote: bytes | None = None
    for value in values_of(packet, Attr.VENDOR_SPECIFIC, first, repeats):
        if len(value) < 7:
            continue
        one, other = _ids_in(int.from_bytes(value[:4], "big"), value[4:])
        circuit, remote = circuit or one, remote or other
    return circuit, remote


def _ids_in(vendor: int, octets: bytes) -> tuple[bytes | None, bytes | None]:
    circuit: bytes | None = None
    remote: bytes | None = None
    for kind, value in _pieces(octets, least=2):
        if vendor == _ADSL_FORUM and kind in {_CIRCUIT, _REMOTE}:
            one, other = (value, None) if kind == _CIRCUIT else (None, value)
        elif vendor == _DHCP and kind == _OPTION_82:
            inside = dict(_pieces(value, least=0))
            one, other = inside.get(_CIRCUIT), inside.get(_REMOTE)
        elif vendor == _CISCO and kind == 1:
            one, other = _after(value, _AV_CIRCUIT), _after(value, _AV_REMOTE)
        else:
            continue
        circuit, remote = circuit or one or None, remote or other or None
    return circuit, remote


def _pieces(octets: bytes, *, least: int) -> list[tuple[int, bytes]]:
    """Type, length, value; the length counts ``least`` octets of header. Stops where it goes wrong."""
    found, at = [], 0
    while at + 2 <= len(octets):
        size = octets[at + 1] - least + 2
        if size < 2 or at + size > len(octets):
            break
        found.append((octets[at], octets[at + 2 : at + size]))
        at += size
    return found


def _after(value: bytes, names: Sequence[bytes]) -> bytes | None:
    for name in names:
        if value[: len(name)].lower() == name:
            return value[len(name) :]
    return None
