"""Decide an Access-Request over the directory: accept, reject with a reason, or be silent."""

from __future__ import annotations

from typing import NamedTuple

from aaa.directory import Directory, Login
from aaa.domain.authentication import (
    Chap,
    Credential,
    MsChap,
    MsChapV2,
    Nothing,
    Pap,
    Proof,
    looks_garbled,
)
from aaa.domain.effect import Effect
from aaa.domain.identity import is_locally_administered, normalise_mac
from aaa.domain.mac_convention import NO_MACS, MacConvention
from aaa.domain.password_hash import METHODS, PasswordHash


class Accept(NamedTuple):
    """A session on ``login.service.terms``, which may be those of the walled garden."""

    login: Login


class Reject(NamedTuple):
    """No session. ``rule`` is stable for programs; the rest is for the operator, never for the wire."""

    rule: str
    identity: str
    explanation: str
    remedy: str
    service_id: str | None = None


class Silent(NamedTuple):
    """No answer, because the request itself cannot be trusted; ``reason`` names the counter."""

    reason: str


class Unproven(NamedTuple):
    """The password has to be checked against a hash first, a slow one off the event loop; then ``settle``."""

    login: Login
    hashed: PasswordHash
    password: bytes

    def __repr__(self) -> str:
        return f"Unproven({self.login.credential.username}, …)"


STALE_SILENT = "directory_stale_silent"
"""A rule whose refusals are not sent: the NAS asks another server."""
_METHOD_NAMES = {Chap: "CHAP", MsChap: "MS-CHAPv1", MsChapV2: "MS-CHAPv2"}
_MAC_PASSWORD_WORDS = {
    "empty": "an empty password", "mac": "the MAC as password", "either": "an empty password or the MAC",
    "shared": "the password that the devices of this NAS share",
    "any": "a password by PAP or CHAP, or none",
}  # fmt: skip
Verdict = Accept | Reject | Silent | Unproven
STALE = {"stale_reject": "directory_stale", "stale_silent": STALE_SILENT}
"""The rules of services that wait for the database, by the lifecycle ``aaa.stale_directory`` gives them."""
_NOBODY = Credential("", "pppoe", b"nobody has this password", bytes(16), bytes(16))


def authorize(
    directory: Directory,
    username: bytes,
    proof: Proof,
    calling_station: bytes | None,
    macs: MacConvention,
    *,
    signed: bool,
) -> Verdict:
    """The verdict for one sign-in.

    ``signed`` says that the request's Message-Authenticator was right; without it a password that decrypts to
    noise means two different shared secrets, and gets silence.
    """
    login = directory.logins.get(username)
    if login is not None and login.credential.kind == "pppoe":
        if login.credential.password and proof.matches(login.credential):
            return _entitled(login)
        if login.credential.hashed is not None:
            return _check_hash(login, login.credential.hashed, proof, signed=signed)
        return _wrong_password(login, proof, signed=signed)
    return _authorize_mac(directory, username, proof, calling_station, macs, signed=signed)


def settle(login: Login, *, right: bool) -> Accept | Reject:
    """The verdict for a login whose password was found right or wrong."""
    return _entitled(login) if right else _not_the_password(login)


def _check_hash(login: Login, hashed: PasswordHash, proof: Proof, *, signed: bool) -> Verdict:
    """Only a hash of the password is kept: what it can prove decides which methods work."""
    if isinstance(proof, Pap):
        if not proof.password or (not signed and looks_garbled(proof.password)):
            return _wrong_password(login, proof, signed=signed)
        return Unproven(login, hashed, proof.password)
    if isinstance(proof, Nothing):
        return _wrong_password(login, proof, signed=signed)
    if hashed.scheme == "nt" and not isinstance(proof, Chap):
        return settle(login, right=proof.matches(login.credential))
    return Reject(
        "method_needs_cleartext", login.credential.username,
        f"the request came by {_METHOD_NAMES[type(proof)]}, and of the password only a hash "
        f"({hashed.scheme}) is kept, which works with {METHODS[hashed.scheme]}",
        "let the NAS and the CPE use a method that works, or set the password anew in clear, which works "
        "with every method", login.service.id,
    )  # fmt: skip


def admit(login: Login) -> Accept | Reject:
    """The verdict for a login that has proved itself in another way: a certificate, a session resumed."""
    return _entitled(login)


