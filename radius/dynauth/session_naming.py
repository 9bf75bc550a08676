"""How a session is named to its NAS in a CoA- or Disconnect-Request (RFC 5176 section 3). Pure.

A NAS must refuse what names another session, and some refuse every attribute that they do not look sessions
up by: so each dialect is told what it is known to take. Whoever still refuses an attribute or the request is
asked once more with the least that names a session.
"""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import Any, Final

from radius.dialects.attributes import WireAttribute
from radius.packet.codec import Attr

_USUAL: Final = ("User-Name", "Acct-Session-Id", "Framed-IP-Address", "Calling-Station-Id")
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    # RouterOS finds a session by user name and address, or its session id; it takes no station.
    "mikrotik": ("User-Name", "Acct-Session-Id", "Framed-IP-Address"),
    # hostapd answers 401 to any attribute that is not on its list: no address is.
    "ubiquiti": ("User-Name", "Acct-Session-Id", "Calling-Station-Id"),
    # Radios know their modules by MAC and user name; the management address is not the subscriber's.
    "cambium_epmp": ("User-Name", "Acct-Session-Id", "Calling-Station-Id"),
    "cambium_pmp450": ("User-Name", "Acct-Session-Id", "Calling-Station-Id"),
    "accel_ppp": ("User-Name", "Acct-Session-Id", "Framed-IP-Address", "NAS-Port-Id"),
}
_LEAST: Final = ("User-Name", "Acct-Session-Id")
_ASK_PLAINER: Final = (401, 404)
"""Error-Causes after which fewer attributes may be taken: unsupported attribute, invalid request."""

_TEXTS: Final = {
    "User-Name": (Attr.USER_NAME, "username"), "Acct-Session-Id": (Attr.ACCT_SESSION_ID, "acct_session_id"),
    "Calling-Station-Id": (Attr.CALLING_STATION_ID, "calling_station"),
    "NAS-Port-Id": (Attr.NAS_PORT_ID, "nas_port_id"),
}  # fmt: skip


def naming(session: Any, reached_at: str, *, plainly: bool = False) -> list[WireAttribute]:
    """What names the session and its NAS to itself.

    Behind an address translator a NAS knows itself by another address than the one it is reached at: it is
    called what it called itself. ``plainly`` gives the least that names a session.
    """
    wanted = _LEAST if plainly else _NAMES.get(session.dialect, _USUAL)
    found = [one for name in wanted if (one := _named(session, name)) is not None]
    if session.identifier:
        found.append(_text("NAS-Identifier", Attr.NAS_IDENTIFIER, session.identifier))
    own = _address("NAS-IP-Address", Attr.NAS_IP_ADDRESS, session.nas_own_address or reached_at)
    return found if own is None else [*found, own]


def may_ask_plainer(dialect: str, error_cause: int | None, *, disconnect: bool) -> bool:
    """Whether the names may be what a NAS refused: in a change of a known kind of NAS it is the change."""
    return error_cause in _ASK_PLAINER and (disconnect or dialect not in _NAMES)


def _named(session: Any, name: str) -> WireAttribute | None:
    if name == "Framed-IP-Address":
        return _address(name, Attr.FRAMED_IP_ADDRESS, session.framed_ip)
    kind, column = _TEXTS[name]
    text = getattr(session, column)
    return _text(name, kind, text) if text else None


def _text(name: str, kind: int, text: str) -> WireAttribute:
    return WireAttribute(name, 0, kind, text.encode()[:253], text)


def _address(name: str, kind: int, text: str | None) -> WireAttribute | None:
    if not text or ip_address(text).version != 4:
        return None
    return WireAttribute(name, 0, kind, IPv4Address(text).packed, text)
