"""Sign-ins that are told by where they come from instead of by a user name, on NASes that are set up so.

The line of option 82, or the port with its VLANs, is the proof: an access node of ours says it, not the CPE.
A request whose line belongs to nobody is judged by its user name and password as on any NAS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aaa.authorize import Accept, Reject, Verdict, authorize, settle
from aaa.directory import Directory, Login
from aaa.domain.authentication import MsChap, MsChapV2, Proof
from aaa.domain.line import PORT_PREFIX, line_names, read_port
from radius.nas.attachment import read_line_ids
from radius.nas.table import NasState
from radius.packet.codec import value_at

_NAS_PORT_ID = 87
_NOT_KNOWN = ("unknown_user", "unknown_mac", "no_user_name", "mac_login_not_here")


def names_of_line(
    nas: NasState, packet: bytes, first: Mapping[int, int], repeats: Sequence[int]
) -> list[str]:
    """What a credential for the line of this request may be called; none when the NAS does not say."""
    if nas.nas.identity == "circuit":
        return line_names(*read_line_ids(packet, first, repeats))
    at = first.get(_NAS_PORT_ID)
    if at is None:
        return []
    return [f"{PORT_PREFIX}{nas.nas.id}/{read_port(value_at(packet, at).decode('utf-8', 'replace'))}"]


def login_of_line(directory: Directory, names: Sequence[str]) -> Login | None:
    """The login of the line."""
    for name in names:
        login = directory.logins.get(name.encode())
        if login is not None and login.credential.kind in {"circuit", "port"}:
            return login
    return None


@dataclass(frozen=True, slots=True)
class AskedByLine:
    """A located Access-Request on a NAS whose subscribers are told by line."""

    nas: NasState
    packet: bytes
    first: Mapping[int, int]
    repeats: Sequence[int]
    username: bytes
    proof: Proof
    station: bytes | None


def authorize_line(directory: Directory, asked: AskedByLine, *, signed: bool) -> Verdict:
    """The verdict about the line; when it is nobody's, about the user name."""
    nas = asked.nas
    names = names_of_line(nas, asked.packet, asked.first, asked.repeats)
    login = login_of_line(directory, names)
    if login is not None:
        return _line_verdict(login, asked.proof)
    verdict = authorize(directory, asked.username, asked.proof, asked.station, nas.nas.macs, signed=signed)
    return _of_no_line(verdict, names, nas.nas.identity)


def _line_verdict(login: Login, proof: Proof) -> Accept | Reject:
    """A line needs no password; by MS-CHAP the CPE would want one of us, and hang up."""
    if isinstance(proof, MsChap | MsChapV2):
        return Reject(
            "line_login_with_ms_chap", login.credential.username,
            "the login is told by its line and has no password, and the request came by MS-CHAP, where the "
            "server has to prove that it knows one",
            "let the CPE use PAP or CHAP on this line, or give it a user name and password", login.service.id,
        )  # fmt: skip
    return settle(login, right=True)


def _of_no_line(verdict: Verdict, names: Sequence[str], identity: str) -> Verdict:
    """The verdict about the user name, saying more when neither name nor line is anybody's."""
    if not isinstance(verdict, Reject) or verdict.rule not in _NOT_KNOWN:
        return verdict
    if not names:
        what = "circuit or remote id (option 82)" if identity == "circuit" else "port (NAS-Port-Id)"
        return Reject(
            "no_line_shown", verdict.identity, f"{verdict.explanation}, and the request names no {what}",
            "let the relay or access node insert it, or set the NAS to tell subscribers by user name",
        )  # fmt: skip
    return Reject(
        "unknown_line", names[0], f"no service signs in from {' or '.join(names)}; {verdict.explanation}",
        f"add the sign-in to the subscriber's service: hilltop service add-login SERVICE, {identity}",
    )  # fmt: skip
