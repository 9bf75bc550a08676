"""A speed changes under a live session without a drop: from the panel's act to what a NAS made of pyrad hears."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

sys.path.append(str(Path(__file__).parents[1] / "radius"))

from pyrad.packet import CoAPacket, CoARequest
from pyrad_nas import PyradNas
from radius_world import CLASS_KEY, SECRET, World

from aaa.apply_rules import RuleKeeper
from aaa.domain.accounting import AccountingEvent, AccountingKind
from aaa.domain.class_token import ClassToken, encode_class
from aaa.domain.effect import Effect
from aaa.domain.profile_rule import QuotaRule
from aaa.live_scope import LiveScope
from aaa.record_accounting import record_accounting
from aaa.set_profile_rule import set_rule
from aaa.set_reply_template import set_reply_template
from aaa.set_up import change_nas, redefine_profile
from aaa.store import tables
from appliance.reactions import REACTIONS
from core.clock import FakeClock
from core.outbox import dispatch_due
from core.quantities import GB
from core.refusal import granted
from core.secrets import Sealer
from core.store.tables import audit
from core.work import Workplace
from provisioning.config import ProvisioningSettings
from provisioning.enforce import Enforcer
from radius.config import RadiusSettings
from radius.dictionary.attributes import attribute_dictionary
from radius.dynauth.live_session import LiveSessions
from radius.dynauth.reapply import Reapplying
from radius.explaining.preview import template_refusal


@dataclass
class Line:
    """One subscriber online on a NAS that obeys."""

    world: World
    nas: PyradNas
    nas_id: str
    service_id: str
    settings: RadiusSettings

    async def follow(self) -> None:
        """What the worker does until there is nothing left."""
        workplace = self.world.workplace
        sessions = LiveSessions(workplace, self.world.sealer, self.settings)
        enforcer = Enforcer(workplace, self.world.sealer, sessions, ProvisioningSettings(), "test")
        while await dispatch_due(workplace, REACTIONS) + await enforcer.run_due():
            pass

    async def told(self) -> list[str]:
        """The words of the newest order beside those that name the session; it must be a CoA."""
        newest: CoAPacket = self.nas.heard[-1]
        assert newest.code == CoARequest, "a Disconnect would have dropped him"
        read = attribute_dictionary().decode(self.nas.datagrams[-1][20:])
        naming = {"User-Name", "Acct-Session-Id", "NAS-Identifier", "NAS-IP-Address", "Framed-IP-Address",
                  "Calling-Station-Id", "NAS-Port-Id", "Event-Timestamp", "Message-Authenticator"}  # fmt: skip
        return [str(one) for one in read if one.name not in naming]

    async def generation(self) -> int | None:
        async with self.world.workplace.reading() as connection:
            return (await connection.execute(select(tables.session.c.generation))).scalar_one()

    async def speak(self, dialect: str) -> None:
        async with self.world.workplace.work("test") as work:
            assert await change_nas(work, self.world.sealer, self.nas_id, dialect=dialect) is None


async def _accounts(world: World, nas_id: str, service_id: str, kind: AccountingKind, **fields: Any) -> None:
    now = world.workplace.clock.now()
    said: dict[str, Any] = {
        "acct_session_id": "81e00001", "username": "alice", "framed_ip": "100.64.0.9",
        "class_token": encode_class(ClassToken(service_id, 1, "s1"), CLASS_KEY),
        "calling_station": "AA:BB:CC:00:11:22",
    }  # fmt: skip
    event = AccountingEvent(nas_id=nas_id, kind=kind, occurred_at=now, received_at=now, **(said | fields))
    async with world.workplace.work("test") as work:
        await record_accounting(work, [event], CLASS_KEY)


@pytest.fixture
async def line(workplace: Workplace, sealer: Sealer) -> AsyncIterator[Line]:
    world = World(workplace, sealer)
    nas = PyradNas(SECRET.encode(), lambda request: None)
    port = await nas.start()
    nas_id = await world.nas("tower", "127.0.0.1", dynauth_port=port, identifier="T1")
    service_id = await world.service("alice")
    await _accounts(world, nas_id, service_id, AccountingKind.START)
    yield Line(world, nas, nas_id, service_id, RadiusSettings(dynauth_timeout_s=2, dynauth_tries=2))
    nas.close()


async def test_a_redefined_profile_changes_the_speed_of_whoever_is_online(line: Line) -> None:
    profile_id = line.world.ids["Home 25"]
    for dialect, down, words in (
        ("mikrotik", 50_000_000, ["Mikrotik-Rate-Limit = 5M/50M", "Mikrotik-Address-List = hilltop-open"]),
        ("wispr", 60_000_000, ["WISPr-Bandwidth-Max-Up = 5000000", "WISPr-Bandwidth-Max-Down = 60000000",
                               "Filter-Id = hilltop-open"]),
        ("cambium_pmp450", 70_000_000, ["Motorola-Canopy-ULBR = 5000", "Motorola-Canopy-ULBL = 5000",
                                        "Motorola-Canopy-DLBR = 70000", "Motorola-Canopy-DLBL = 70000"]),
        ("cisco", 80_000_000, ["Cisco-AVPair = ip:sub-qos-policy-in=hilltop-up-5M",
                               "Cisco-AVPair = ip:sub-qos-policy-out=hilltop-down-80M", "Filter-Id = hilltop-open.in"]),
        ("juniper", 90_000_000, [f"ERX-{family}{way}-Policy-Name = hilltop-{name}"
                                 for way, name in (("Ingress", "up-5M"), ("Egress", "down-90M"))
                                 for family in ("", "IPv6-")]),
        ("accel_ppp", 40_000_000, ["Filter-Id = 40000/5000"]),
    ):  # fmt: skip
        await line.speak(dialect)
        heard = len(line.nas.heard)
        async with line.world.workplace.work("test") as work:
            assert await redefine_profile(work, profile_id, rate_down_bps=down) == ["rate_down_bps"]
        await line.follow()
        assert len(line.nas.heard) == heard + 1, "one order for one change"
        assert sorted(await line.told()) == sorted(words), dialect
    assert await line.generation() == 7


async def test_a_used_up_quota_slows_him_down_and_a_new_period_speeds_him_up(
    line: Line, clock: FakeClock
) -> None:
    profile_id = line.world.ids["Home 25"]
    async with line.world.workplace.work("test") as work:
        granted(await set_rule(work, profile_id, QuotaRule("cap", Effect.THROTTLE, GB, "day", "down")))
        changes = {"throttle_down_bps": 2_000_000, "throttle_up_bps": 256_000}
        granted(await redefine_profile(work, profile_id, **changes))
    clock.step_to(clock.now().replace(hour=20))
    await _accounts(
        line.world, line.nas_id, line.service_id, AccountingKind.INTERIM, octets_in=5, octets_out=GB,
        session_time_s=8 * 3_600, gigawords_present=True,
    )  # fmt: skip
    keeper = RuleKeeper(line.world.workplace, "UTC")
    assert await keeper.turn() == 1
    await line.follow()
    assert "Mikrotik-Rate-Limit = 256k/2M" in await line.told()
    clock.step_to(clock.now().replace(day=clock.now().day + 1, hour=0, minute=1))
    assert await keeper.turn() == 1
    await line.follow()
    assert "Mikrotik-Rate-Limit = 5M/25M" in await line.told()
    assert {packet.code for packet in line.nas.heard} == {CoARequest}


async def test_a_template_has_its_say_in_the_order_too(line: Line) -> None:
    async with line.world.workplace.work("test") as work:
        lines = 'Mikrotik-Rate-Limit := "{rate_up_mbit}M/{rate_down_mbit}M"\nFramed-Pool := x\n-Mikrotik-Address-List'
        granted(await set_reply_template(work, template_refusal, lines=lines, nas_id=line.nas_id))
    await line.world.hold(line.service_id, Effect.THROTTLE)
    await line.follow()
    assert await line.told() == ["Mikrotik-Rate-Limit = 1M/1M"], (
        "no pool: no NAS changes it for a live session"
    )


async def test_a_changed_template_is_told_to_many_a_page_at_a_time(line: Line) -> None:
    world, started = line.world, AccountingKind.START
    mute = PyradNas(SECRET.encode(), lambda request: "silent")
    mute_id = await world.nas("mute", "127.0.0.2", dynauth_port=await mute.start("127.0.0.2"))
    for number in range(1, 8):
        name = f"guest{number}"
        fields = {"username": name, "acct_session_id": name, "calling_station": f"AA:BB:CC:00:22:0{number}"}
        fields["framed_ip"] = f"100.64.1.{number}"
        service_id = await world.service(name)
        token = encode_class(ClassToken(service_id, 1, name), CLASS_KEY)
        nas_id = mute_id if number > 5 else line.nas_id
        await _accounts(world, nas_id, service_id, started, class_token=token, **fields)
    async with world.workplace.work("test") as work:
        lines = 'Mikrotik-Rate-Limit := "{rate_up_mbit}M/{rate_down_mbit}M 9M/90M"\n-Mikrotik-Address-List'
        granted(await set_reply_template(work, template_refusal, lines=lines))
    await line.follow()
    assert line.nas.heard == [], "what is saved is told to nobody who is online"
    line.nas.answer = lambda request: 501 if request.get(1) == [b"guest2"] else None
    settings = RadiusSettings(dynauth_timeout_s=0.2, dynauth_tries=1)
    sessions = LiveSessions(world.workplace, world.sealer, settings)
    reapplying = Reapplying(world.workplace, sessions, "operator:ana")
    scope = LiveScope(nas_id=line.nas_id)
    first = await reapplying.page(scope, limit=4)
    assert (len(first.sessions), first.left) == (4, 2)
    second = await reapplying.page(scope, first.next_after or "", limit=4)
    assert (len(second.sessions), second.left, second.next_after) == (2, 0, None)
    outcomes = {one.username: one.outcome for one in (*first.sessions, *second.sessions)}
    assert outcomes.pop("guest2") == "refused", "and stays online: nobody is disconnected"
    assert outcomes == dict.fromkeys(["alice", "guest1", "guest3", "guest4", "guest5"], "moved")
    assert await line.told() == ["Mikrotik-Rate-Limit = 5M/25M 9M/90M"]
    assert {packet.code for packet in line.nas.heard} == {CoARequest}
    everybody = await reapplying.page(LiveScope(profile_id=world.ids["Home 25"], dialect="mikrotik"))
    assert {one.outcome for one in everybody.sessions if one.nas == "mute"} == {"silent"}
    again = await reapplying.page(LiveScope(nas_id=mute_id))
    assert {one.outcome for one in again.sessions} == {"not_asked"}, "it was silent a moment ago"
    assert (await reapplying.page(LiveScope(dialect="cisco"))).sessions == []
    async with world.workplace.reading() as connection:
        rows = (await connection.execute(select(audit).where(audit.c.action == "sessions.reapply"))).all()
    assert rows[0].actor == "operator:ana"
    assert sum(row.detail.get("moved", 0) for row in rows[:2]) == 5
    mute.close()


async def test_blocked_he_keeps_his_session_in_the_walled_garden_where_that_is_said(line: Line) -> None:
    """FIELD-NOTES: a suspended subscriber must reach the portal to pay."""
    profile_id = line.world.ids["Home 25"]
    async with line.world.workplace.work("test") as work:
        granted(await redefine_profile(work, profile_id, when_blocked="walled_garden"))
    await line.world.hold(line.service_id, Effect.BLOCK)
    await line.follow()
    assert "Mikrotik-Address-List = hilltop-walled" in await line.told()
    async with line.world.workplace.work("test") as work:
        granted(await redefine_profile(work, profile_id, when_blocked="reject"))
    await line.follow()
    assert line.nas.heard[-1].code != CoARequest, "a plain block disconnects"
