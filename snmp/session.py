"""The one door to pysnmp: ask a device for objects by number, get integers and texts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pysnmp.error import PySnmpError
from pysnmp.hlapi.v3arch import asyncio as hlapi
from pysnmp.proto import errind, rfc1902, rfc1905

from core.secrets import Secret
from snmp.domain.oids import Answer

AUTH_PROTOCOLS = {
    "SHA-256": hlapi.USM_AUTH_HMAC192_SHA256,
    "SHA": hlapi.USM_AUTH_HMAC96_SHA,
    "SHA-512": hlapi.USM_AUTH_HMAC384_SHA512,
}
"""Tried in this order; which one a device's user has is found by asking. MD5 is not spoken."""

_ABSENT = (rfc1905.NoSuchObject, rfc1905.NoSuchInstance, rfc1905.EndOfMibView)
_TOO_BIG, _NO_SUCH_NAME = 1, 2  # RFC 3416 section 3, error-status
_GRACE_S = 2.0
_UNREADABLE = "the device refuses the privacy password; give the user's own (AES-128, not DES)"
_REMEDIES: tuple[tuple[Any, str], ...] = (
    (errind.UnknownUserName, "the device has no such user; give its own user name"),
    (
        errind.WrongDigest,
        "the device refuses the authentication password; give the user's own (SHA, not MD5)",
    ),
    (errind.AuthenticationFailure, "the device refuses the authentication password; give the user's own"),
    (
        errind.DecryptionError,
        "the device refuses the privacy password; give the user's own (AES-128, not DES)",
    ),
    (errind.UnsupportedSecurityLevel, "the user has another security level; give all of his passwords"),
)


class SnmpTrouble(Exception):  # noqa: N818 - it is the device's trouble, not ours
    """The device did not answer, or not what was asked. The message is for the operator, without secrets."""


class SnmpSilence(SnmpTrouble):
    """No answer within the time, retries included."""


class SnmpTooBig(SnmpTrouble):
    """The answer would be larger than the device can send."""


class _WrongProtocol(SnmpTrouble):
    """The digest was refused: another protocol, or another password."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Version 2c: a community. Version 3: a user, with authentication and AES privacy as far as given."""

    community: Secret | None = None
    username: str = ""
    auth: Secret | None = None
    privacy: Secret | None = None

    @property
    def protocols(self) -> list[str]:
        """The authentication protocols that may be his; one empty name where none is used."""
        return [""] if self.auth is None else list(AUTH_PROTOCOLS)

    def for_pysnmp(self, protocol: str) -> Any:
        """In the library's words."""
        if self.community is not None:
            return hlapi.CommunityData(self.community.reveal(), mpModel=1)  # noqa: S508 - what radios speak
        return hlapi.UsmUserData(
            self.username,
            None if self.auth is None else self.auth.reveal(),
            None if self.privacy is None else self.privacy.reveal(),
            authProtocol=AUTH_PROTOCOLS.get(protocol, hlapi.USM_AUTH_NONE),
            privProtocol=hlapi.USM_PRIV_NONE if self.privacy is None else hlapi.USM_PRIV_CFB128_AES,
        )


