"""The one door to pysnmp: ask a device for objects by number, get integers and texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pysnmp.error import PySnmpError
from pysnmp.hlapi.v3arch import asyncio as hlapi
from pysnmp.proto import rfc1902, rfc1905

from core.secrets import Secret
from snmp.domain.oids import Answer

AUTH_PROTOCOLS = {
    "md5": hlapi.USM_AUTH_HMAC96_MD5,
    "sha1": hlapi.USM_AUTH_HMAC96_SHA,
    "sha256": hlapi.USM_AUTH_HMAC192_SHA256,
    "sha512": hlapi.USM_AUTH_HMAC384_SHA512,
}
PRIVACY_PROTOCOLS = {
    "des": hlapi.USM_PRIV_CBC56_DES,
    "aes128": hlapi.USM_PRIV_CFB128_AES,
    "aes256": hlapi.USM_PRIV_CFB256_AES,
}
_ABSENT = (rfc1905.NoSuchObject, rfc1905.NoSuchInstance, rfc1905.EndOfMibView)
_NO_SUCH_NAME = 2


class SnmpTrouble(Exception):  # noqa: N818 - it is the device's trouble, not ours
    """The device did not answer, or not what was asked. The message is for the operator, without secrets."""


class SnmpSilence(SnmpTrouble):
    """No answer within the time, retries included."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Version 2c: a community. Version 3: a user, with authentication and privacy as far as given."""

    community: Secret | None = None
    username: str = ""
    auth: Secret | None = None
    auth_protocol: str = "sha256"
    privacy: Secret | None = None
    privacy_protocol: str = "aes128"

    def for_pysnmp(self) -> Any:
        """In the library's words."""
        if self.community is not None:
            return hlapi.CommunityData(self.community.reveal(), mpModel=1)  # noqa: S508 - what radios speak
        return hlapi.UsmUserData(
            self.username,
            None if self.auth is None else self.auth.reveal(),
            None if self.privacy is None else self.privacy.reveal(),
            authProtocol=hlapi.USM_AUTH_NONE if self.auth is None else AUTH_PROTOCOLS[self.auth_protocol],
            privProtocol=(
                hlapi.USM_PRIV_NONE if self.privacy is None else PRIVACY_PROTOCOLS[self.privacy_protocol]
            ),
        )


class SnmpDoor:
    """The library's engine, some 1.2 MB, that all version 2c devices share; version 3 has one a device."""

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


class SnmpDevice:
    """One device that is asked. Close it when it is not needed any more."""

    def __init__(
        self, door: SnmpDoor, where: tuple[str, int], credentials: Credentials, timeout_s: float, retries: int
    ) -> None:
        self._door = door
        self._where = where
        self._shares = credentials.community is not None
        self._credentials = credentials.for_pysnmp()
        self._timeout_s = timeout_s
        self._retries = retries
        self._engine: Any = None
        self._transport: Any = None

    async def get(self, oids: tuple[str, ...]) -> Answer:
        """The objects the device has of those asked for. Raises ``SnmpTrouble``."""
        return dict(await self._ask(hlapi.get_cmd, oids))

    async def rows_after(self, oid: str, repetitions: int) -> list[tuple[str, int | str]]:
        """The next objects behind ``oid`` (GETBULK; GETNEXT for one). Raises ``SnmpTrouble``."""
        if repetitions == 1:
            return await self._ask(hlapi.next_cmd, (oid,))
        return await self._ask(hlapi.bulk_cmd, (oid,), 0, repetitions)

    async def _ask(self, command: Any, oids: tuple[str, ...], *numbers: int) -> list[tuple[str, int | str]]:
        objects = [hlapi.ObjectType(hlapi.ObjectIdentity(oid)) for oid in oids]
        try:
            await self._open()
            indication, status, _index, found = await command(
                self._engine, self._credentials, self._transport, hlapi.ContextData(), *numbers, *objects,
                lookupMib=False,
            )  # fmt: skip
        except (PySnmpError, OSError) as trouble:
            self.close()
            raise SnmpTrouble(f"asking failed: {type(trouble).__name__}") from None
        self._check(indication, status)
        return [(str(name), value) for name, raw in found if (value := _plain(raw)) is not None]

    def _check(self, indication: Any, status: Any) -> None:
        if indication:
            self.close()
            if type(indication).__name__ == "RequestTimedOut":
                raise SnmpSilence("no answer; is it switched on, and are address and community right?")
            raise SnmpTrouble(f"refused: {indication}; check user, protocols and passwords")
        if status and int(status) != _NO_SUCH_NAME:
            raise SnmpTrouble(f"the device answered with error {status.prettyPrint()}")

    async def _open(self) -> None:
        if self._engine is None:
            self._engine = self._door.engine() if self._shares else hlapi.SnmpEngine()
        if self._transport is None:
            kind = hlapi.Udp6TransportTarget if ":" in self._where[0] else hlapi.UdpTransportTarget
            self._transport = await kind.create(self._where, timeout=self._timeout_s, retries=self._retries)

    def close(self) -> None:
        """Free what is this device's own; asking again opens it anew, with what was learned forgotten."""
        if self._engine is not None and not self._shares:
            self._engine.close_dispatcher()
        self._engine = self._transport = None


def _plain(value: Any) -> int | str | None:
    if isinstance(value, _ABSENT):
        return None
    if isinstance(value, rfc1902.OctetString):
        return bytes(value).decode("utf-8", "replace").replace("\0", "\ufffd")
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
