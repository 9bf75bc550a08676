"""EAP-TLS by eapol_test, with certificates of the embedded authority and of others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eapol import TLS12, TLS13, Authority, Eapol, Outcome, needs_eapol_test, quoted
from radius_live import Live, live_server
from radius_world import World

from aaa.domain.effect import Effect
from aaa.issue_certificate import Issued, Order, issue_client_certificate, issue_server_certificate
from aaa.make_authority import make_authority, trust_authority
from aaa.revoke_certificate import revoke_certificate
from core.refusal import granted

pytestmark = needs_eapol_test
VERSIONS = {"TLS 1.2": TLS12, "TLS 1.3": TLS13}


@dataclass
class Place:
    """A server with the embedded authority, and CPEs with its certificates."""

    world: World
    live: Live
    eapol: Eapol
    folder: Path

    async def certificate(self, service_id: str, name: str = "alice", **order: Any) -> dict[str, Any]:
        """What a CPE is set to with a new certificate of ours; ``self.issued`` is the certificate."""
        async with self.world.workplace.work("test") as work:
            self.issued: Issued = granted(
                await issue_client_certificate(
                    work, self.world.sealer, service_id=service_id, username=name, order=Order(**order)
                )
            )
        assert self.issued.key is not None
        chain = self._file(f"{name}.pem", self.issued.certificate)
        key = self._file(f"{name}.key", self.issued.key.reveal())
        self.root = self._file("root.pem", self.issued.chain)
        await self.live.caught_up()
        return self.network(chain, key)

    def _file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def network(self, chain: Path, key: Path) -> dict[str, Any]:
        return {
            "eap": "TLS", "client_cert": quoted(chain), "private_key": quoted(key), "ca_cert": quoted(self.root),
        }  # fmt: skip

    async def sign_in(
        self, network: dict[str, Any], *arguments: str, tls: str = TLS12, **more: Any
    ) -> Outcome:
        return await self.eapol.run({"phase1": quoted(tls)} | network, *arguments, **more)


@asynccontextmanager
async def place(world: World, folder: Path, *, rsa: bool = False, **eap: Any) -> AsyncIterator[Place]:
    await world.nas()
    async with live_server(world, folder, eap=eap) as live:
        async with world.workplace.work("test") as work:
            granted(await make_authority(work, world.sealer, name="Fictional ISP", issuing=True))
            for order in [Order(), *([Order(key_type="rsa2048")] if rsa else [])]:
                names = ["radius.example"]
                granted(await issue_server_certificate(work, world.sealer, names=names, order=order))
        await live.caught_up()
        yield Place(world, live, Eapol(folder, live.auth_port), folder)


async def test_a_certificate_signs_in_and_resumes(world: World, tmp_path: Path) -> None:
    service_id = await world.service("alice")
    async with place(world, tmp_path, rsa=True, fragment_octets=400) as here:
        network = await here.certificate(service_id)
        for version, tls in VERSIONS.items():
            outcome = await here.sign_in(network, "-r", "1", "-e", tls=tls, identity="anyone")
            assert outcome.succeeded, version
            assert outcome.keys_match, version
            assert "resumed=1" in outcome.said, version
            accept = outcome.said.rsplit("(Access-Accept)", 1)[1]
            assert "Value: 'alice'" in accept, "the certificate says who it is, whatever the identity says"
        old = await here.sign_in(network | {"openssl_ciphers": quoted("ECDHE-RSA-AES128-GCM-SHA256")})
        assert old.succeeded, "who knows no ECDSA is shown the RSA certificate"
        assert here.live.server.counters.failures == 0


async def test_a_revoked_certificate_is_refused_within_a_second(world: World, tmp_path: Path) -> None:
    service_id = await world.service("alice")
    async with place(world, tmp_path) as here:
        network = await here.certificate(service_id)
        assert (await here.sign_in(network)).succeeded
        async with world.workplace.work("test") as work:
            granted(await revoke_certificate(work, world.sealer, certificate=here.issued.id))
        await here.live.caught_up()
        for count, tls in enumerate(VERSIONS.values(), 1):
            outcome = await here.sign_in(network, tls=tls)
            assert not outcome.succeeded
            assert here.live.server.counters.rejects == count
        assert await here.live.rules("alice") == ["eap_certificate_revoked"]


async def test_certificates_of_others(world: World, tmp_path: Path) -> None:
    service_id = await world.service("alice")
    async with place(world, tmp_path) as here:
        await here.certificate(service_id)
        outside, stranger = Authority(tmp_path, "Maker of CPEs"), Authority(tmp_path, "Unknown Maker")
        async with world.workplace.work("test") as work:
            file = outside.file.read_bytes()
            granted(await trust_authority(work, name="maker", certificate=file, uses=["client"]))
        await here.live.caught_up()
        cases = {
            "eap_certificate_unknown_ca": stranger.issue("alice"),
            "eap_certificate_expired": outside.issue("alice", days=-1),
            "eap_certificate_wrong_purpose": outside.issue("alice", server=True),
            "eap_certificate_of_nobody": outside.issue("zoe"),
        }
        for rule, files in cases.items():
            for tls in VERSIONS.values():
                outcome = await here.sign_in(here.network(*files), tls=tls, identity=rule)
                assert not outcome.succeeded, rule
            assert await here.live.rules(rule) == [rule]
        assert (await here.sign_in(here.network(*outside.issue("alice")))).succeeded


async def test_a_suspended_service_is_walled_and_a_blocked_one_refused(world: World, tmp_path: Path) -> None:
    service_id = await world.service("alice")
    async with place(world, tmp_path) as here:
        network = await here.certificate(service_id)
        await world.hold(service_id, Effect.WALLED_GARDEN)
        await here.live.caught_up()
        assert (await here.sign_in(network)).succeeded
        assert here.live.server.counters.walled == 1
        await world.hold(service_id, Effect.BLOCK)
        await here.live.caught_up()
        assert not (await here.sign_in(network)).succeeded
        assert await here.live.rules("alice") == ["blocked"]


async def test_a_cpe_without_a_certificate(world: World, tmp_path: Path) -> None:
    """Its supplicant refuses EAP-TLS that it has itself asked for."""
    service_id = await world.service("alice")
    async with place(world, tmp_path) as here:
        await here.certificate(service_id)
        network = {"eap": "TLS", "ca_cert": quoted(here.root)}
        outcome = await here.sign_in(network, identity="bare")
        assert not outcome.succeeded
        assert await here.live.rules("bare") == ["eap_nak_no_common_method"]