class SnmpDoor:
    """The library's engine, some 1.2 MB, that all version 2c devices share; version 3 has one a device.

    The library knows version 3 users by name alone and remembers engine ids by address: two devices with
    one user name and two passwords would be mixed up, and a replaced device never be heard again.
    """

    def __init__(self) -> None:
        self._engine: Any = None

    def engine(self) -> Any:
        """The shared engine, made at first use."""
        if self._engine is None:
            self._engine = hlapi.SnmpEngine()
        return self._engine

    def close(self) -> None:
        """Free the socket."""
        if self._engine is not None:
            self._engine.close_dispatcher()
        self._engine = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How a device is asked: seconds a request waits, times it is sent again, seconds between two."""

    timeout_s: float = 2.0
    retries: int = 2
    pause_s: float = 0.02


class SnmpDevice:
    """One device that is asked, one request at a time. Close it when it is not needed any more."""

    def __init__(
        self, door: SnmpDoor, where: tuple[str, int], credentials: Credentials, patience: Patience
    ) -> None:
        self._door = door
        self._where = where
        self._credentials = credentials
        self._patience = patience
        self._protocols = credentials.protocols  # one of them, as soon as the device has answered
        self._turn = asyncio.Lock()
        self._free_at_s = 0.0
        self._engine: Any = None
        self._transport: Any = None

    async def get(self, oids: Sequence[str]) -> Answer:
        """The objects the device has of those asked for. Raises ``SnmpTrouble``."""
        return dict(await self._ask(hlapi.get_cmd, oids))

    async def rows_after(self, oid: str, repetitions: int) -> list[tuple[str, int | str]]:
        """The next objects behind ``oid`` (GETBULK; GETNEXT for one). Raises ``SnmpTrouble``."""
        if repetitions == 1:
            return await self._ask(hlapi.next_cmd, (oid,))
        return await self._ask(hlapi.bulk_cmd, (oid,), 0, repetitions)

    async def _ask(self, command: Any, oids: Sequence[str], *numbers: int) -> list[tuple[str, int | str]]:
        objects = [hlapi.ObjectType(hlapi.ObjectIdentity(oid)) for oid in oids]
        async with self._turn:
            await self._wait_for_pace()
            try:
                found = await self._try_protocols(command, numbers, objects)
            finally:
                self._free_at_s = asyncio.get_running_loop().time() + self._patience.pause_s
        return [(str(name), value) for name, raw in found if (value := _plain(raw)) is not None]

    async def _wait_for_pace(self) -> None:
        wait_s = self._free_at_s - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _try_protocols(self, command: Any, numbers: Sequence[int], objects: Sequence[Any]) -> Any:
        refused: list[SnmpTrouble] = []
        for protocol in list(self._protocols):
            try:
                found = await self._try_twice(command, protocol, numbers, objects)
            except (_WrongProtocol, SnmpSilence) as trouble:  # some devices drop what they cannot check
                refused.append(trouble)
                continue
            self._protocols = [protocol]
            return found
        if any(isinstance(one, _WrongProtocol) for one in refused):
            self._protocols = self._credentials.protocols  # the user may have been given another one
        raise _most_telling(refused)

    async def _try_twice(
        self, command: Any, protocol: str, numbers: Sequence[int], objects: Sequence[Any]
    ) -> Any:
        """A version 3 device that rebooted may be deaf to an engine that remembers its old clock."""
        remembers = self._engine is not None and self._credentials.community is None
        try:
            return await self._exchange(command, protocol, numbers, objects)
        except SnmpSilence:
            if not remembers:
                raise
            return await self._exchange(command, protocol, numbers, objects)

    async def _exchange(
        self, command: Any, protocol: str, numbers: Sequence[int], objects: Sequence[Any]
    ) -> Any:
        try:
            await self._open()
            # The library times requests by the wall clock, which may be stepped; this one cannot be.
            async with asyncio.timeout(self._patience.timeout_s * (self._patience.retries + 1) + _GRACE_S):
                indication, status, _index, found = await command(
                    self._engine, self._credentials.for_pysnmp(protocol), self._transport,
                    hlapi.ContextData(), *numbers, *objects, lookupMib=False,
                )  # fmt: skip
        except TimeoutError:
            self.close()
            raise SnmpSilence(_SILENT) from None
        except (PySnmpError, OSError) as trouble:
            self.close()
            raise SnmpTrouble(f"it cannot be asked: {type(trouble).__name__}; check the address") from None
        if indication:
            self.close()
            raise _trouble_of(indication)
        _check_status(int(status))
        return found

    async def _open(self) -> None:
        if self._engine is None:
            shares = self._credentials.community is not None
            self._engine = self._door.engine() if shares else hlapi.SnmpEngine()
        if self._transport is None:
            kind = hlapi.Udp6TransportTarget if ":" in self._where[0] else hlapi.UdpTransportTarget
            self._transport = await kind.create(
                self._where, timeout=self._patience.timeout_s, retries=self._patience.retries
            )

    def close(self) -> None:
        """Free what is this device's own; asking again opens it anew, with what was learned forgotten."""
        if self._engine is not None and self._credentials.community is None:
            self._engine.close_dispatcher()
        self._engine = self._transport = None


_SILENT = "no answer; is it switched on, is the address right, and the community (or the user)?"


def _most_telling(refused: Sequence[SnmpTrouble]) -> SnmpTrouble:
    """Silence to one protocol alone means that its digest was right and the rest could not be read."""
    silent = [one for one in refused if isinstance(one, SnmpSilence)]
    if len(silent) == 1 and len(refused) > 1:
        return SnmpTrouble(_UNREADABLE)
    return next((one for one in refused if isinstance(one, _WrongProtocol)), refused[0])


def _trouble_of(indication: Any) -> SnmpTrouble:
    if isinstance(indication, errind.RequestTimedOut):
        return SnmpSilence(_SILENT)
    kind = _WrongProtocol if isinstance(indication, errind.WrongDigest) else SnmpTrouble
    for known, remedy in _REMEDIES:
        if isinstance(indication, known):
            return kind(remedy)
    return SnmpTrouble(f"refused: {type(indication).__name__}; check user and passwords")


def _check_status(status: int) -> None:
    """Raises for an error-status; noSuchName, from agents older than RFC 3416, means absent objects."""
    if status == _TOO_BIG:
        raise SnmpTooBig("the answer does not fit into one of its messages")
    if status not in (0, _NO_SUCH_NAME):
        raise SnmpTrouble(f"it answered with error-status {status} (RFC 3416); read the device's log")


def _plain(value: Any) -> int | str | None:
    if isinstance(value, _ABSENT):
        return None
    if isinstance(value, rfc1902.OctetString):
        return bytes(value).decode("utf-8", "replace").replace("\0", "\ufffd")
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
