"""Whether a sign-in that has proved itself fulfils the conditions of its login: CPE, port, devices at once.

Pure decisions over what the caller knows; what was learned on the way is in the answer, for him to keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from aaa.authorize import Reject
from aaa.directory import Login
from aaa.domain.conditions import (
    Attachment,
    Conditions,
    CpeFinding,
    find_cpe,
    port_fits,
    replaced_cpes,
)
from aaa.domain.identity import spelled_mac


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a login now.

    ``bound``: the CPEs it is bound to, with those learned since the directory was read. ``window``: whether
    one may be replaced now. ``alive``: its other devices that are online and heard of lately, in words.
    """

    bound: tuple[str, ...]
    window: bool
    alive: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Met:
    """The sign-in may go on. ``learned``: the CPE is to be bound to the login, in place of ``instead_of``."""

    learned: str | None = None
    instead_of: tuple[str, ...] = ()


def window_is_open(conditions: Conditions, now: datetime) -> bool:
    """Whether an operator has opened a replacement window, and it has not run out."""
    return conditions.replace_until is not None and now < conditions.replace_until


def meet_conditions(login: Login, conditions: Conditions, at: Attachment, known: Known) -> Met | Reject:
    """The sign-in of ``login`` from ``at``, or the condition it does not fulfil."""
    finding = find_cpe(conditions, known.bound, at.mac, window=known.window)
    refused = _refusal(login, conditions, at, known, finding)
    if refused is not None:
        return refused
    if finding is CpeFinding.FIRST:
        return Met(at.mac)
    if finding is CpeFinding.REPLACES:
        return Met(at.mac, replaced_cpes(conditions, known.bound))
    return Met()


def _refusal(
    login: Login, conditions: Conditions, at: Attachment, known: Known, finding: CpeFinding
) -> Reject | None:
    if conditions.not_over_ppp and at.over_ppp:
        return _no_mac_over_ppp(login)
    if not port_fits(conditions, at):
        return _other_port(login, conditions, at)
    if finding is CpeFinding.OTHER or finding is CpeFinding.UNKNOWN:
        return _other_cpe(login, at, known)
    if conditions.devices and len(known.alive) >= conditions.devices:
        return _too_many(login, conditions, known)
    return None


def _no_mac_over_ppp(login: Login) -> Reject:
    name = login.credential.username
    return Reject(
        "mac_login_over_ppp", name, "a PPPoE client dialled with the MAC of a service as its user name",
        "give the CPE a PPPoE user name and password; MAC logins are for DHCP, hotspots and wireless",
        login.service.id,
    )  # fmt: skip


def _other_port(login: Login, conditions: Conditions, at: Attachment) -> Reject:
    name = login.credential.username
    if conditions.port_nas_id not in {None, at.nas_id}:
        why = "the sign-in came over another NAS than the one that the login is bound to"
    elif at.port is None:
        why = f"the NAS does not say the port (NAS-Port-Id), and the login is bound to {conditions.port}"
    else:
        why = f"the sign-in came in at port {at.port!r}, and the login is bound to {conditions.port}"
    return Reject(
        "other_port", name, why,
        f"if the subscriber was moved, bind the login to his new port: hilltop service bind-port {name} "
        "(or his page in the panel); else look who uses his password", login.service.id,
    )  # fmt: skip


def _other_cpe(login: Login, at: Attachment, known: Known) -> Reject:
    name = login.credential.username
    bound = ", ".join(spelled_mac(one) for one in known.bound) or "no CPE yet"
    if at.mac is None:
        return Reject(
            "no_cpe_shown", name,
            f"the request names no MAC (Calling-Station-Id), and the login is bound to {bound}",
            "let the NAS send the CPE's MAC as Calling-Station-Id, or turn the binding off for this login "
            f"(hilltop service cpe-binding {name} off)", login.service.id,
        )  # fmt: skip
    return Reject(
        "other_cpe", name, f"it comes from the CPE {spelled_mac(at.mac)}, and the login is bound to {bound}",
        f"if the CPE was swapped: hilltop service replace-cpe {name} --for 2h (or the subscriber's page), "
        "then let the new one dial; else look who uses the password", login.service.id,
    )  # fmt: skip


def _too_many(login: Login, conditions: Conditions, known: Known) -> Reject:
    name = login.credential.username
    return Reject(
        "simultaneous_use", name,
        f"{len(known.alive)} of at most {conditions.devices} devices are online: "
        + "; ".join(known.alive[:3]),
        "disconnect the one that should not be online, or allow more devices (hilltop service devices "
        f"{name} N); what died without a Stop is let go after three interim intervals", login.service.id,
    )  # fmt: skip