def _entitled(login: Login) -> Accept | Reject:
    service = login.service
    if service.admitted:
        return Accept(login)
    name = login.credential.username
    if service.lifecycle == "pending":
        return Reject(
            "service_pending", name, "the service has not been activated",
            "activate the service when the line is installed", service.id,
        )  # fmt: skip
    if service.lifecycle == "ended" or service.effect is Effect.ENDED:
        return Reject(
            "service_ended", name, "the service has ended",
            "take the CPE off the line, or create a new service for it", service.id,
        )  # fmt: skip
    if service.lifecycle in STALE:
        return Reject(
            STALE[service.lifecycle], name, "; ".join(service.because),
            "bring the database back; the profile says what is done without it", service.id,
        )  # fmt: skip
    because = "; ".join(service.because) or "no reason recorded"
    return Reject(
        "blocked", name, f"the service is blocked ({because})",
        "lift the hold that blocks it, when its reason is gone", service.id,
    )  # fmt: skip


def _wrong_password(login: Login, proof: Proof, *, signed: bool) -> Verdict:
    name, service_id = login.credential.username, login.service.id
    if not login.credential.password and login.credential.hashed is None:
        return Reject(
            "no_password_set", name, "the credential has no password that can be read",
            "set the password again", service_id,
        )  # fmt: skip
    if isinstance(proof, Nothing):
        return Reject(
            "no_password_sent", name, "the request carries no password and no challenge response",
            "let the NAS use PAP, CHAP or MS-CHAPv2", service_id,
        )  # fmt: skip
    if isinstance(proof, Pap):
        if not proof.password:
            return Reject(
                "empty_password", name, "the password that was sent is empty",
                "enter the password in the CPE", service_id,
            )  # fmt: skip
        if not signed and looks_garbled(proof.password):
            return Silent("suspected_wrong_secret")
    return _not_the_password(login)


def _not_the_password(login: Login) -> Reject:
    return Reject(
        "wrong_password", login.credential.username, "the password is not the one of this credential",
        "correct the password in the CPE, or set the credential's password anew", login.service.id,
    )  # fmt: skip


def _authorize_mac(
    directory: Directory,
    username: bytes,
    proof: Proof,
    calling_station: bytes | None,
    macs: MacConvention,
    *,
    signed: bool,
) -> Verdict:
    name = username.decode("utf-8", "replace")
    mac = macs.mac_of(name)
    login = None if mac is None else directory.logins.get(mac.encode())
    if mac is None or login is None or login.credential.kind != "mac":
        if not signed and isinstance(proof, Pap) and looks_garbled(proof.password):
            return Silent("suspected_wrong_secret")
        proof.matches(_NOBODY)  # the same work as for a name that exists: the time tells nothing
        return _not_spelled_so(directory, name, macs) or _unknown(name, mac)
    if not proof.shows_mac(username, macs):
        wanted = _MAC_PASSWORD_WORDS[macs.password]
        return Reject(
            "mac_login_password", name, f"a MAC login on this NAS must send {wanted}, and this one did not",
            f"let the NAS send {wanted} for MAC logins, or change what is expected of it (hilltop nas change "
            "--mac-sends)", login.service.id,
        )  # fmt: skip
    station = None if calling_station is None else normalise_mac(calling_station.decode("utf-8", "replace"))
    if station is not None and station != mac:
        return Reject(
            "calling_station_differs", name, f"the request comes from {station}, not from the MAC it names",
            "look for a CPE that imitates another one's MAC", login.service.id,
        )  # fmt: skip
    return _entitled(login)


def _not_spelled_so(directory: Directory, name: str, macs: MacConvention) -> Reject | None:
    """A MAC that would be let in, if this NAS were known to send MAC logins spelled so."""
    mac = normalise_mac(name)
    login = None if mac is None or macs.mac_of(name) else directory.logins.get(mac.encode())
    if login is None or login.credential.kind != "mac":
        return None
    if macs.spelling == NO_MACS:
        why = "this NAS is not set up for MAC logins"
    else:
        why = f"this NAS is set up to spell MAC logins otherwise ({macs.spelling}, case {macs.case})"
    return Reject(
        "mac_login_not_here", name, f"the user name is the MAC of a service, but {why}",
        "if the NAS does send MAC logins so, say it: hilltop nas change NAS --mac-preset mikrotik-dhcp (or "
        "another), or its form in the panel", login.service.id,
    )  # fmt: skip


def _unknown(name: str, mac: str | None) -> Reject:
    if not name:
        return Reject("no_user_name", name, "the request names no user", "look at the NAS's configuration")
    if mac is not None and is_locally_administered(mac):
        return Reject(
            "unknown_mac", name, f"no service signs in with the MAC {mac}, which its device made up",
            "turn random (private) MAC addresses off in the CPE, then add its real one to the service",
        )  # fmt: skip
    if mac is not None:
        return Reject(
            "unknown_mac", name, f"no service signs in with the MAC {mac}",
            "add the MAC to the subscriber's service, if the CPE is his",
        )  # fmt: skip
    return Reject(
        "unknown_user", name, f"no service signs in as {name}",
        "correct the user name in the CPE, or add the credential to a service",
    )  # fmt: skip
