"""EAP by eapol_test: wpa_supplicant's own supplicant signs in by each method, through real datagrams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import argon2
from eapol import ETHERNET, TLS12, TLS13, Authority, Eapol, Outcome, needs_eapol_test, quoted
from radius_live import Live, live_server
from radius_world import World

from aaa.define_pool import define_pool
from aaa.define_realm import define_realm
from aaa.domain.effect import Effect
from aaa.set_up import NewCredential, add_credential
from core.refusal import granted
from core.secrets import Secret

pytestmark = needs_eapol_test
VERSIONS = {"TLS 1.2": TLS12, "TLS 1.3": TLS13}
INNER = ["auth=PAP", "auth=CHAP", "auth=MSCHAP", "auth=MSCHAPV2", "autheap=MSCHAPV2", "autheap=MD5"]


@dataclass
class Place:
    """A server with a certificate, and a CPE that trusts it."""

    world: World
    live: Live
    eapol: Eapol
    authority: Authority

    async def sign_in(
        self, network: dict[str, Any], *arguments: str, password: str = "open sesame", **more: Any
    ) -> Outcome:
        known = {"password": quoted(password), "ca_cert": quoted(self.authority.file)}
        return await self.eapol.run(known | network, *arguments, **more)


@asynccontextmanager
async def place(world: World, folder: Path, *, bulk: int = 0, **eap: Any) -> AsyncIterator[Place]:
    await world.nas()
    root = Authority(folder)
    issuing = Authority(folder, "Fictional Issuing", parent=root)
    chain, key = issuing.issue("radius.example", server=True, bulk=bulk)
    settings = {"certificate_file": str(chain), "private_key_file": str(key)} | eap
    async with live_server(world, folder, eap=settings) as live:
        yield Place(world, live, Eapol(folder, live.auth_port), root)


def tunnelled(method: str, inner: str, tls: str = TLS12, **more: Any) -> dict[str, Any]:
    return {
        "eap": method, "phase1": quoted(tls), "phase2": quoted(inner),
        "anonymous_identity": quoted("nobody@example"),
    } | more  # fmt: skip


async def test_every_method_signs_in_and_agrees_on_keys(world: World, tmp_path: Path) -> None:
    await world.service("alice")
    async with place(world, tmp_path) as here:
        cases: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
            "MD5": ({"eap": "MD5"}, ("-n", "-N", ETHERNET)),
            "MSCHAPv2": ({"eap": "MSCHAPV2"}, ()),
        }
        for version, tls in VERSIONS.items():
            for inner in INNER:
                cases[f"TTLS {inner} {version}"] = tunnelled("TTLS", inner, tls), ("-e",)
            cases[f"PEAP {version}"] = tunnelled("PEAP", "auth=MSCHAPV2", f"{tls} peapver=0"), ("-e",)
        came: dict[str, tuple[bool, bool]] = {}
        for name, (network, arguments) in cases.items():
            outcome = await here.sign_in(network, *arguments)
            came[name] = outcome.succeeded, outcome.keys_match
            if network["eap"] in ("TTLS", "PEAP"):
                assert "EAP-Key-Name" in outcome.said.rsplit("Access-Accept", 1)[1], name
        assert came == dict.fromkeys(cases, (True, True))
        counters = here.live.server.counters
        assert (counters.accepts, counters.rejects, counters.failures) == (len(cases), 0, 0)


async def test_the_accept_names_the_inner_identity(world: World, tmp_path: Path) -> None:
    await world.service("alice")
    async with place(world, tmp_path) as here:
        outcome = await here.sign_in(tunnelled("TTLS", "auth=MSCHAPV2"))
        accept = outcome.said.rsplit("(Access-Accept)", 1)[1]
        assert "Value: 'alice'" in accept
        assert "nobody@example" not in accept


async def test_a_realm_of_our_own_is_left_out_inside_of_a_tunnel_too(world: World, tmp_path: Path) -> None:
    """The supplicant hashes the name as RFC 2759 has it: without an NT domain, with what follows an @."""
    await world.service("alice")
    async with world.workplace.work("test") as work:
        for name in ("EXAMPLE", "valley.example"):
            granted(await define_realm(work, name=name, servers=None))
    async with place(world, tmp_path) as here:
        for name in ("EXAMPLE\\alice", "alice@valley.example"):
            for network in (
                tunnelled("TTLS", "auth=MSCHAPV2"), tunnelled("PEAP", "auth=MSCHAPV2"), {"eap": "MSCHAPV2"},
            ):  # fmt: skip
                outcome = await here.sign_in(network, identity=name)
                assert outcome.succeeded, (name, network["eap"])


async def test_sessions_are_resumed(world: World, tmp_path: Path) -> None:
    await world.service("alice")
    async with place(world, tmp_path) as here:
        for method in ("TTLS", "PEAP"):
            for version, tls in VERSIONS.items():
                outcome = await here.sign_in(tunnelled(method, "auth=MSCHAPV2", tls), "-r", "2")
                assert outcome.succeeded, (method, version)
                assert outcome.said.count("resumed=1") == 2, (method, version)
                assert "MPPE keys OK: 3" in outcome.said, (method, version)
        assert here.live.server.counters.accepts == 12


async def test_a_lifetime_of_zero_lets_nobody_resume(world: World, tmp_path: Path) -> None:
    await world.service("alice")
    async with place(world, tmp_path, session_lifetime_s=0) as here:
        for tls in VERSIONS.values():
            outcome = await here.sign_in(tunnelled("TTLS", "auth=MSCHAPV2", tls), "-r", "1")
            assert outcome.succeeded
            assert outcome.keys_match
        assert here.live.server.counters.accepts == 4
        assert len(here.live.server._eap.server._resumptions) == 0


async def test_small_fragments_and_a_long_chain(world: World, tmp_path: Path) -> None:
    await world.service("alice")
    async with place(world, tmp_path, bulk=6_000, fragment_octets=250) as here:
        for tls in VERSIONS.values():
            network = tunnelled("TTLS", "auth=MSCHAPV2", tls, fragment_size=100)
            outcome = await here.sign_in(network)
            assert outcome.succeeded
            assert outcome.keys_match
        assert here.live.server.counters.challenges > 50, "many pieces"
        tiny = await here.sign_in(tunnelled("PEAP", "auth=MSCHAPV2"), "-N", "12:d:128")
        assert tiny.succeeded, "the NAS's Framed-MTU makes pieces smaller yet"


async def test_refusals_say_why(world: World, tmp_path: Path) -> None:
    await world.service("alice")
    stranger = Authority(tmp_path, "Another Root")
    async with place(world, tmp_path, methods=["ttls", "peap", "md5"]) as here:
        cases = {
            "wrong_password": here.sign_in(tunnelled("TTLS", "auth=MSCHAPV2"), password="other"),
            "unknown_user": here.sign_in(tunnelled("PEAP", "auth=MSCHAPV2"), identity="mallory"),
            "eap_tls_alert_unknown_ca": here.sign_in(
                tunnelled("PEAP", "auth=MSCHAPV2", ca_cert=quoted(stranger.file)), identity="wary"
            ),
            "eap_nak_no_common_method": here.sign_in({"eap": "MSCHAPV2"}, identity="bare"),
            "eap_nak_no_common_method ": here.sign_in({"eap": "MD5"}, "-n", identity="keyless"),
        }
        who = {
            "unknown_user": "mallory", "eap_tls_alert_unknown_ca": "nobody@example",
            "eap_nak_no_common_method": "bare", "eap_nak_no_common_method ": "keyless",
        }  # fmt: skip
        for rule, signing_in in cases.items():
            outcome = await signing_in
            assert not outcome.succeeded, rule
            assert "EAP-Failure" in outcome.said or "code=4" in outcome.said, rule
            assert await here.live.rules(who.get(rule, "alice")) == [rule.strip()]


async def test_inner_failures_end_in_order(world: World, tmp_path: Path) -> None:
    """Every inner method ends with a word for the peer, in either version."""
    await world.service("alice")
    async with place(world, tmp_path) as here:
        count = 0
        for tls in VERSIONS.values():
            for method, inner in [*(("TTLS", one) for one in INNER), ("PEAP", "auth=MSCHAPV2")]:
                outcome = await here.sign_in(tunnelled(method, inner, tls), password="other")
                assert not outcome.succeeded, (method, inner)
                assert "EAP: EAP entering state FAILURE" in outcome.said, (method, inner)
                count += 1
        counters = here.live.server.counters
        assert (counters.rejects, counters.accepts, counters.failures) == (count, 0, 0)


async def test_suspended_subscriber_gets_the_walled_garden(world: World, tmp_path: Path) -> None:
    service_id = await world.service("alice")
    await world.hold(service_id, Effect.WALLED_GARDEN)
    async with place(world, tmp_path) as here:
        outcome = await here.sign_in(tunnelled("TTLS", "auth=MSCHAPV2"))
        assert outcome.succeeded
        assert here.live.server.counters.walled == 1


async def test_methods_are_offered_as_the_nas_is_set(world: World, tmp_path: Path) -> None:
    await world.service("alice")
    async with place(world, tmp_path, methods_of_nas=["tower = peap"]) as here:
        assert (await here.sign_in(tunnelled("PEAP", "auth=MSCHAPV2"))).succeeded
        assert not (await here.sign_in(tunnelled("TTLS", "auth=PAP"))).succeeded


async def test_a_new_certificate_is_taken_up_while_running(world: World, tmp_path: Path) -> None:
    await world.service("alice")
    async with place(world, tmp_path) as here:
        other = Authority(tmp_path, "Next Root")
        chain, key = other.issue("radius.example", server=True, days=20)
        settings = here.live.server._settings.eap
        chain.replace(settings.certificate_file or "")
        key.replace(settings.private_key_file or "")
        keeper = here.live.server._eap
        assert keeper.look()
        assert not keeper.look()
        network = tunnelled("TTLS", "auth=MSCHAPV2", ca_cert=quoted(other.file))
        assert (await here.sign_in(network)).succeeded
        (issue,) = keeper.issues(here.world.workplace.clock.now())
        assert issue.severity == "warning"
        assert "expires" in issue.title
        Path(settings.certificate_file or "").write_text("nothing")
        assert keeper.look()
        (issue,) = keeper.issues(here.world.workplace.clock.now())
        assert issue.severity == "critical"
        assert "holds no certificate" in issue.title
        assert (await here.sign_in(network)).succeeded, "the last good one stays"


async def test_a_password_kept_as_a_slow_hash_is_tried_inside_of_ttls(world: World, tmp_path: Path) -> None:
    cheap = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    kept = Secret("{ARGON2ID}" + cheap.hash("open sesame"))
    service_id = await world.service("first")
    async with world.workplace.work("test") as work:
        credential = NewCredential("pppoe", "alice", password_hash=kept)
        assert await add_credential(work, world.sealer, service_id=service_id, credential=credential) is None
    async with place(world, tmp_path) as here:
        for tls in VERSIONS.values():
            outcome = await here.sign_in(tunnelled("TTLS", "auth=PAP", tls))
            assert outcome.succeeded
            assert outcome.keys_match
            assert not (await here.sign_in(tunnelled("TTLS", "auth=PAP", tls), password="other")).succeeded
        assert await here.live.rules("alice") == ["wrong_password"]
        assert not (await here.sign_in(tunnelled("PEAP", "auth=MSCHAPV2"))).succeeded
        assert await here.live.rules("alice", "method_needs_cleartext")
        assert here.live.server.counters.slow_proofs == 2


async def test_guessing_inside_of_a_tunnel_is_held_back(world: World, tmp_path: Path) -> None:
    await world.service("alice")
    async with place(world, tmp_path) as here:
        for _ in range(30):
            await here.sign_in(tunnelled("PEAP", "auth=MSCHAPV2"), password="guess")
            if here.live.server.counters.held_back:
                break
        assert here.live.server.counters.held_back, "as by PAP"
        assert await here.live.rules("alice", "held_back")


async def test_an_accept_by_eap_carries_an_address_of_our_own_pool(world: World, tmp_path: Path) -> None:
    async with world.workplace.work("test") as work:
        granted(await define_pool(work, name="homes", kind="ipv4", ranges=["10.20.0.0/24"]))
    await world.profile(pool="homes")
    await world.service("alice")
    async with place(world, tmp_path) as here:
        for _ in range(2):  # the first waits for the disk, and so does the one that finds it idle
            outcome = await here.sign_in(tunnelled("TTLS", "auth=MSCHAPV2"))
            assert outcome.succeeded
            accept = outcome.said.rsplit("(Access-Accept)", 1)[1]
            assert "Framed-IP-Address" in accept
            assert "10.20.0.1" in accept
        assert here.live.server.counters.leases_written == 2
