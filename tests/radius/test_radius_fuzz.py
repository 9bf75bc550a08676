"""The throwing of ``./dev fuzz`` in short, by a seed that stays and by a new one; and that it finds what is wrong."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from aaa.directory import Directory
from fuzz.__main__ import main
from fuzz.campaign import Campaign, Report
from fuzz.world import World, make_world
from radius.nas.table import NasState
from radius.packet.shared_secret import SharedSecret
from radius.sign_in.pipeline import AuthenticationPipeline

SHORT = 3_000
GROWTH_ALLOWED = 16 << 20


@pytest.fixture(scope="module")
def thrown_at(tmp_path_factory: pytest.TempPathFactory) -> World:
    return asyncio.run(make_world(tmp_path_factory.mktemp("fuzz")))


def told(report: Report) -> str:
    lines = [f"{one.label} {one.number}: {one.what}\n  {one.datagram.hex()}" for one in report.findings]
    return "\n".join([f"throw it again: ./dev fuzz {report.thrown} --seed {report.seed}", *lines])


@pytest.mark.parametrize("seed", [20260310, None], ids=["the same", "a new one"])
def test_nothing_is_raised_or_answered_wrongly_and_memory_stays(thrown_at: World, seed: int | None) -> None:
    campaign = Campaign(thrown_at, secrets.randbits(32) if seed is None else seed)
    report = campaign.run(SHORT)
    assert not report.findings, told(report)
    assert report.thrown == SHORT
    assert report.growth < GROWTH_ALLOWED, told(report)
    for label in ("pap", "chap", "mschap", "mschapv2", "mac", "status", "accounting"):
        assert report.accepted[label], f"nothing of {label} came through: {told(report)}"
    assert campaign.counters.failures == 0
    if seed is not None:  # of few conversations, mutated as they are, all may fail by chance
        assert sum(report.accepted[f"eap_{kind}"] for kind in (4, 13, 21, 25, 26)), told(report)


def _answers_whatever_is_unsigned(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NasState, "refuses_unsigned", lambda self, *, has_proxy_state: False)


def _takes_any_signature(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SharedSecret, "access_is_signed", lambda self, packet, at: True)


def _takes_any_report(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SharedSecret, "request_is_right", lambda self, packet: True)


def _loses_proxy_state(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("radius.sign_in.answers.proxy_states", lambda packet, first, repeats: b"")
    patch.setattr("radius.sign_in.pipeline.proxy_states", lambda packet, first, repeats: b"")


def _raises_for_a_long_state(patch: pytest.MonkeyPatch) -> None:
    plain = AuthenticationPipeline.receive

    def receive(self: Any, datagram: bytes, source: Any, now_s: float) -> bytes | None:
        if len(datagram) > 1_000:
            raise IndexError("too long")
        return plain(self, datagram, source, now_s)

    patch.setattr(AuthenticationPipeline, "receive", receive)


@pytest.mark.parametrize(
    ("sabotage", "finds"),
    [
        (_answers_whatever_is_unsigned, "an unsigned request of a NAS"),
        (_takes_any_signature, "a wrong Message-Authenticator"),
        (_takes_any_report, "an Accounting-Request of another secret"),
        (_loses_proxy_state, "Proxy-State changed"),
        (_raises_for_a_long_state, "IndexError: too long"),
    ],
)
def test_it_finds_what_is_wrong(
    thrown_at: World,
    monkeypatch: pytest.MonkeyPatch,
    sabotage: Callable[[pytest.MonkeyPatch], None],
    finds: str,
) -> None:
    sabotage(monkeypatch)
    report = Campaign(thrown_at, 7).run(1_500)
    assert any(finds in one.what for one in report.findings), told(report)


def test_it_finds_a_leak(thrown_at: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytes] = []
    plain = AuthenticationPipeline.use

    def use(self: Any, directory: Directory) -> None:
        plain(self, directory)
        answer = self.receive
        self.receive = lambda *given: (kept.append(bytes(30_000)), answer(*given))[1]

    monkeypatch.setattr(AuthenticationPipeline, "use", use)
    assert Campaign(thrown_at, 7).run(3_000).growth > GROWTH_ALLOWED


def test_the_command_says_its_figures_and_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["300", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert "300 datagrams, seed 3" in said
    assert "findings  0" in said
