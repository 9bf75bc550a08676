"""The provider that is thrown at: NASes of every policy, logins of every kind, a certificate authority."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aaa.directory import Directory
from aaa.domain.effect import Effect
from aaa.issue_certificate import Order, issue_client_certificate, issue_server_certificate
from aaa.make_authority import make_authority
from aaa.place_hold import place_hold
from aaa.rotate_secret import rotate_secret
from aaa.set_up import NewCredential, create_service, define_profile, register_nas
from appliance.migrate import ALL_METADATA
from core.clock import FakeClock
from core.database import Database, sqlite_url
from core.ids import SeededIds
from core.refusal import granted
from core.secrets import Sealer, Secret
from core.work import Work, Workplace

PASSWORD = "correct horse"
MAC = "02:00:00:00:00:0a"


@dataclass(frozen=True, slots=True)
class Nas:
    """Where requests come from: its Message-Authenticator policy, and the secrets that are right."""

    address: str
    policy: str
    secrets: tuple[bytes, ...]


NASES: Sequence[Nas] = (
    Nas("10.0.0.1", "auto", (b"the-secret-of-an-old-router",)),
    Nas("10.0.0.2", "require", (b"the-secret-of-a-strict-one",)),
    Nas("10.0.0.3", "off", (b"the-secret-of-an-open-one",)),
    Nas("10.0.0.4", "auto", (b"the-secret-that-comes-next", b"the-secret-that-was-before")),
    Nas("2001:db8::5", "require", (b"the-secret-of-one-on-ipv6",)),
)
ALWAYS_ACCEPTED = ("alice", "bob", "walled")


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What a CPE shows in EAP-TLS, as PEM."""

    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class World:
    """What a worker has in memory."""

    directory: Directory
    class_key: bytes = field(repr=False)
    client: ClientCertificate
    clock: FakeClock


async def make_world(folder: Path) -> World:
    """Made through the use cases and loaded as a worker loads it."""
    clock = FakeClock(datetime(2026, 3, 10, 12, tzinfo=UTC))
    sealer = Sealer({"k1": bytes(range(32))})
    database = Database(sqlite_url(folder / "fuzz.sqlite"))
    try:
        async with database.write() as connection:
            for metadata in ALL_METADATA:
                await connection.run_sync(metadata.create_all)
        workplace = Workplace(database, clock, SeededIds())
        async with workplace.work("fuzz") as work:
            client = await _populate(work, sealer)
        async with workplace.reading() as connection:
            directory = await Directory.load(connection, sealer)
    finally:
        await database.close()
    return World(directory, sealer.derive_key("class-token"), client, clock)


async def _populate(work: Work, sealer: Sealer) -> ClientCertificate:
    for number, nas in enumerate(NASES):
        made = granted(
            await register_nas(
                work, sealer, name=f"nas{number}", network=nas.address,
                secret=Secret(nas.secrets[-1].decode()), message_authenticator=nas.policy,
                mac_preset="mikrotik-dhcp" if number == 0 else "none",
                identity={2: "circuit", 4: "port"}.get(number, "user_name"),
            )
        )  # fmt: skip
        if len(nas.secrets) == 2:
            granted(await rotate_secret(work, sealer, made, secret=Secret(nas.secrets[0].decode())))
    profile = granted(
        await define_profile(work, name="Home", rate_down_bps=25_000_000, rate_up_bps=5_000_000)
    )
    services = {}
    for name in (*ALWAYS_ACCEPTED, "blocked"):
        credentials = [NewCredential("pppoe", name, Secret(PASSWORD))]
        if name == "alice":
            credentials.append(NewCredential("mac", MAC, None))
        services[name] = granted(
            await create_service(
                work, sealer, account_id="acc_1", label=name, profile_id=profile, credentials=credentials
            )
        )
    for name, effect in (("walled", Effect.WALLED_GARDEN), ("blocked", Effect.BLOCK)):
        granted(
            await place_hold(work, service_id=services[name], holder="operator", effect=effect, reason="late")
        )
    granted(await make_authority(work, sealer, name="Fictional ISP", issuing=True))
    granted(await issue_server_certificate(work, sealer, names=["radius.example"], order=Order()))
    issued = granted(
        await issue_client_certificate(
            work, sealer, service_id=services["alice"], username="alice", order=Order()
        )
    )
    key = issued.key.reveal() if issued.key is not None else ""
    return ClientCertificate(issued.certificate, key)
