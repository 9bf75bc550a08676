"""Whether a request is an operator at a device's prompt, what becomes of him, and what the device is told.

A subscriber's credential never opens a device, and an operator's login never opens a line: the two have names
of their own, and what a request is for is read from the request, not from the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aaa.authorize import Reject
from aaa.domain.authentication import Chap, Credential, MsChapV2, Pap, Proof
from aaa.domain.gear import ADMINISTRATIVE, LOGIN, NAS_PROMPT, GearLogin
from radius.nas.table import NasState
from radius.packet.codec import attribute, integer, vendor_attribute

ASKS_FOR_PROMPT = frozenset({LOGIN, ADMINISTRATIVE, NAS_PROMPT})
_OF_A_LINE = (8, 12, 30)  # Framed-IP-Address, Framed-MTU, Called-Station-Id: a HotSpot's user, no prompt
_ETHERNET, _WIRELESS = 15, 19  # NAS-Port-Type of those
_NOBODY = Credential("", "gear", b"nobody has this password", bytes(16), bytes(16))
_CISCO, _JUNIPER, _CAMBIUM, _CANOPY, _MIKROTIK = 9, 2636, 17713, 161, 14988


def is_for_a_prompt(nas: NasState, packet: bytes, first: Mapping[int, int], service_type: int) -> bool:
    """Whether the request is for the device's own prompt and not for a subscriber's session.

    Administrative and NAS-Prompt always are. Login is, on a NAS that lets operators in, unless it carries
    what a HotSpot says of its user.
    """
    if service_type != LOGIN:
        return True
    if not nas.nas.admin_logins or any(kind in first for kind in _OF_A_LINE):
        return False
    at = first.get(61)
    return at is None or packet[at + 1] != 6 or packet[at + 5] not in (_ETHERNET, _WIRELESS)


@dataclass(frozen=True, slots=True)
class Prompt:
    """An operator may have the prompt."""

    login: GearLogin


def decide_prompt(
    nas: NasState, gear: Mapping[bytes, GearLogin], username: bytes, proof: Proof, *, signed: bool
) -> Prompt | Reject:
    """The verdict over an operator's sign-in; every refusal has its reason for the operator alone."""
    name = username.decode("utf-8", "replace")
    if not nas.nas.admin_logins:
        return Reject(
            "gear_not_here", name,
            "the request asks for the device's own prompt, which this NAS is not set to let anybody have",
            "if operators shall sign in to it with their own names, tick that in the NAS's settings",
        )  # fmt: skip
    if not signed and nas.nas.message_authenticator != "off":
        return Reject(
            "gear_unsigned", name, "the request has no Message-Authenticator, so its answer could be forged",
            "let the device sign (RouterOS: require-message-auth), or set message_authenticator to off",
        )  # fmt: skip
    login = gear.get(username)
    if login is None:
        proof.matches(_NOBODY)  # the same work as for a name that exists
        return Reject(
            "gear_unknown", name, f"no operator signs in to network gear as {name}",
            "give the operator a login to network gear, if he shall have one",
        )  # fmt: skip
    if not isinstance(proof, Pap | Chap | MsChapV2) or not proof.matches(login.credential):
        return Reject(
            "gear_wrong_password", name,
            "the password is not the one of this operator's login to network gear",
            "the panel's own password does not count here; a new one is made on the page of operators",
        )  # fmt: skip
    return Prompt(login)


def prompt_attributes(dialect: str, level: str) -> bytes:
    """What a device of this dialect is told of an operator's level."""
    service_type = ADMINISTRATIVE if level == "full" else NAS_PROMPT
    return attribute(6, integer(service_type)) + _privilege(dialect, level)


def _privilege(dialect: str, level: str) -> bytes:
    """The vendor's own word; a device without one goes by the Service-Type."""
    match dialect:
        case "mikrotik":  # the groups that every RouterOS has
            return vendor_attribute(_MIKROTIK, 3, level.encode())
        case "cisco":
            number = {"read": 1, "write": 7, "full": 15}[level]
            return vendor_attribute(_CISCO, 1, f"shell:priv-lvl={number}".encode())
        case "juniper" | "erx":  # template users that the operator makes on the device
            return vendor_attribute(_JUNIPER, 1, f"hilltop-{level}".encode())
        case "cambium_epmp":  # read-only, installer, administrator
            return vendor_attribute(_CAMBIUM, 50, integer({"read": 5, "write": 2, "full": 3}[level]))
        case "cambium_pmp450":  # technician, installer, administrator
            return vendor_attribute(_CANOPY, 50, integer({"read": 1, "write": 2, "full": 3}[level]))
        case _:
            return b""
