"""Small worlds for the RADIUS tests. Requests are made and replies verified by pyrad: another codec than ours."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import Any

from pyrad.packet import AccountingRequest, AcctPacket, AuthPacket, StatusServer

from aaa.directory import Directory
from aaa.domain.effect import Effect
from aaa.domain.mschap import challenge_hash, challenge_response
from aaa.domain.nt_hash import nt_hash
from aaa.domain.profile import AccessPolicy
from aaa.place_hold import place_hold
from aaa.set_up import NewCredential, create_service, define_profile, register_nas
from core.refusal import granted
from core.secrets import Sealer, Secret
from core.work import Workplace
from radius.eap.server import EapServer
from radius.guard.pipeline_limits import PipelineLimits
from radius.nas.table import NasTable
from radius.packet.codec import vendor_attribute
from radius.serving.counters import Counters
from radius.sign_in.class_tokens import ClassTokens
from radius.sign_in.pipeline import AuthenticationPipeline
from radius.sign_in.reject_log import Rejection

SECRET = "xyzzy5461-and-more"
CLASS_KEY = Sealer({"k1": bytes(range(32))}).derive_key("class-token")
HERE = ("127.0.0.1", 40_000)


@dataclass
class World:
    """Builds subscribers in a paragraph."""

    workplace: Workplace
    sealer: Sealer
    ids: dict[str, str] = field(default_factory=dict)

    async def nas(self, name: str = "tower", network: str = "127.0.0.1", **fields: Any) -> str:
        async with self.workplace.work("test") as work:
            secret = Secret(fields.pop("secret", SECRET))
            if "mac_preset" not in fields:
                fields = {"mac_format": "mikrotik", "mac_password": "either"} | fields
            made = await register_nas(work, self.sealer, name=name, network=network, secret=secret, **fields)
            return granted(made)

    async def profile(self, name: str = "Home 25", **fields: Any) -> str:
        async with self.workplace.work("test") as work:
            rates = {"rate_down_bps": 25_000_000, "rate_up_bps": 5_000_000} | fields
            self.ids[name] = granted(await define_profile(work, name=name, **rates))
            return self.ids[name]

    async def service(
        self,
        username: str | None = None,
        password: str = "open sesame",
        *,
        mac: str | None = None,
        profile: str = "Home 25",
        framed_ip: str | None = None,
    ) -> str:
        if profile not in self.ids:
            await self.profile(profile)
        credentials = [] if username is None else [NewCredential("pppoe", username, Secret(password))]
        if mac is not None:
            credentials.append(NewCredential("mac", mac, None))
        async with self.workplace.work("test") as work:
            made = await create_service(
                work, self.sealer, account_id="acc_1", label=username or mac or "", profile_id=self.ids[profile],
                credentials=credentials, framed_ip=framed_ip,
            )  # fmt: skip
            return granted(made)

    async def hold(self, service_id: str, effect: Effect) -> int:
        async with self.workplace.work("test") as work:
            placed = await place_hold(
                work, service_id=service_id, holder="dunning", effect=effect, reason="invoice 7 is overdue"
            )
            return granted(placed)

    async def directory(self, policy: AccessPolicy | None = None) -> Directory:
        async with self.workplace.reading() as connection:
            return await Directory.load(connection, self.sealer, policy)


@dataclass
class Bench:
    """A pipeline over a directory, with what it rejected."""

    pipeline: AuthenticationPipeline
    nases: NasTable
    rejections: list[Rejection]

    def ask(self, request: bytes, source: tuple[Any, ...] = HERE, now_s: float = 0.0) -> bytes | None:
        return self.pipeline.receive(request, source, now_s)

    @property
    def counters(self) -> Counters:
        return self.pipeline.counters


def bench_over(directory: Directory, *, eap: EapServer | None = None, **limits: Any) -> Bench:
    rejections: list[Rejection] = []
    nases = NasTable(directory.nases)
    settings = PipelineLimits(**{"reject_delay_s": 0.0, **limits})
    pipeline = AuthenticationPipeline(
        nases, ClassTokens(CLASS_KEY), Counters(), rejections.append, settings, eap=eap
    )
    pipeline.use(directory)
    return Bench(pipeline, nases, rejections)


def request(
    username: str | bytes = "alice", *, secret: str = SECRET, signed: bool = True, identifier: int = 7
) -> AuthPacket:
    packet = AuthPacket(id=identifier, secret=secret.encode(), authenticator=os.urandom(16))
    if signed:
        packet.message_authenticator = True
    packet[1] = [username if isinstance(username, bytes) else username.encode()]
    packet[31] = [b"AA:BB:CC:00:11:22"]
    return packet


def pap(username: str | bytes = "alice", password: str | bytes = "open sesame", **more: Any) -> AuthPacket:
    packet = request(username, **more)
    clear = password if isinstance(password, bytes) else password.encode()
    packet[2] = [packet.PwCrypt(clear) if clear else b""]
    return packet


def chap(username: str = "alice", password: str = "open sesame", **more: Any) -> AuthPacket:
    import hashlib

    packet = request(username, **more)
    packet[60] = [b"0123456789abcdef"]
    digest = hashlib.md5(b"\x05" + password.encode() + packet[60][0]).digest()
    packet[3] = [b"\x05" + digest]
    return packet


def mschapv2(username: str = "alice", password: str = "open sesame", **more: Any) -> AuthPacket:
    packet = request(username, **more)
    challenge, peer = os.urandom(16), os.urandom(16)
    response = challenge_response(challenge_hash(peer, challenge, username.encode()), nt_hash(password))
    packet[26] = [
        vendor_attribute(311, 11, challenge)[2:],
        vendor_attribute(311, 25, b"\x09\x00" + peer + bytes(8) + response)[2:],
    ]
    return packet


def status(*, secret: str = SECRET, identifier: int = 9) -> AuthPacket:
    packet = AuthPacket(
        code=StatusServer, id=identifier, secret=secret.encode(), authenticator=os.urandom(16)
    )
    packet.message_authenticator = True
    return packet


def accounting(
    session: str = "81e00001",
    kind: int = 1,
    *,
    secret: str = SECRET,
    identifier: int = 3,
    attributes: dict[str, Any] | None = None,
    **more: Any,
) -> AcctPacket:
    packet = AcctPacket(code=AccountingRequest, id=identifier, secret=secret.encode())
    packet[40] = [kind.to_bytes(4, "big")]
    packet[44] = [session.encode()]
    packet[1] = [str(more.pop("username", "alice")).encode()]
    for key, value in (more | (attributes or {})).items():
        packet[int(key.removeprefix("a"))] = [value if isinstance(value, bytes) else value.to_bytes(4, "big")]
    return packet


def octets(packet: AuthPacket | AcctPacket) -> bytes:
    return bytes(packet.RequestPacket())


def reply_to(packet: AuthPacket | AcctPacket, answer: bytes | None) -> Any:
    """The answer as pyrad reads it, its authenticators verified by pyrad."""
    assert answer is not None, "no answer"
    reply = packet.CreateReply(packet=answer)
    assert packet.VerifyReply(reply, answer), "pyrad does not accept the reply"
    return reply


def vendor(reply: Any, number: int, kind: int) -> bytes | None:
    """One vendor attribute of a reply decoded without a dictionary."""
    for value in reply.get(26, []):
        if value[:4] == number.to_bytes(4, "big") and value[4] == kind:
            return bytes(value[6:])
    return None


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
