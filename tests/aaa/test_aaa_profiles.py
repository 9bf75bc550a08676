"""Profiles that are redefined, and services with prefixes and routes of their own."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from aaa.create_service import create_service
from aaa.directory import Directory
from aaa.domain.addressing import span
from aaa.domain.profile_terms import BOUNDS, FIELDS, LONGEST, check_fields
from aaa.facts import EntitlementChanged, ProfileRedefined
from aaa.move_sessions import SERVICES_AT_ONCE, move_sessions_of
from aaa.service_terms import NewCredential
from aaa.set_addressing import addressing_of, set_addressing
from aaa.set_up import define_profile, end_service, redefine_profile
from aaa.store import tables
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.store.tables import fact
from core.work import Workplace


async def _profile(workplace: Workplace, **fields: Any) -> str:
    given = {"name": "home", "rate_down_bps": 25_000_000, "rate_up_bps": 5_000_000} | fields
    async with workplace.work("test") as work:
        return granted(await define_profile(work, **given))


async def _service(workplace: Workplace, sealer: Sealer, profile_id: str, name: str) -> str:
    async with workplace.work("test") as work:
        made = await create_service(
            work, sealer, account_id="acc_1", label=name, profile_id=profile_id,
            credentials=[NewCredential("pppoe", name, Secret("a password"))],
        )  # fmt: skip
        return granted(made)


async def _addressing(workplace: Workplace, service_id: str, **fields: Any) -> Refusal | None:
    async with workplace.work("test") as work:
        return await set_addressing(work, service_id, **fields)


WRONG_TERMS: list[tuple[dict[str, Any], str]] = [
    ({"vlan": 4_095}, "vlan"),
    ({"vlan": 0}, "vlan"),
    ({"outer_vlan": 7}, "vlan"),
    ({"priority": 9}, "priority"),
    ({"rate_down_bps": 10**12 + 1}, "rate_down_bps"),
    ({"interim_interval_s": 7 * 86_400 + 1}, "interim_interval_s"),
    ({"interim_interval_s": None}, "interim_interval_s"),
    ({"session_timeout_s": 365 * 86_400 + 1}, "session_timeout_s"),
    ({"min_down_bps": 26_000_000, "min_up_bps": 1}, "min_down_bps"),
    ({"min_down_bps": 1}, "min_up_bps"),
    ({"throttle_up_bps": 1}, "throttle_down_bps"),
    ({"walled_up_bps": 1}, "walled_down_bps"),
    ({"when_blocked": "shout"}, "when_blocked"),
    ({"filter_id": "ü" * 65}, "filter_id"),
    ({"pool": "a\x07b"}, "pool"),
    ({"colour": "red"}, "colour"),
]


async def test_a_profile_is_refused_by_field(workplace: Workplace) -> None:
    stands = await _profile(workplace)
    for fields, field in WRONG_TERMS:
        given = {"name": "other", "rate_down_bps": 25_000_000, "rate_up_bps": 5_000_000} | fields
        async with workplace.work("test") as work:
            made, changed = (
                await define_profile(work, **given),
                await redefine_profile(work, stands, **fields),
            )
        for refused in (made, changed):
            assert isinstance(refused, Refusal), fields
            assert refused.field == field
            assert refused.message


@given(st.sampled_from(sorted(BOUNDS)), st.integers(-(10**30), 10**30))
def test_law_every_number_has_an_upper_bound_that_a_column_holds(field: str, value: int) -> None:
    least, most = BOUNDS[field]
    assert (isinstance(check_fields({field: value}), Refusal)) == (not least <= value <= most)
    assert most < 2**63


def test_every_field_has_a_column_and_the_names_fit() -> None:
    columns = tables.service_profile.c
    assert set(FIELDS) == set(columns.keys()) - {"id", "created_at"}
    for field, longest in LONGEST.items():
        assert columns[field].type.length == longest


async def test_a_redefined_profile_reaches_the_directory_and_asks_for_its_live_sessions(
    any_workplace: Workplace, sealer: Sealer
) -> None:
    profile_id = await _profile(any_workplace)
    live = await _service(any_workplace, sealer, profile_id, "live")
    await _service(any_workplace, sealer, profile_id, "asleep")
    async with any_workplace.work("test") as work:
        await work.connection.execute(tables.session.insert().values(
            id="ses_1", key="k", nas_id="nas_1", acct_session_id="1", username="live", service_id=live,
            started_at=work.now, last_event_at=work.now, last_received_at=work.now,
        ))  # fmt: skip
    async with any_workplace.reading() as connection:
        before = await Directory.load(connection, sealer)
    async with any_workplace.work("test") as work:
        changes = {"rate_down_bps": 50_000_000, "vlan": 12, "pool": None, "name": "home"}
        assert await redefine_profile(work, profile_id, **changes) == ["rate_down_bps", "vlan"]
        assert await redefine_profile(work, profile_id, **changes) == []
        assert isinstance(await redefine_profile(work, "prf_x", vlan=1), Refusal)
        assert await redefine_profile(work, profile_id, pool="x", name="y") == ["name", "pool"], (
            "nobody moves"
        )
    async with any_workplace.reading() as connection:
        after = await before.refreshed(connection, sealer)
        asked = (
            await connection.execute(select(fact.c.payload).where(fact.c.kind == ProfileRedefined.kind))
        ).scalars().all()  # fmt: skip
    assert after.logins[b"live"].service.terms.rate_down_bps == 50_000_000
    assert after.logins[b"live"].service.terms.vlan == 12
    [one] = asked
    async with any_workplace.work("test") as work:
        assert await move_sessions_of(work, **one) == 1, "the one that is live, not the one asleep"
        told = (
            await work.connection.execute(
                select(fact.c.subject).where(fact.c.kind == EntitlementChanged.kind)
            )
        ).scalars().all()  # fmt: skip
    assert told == [live]


async def test_ten_thousand_sessions_are_asked_for_a_block_at_a_time(
    workplace: Workplace, sealer: Sealer
) -> None:
    profile_id = await _profile(workplace)
    async with workplace.work("test") as work:
        for number in range(SERVICES_AT_ONCE + 3):
            service_id = f"svc_{number:05}"
            await work.connection.execute(tables.service.insert().values(
                id=service_id, account_id="a", label="x", profile_id=profile_id, lifecycle="active",
                created_at=work.now,
            ))  # fmt: skip
            await work.connection.execute(tables.entitlement.insert().values(
                service_id=service_id, generation=1, effect="none", because=[], changed_at=work.now
            ))  # fmt: skip
            await work.connection.execute(tables.session.insert().values(
                id=f"ses_{number}", key=str(number), nas_id="n", acct_session_id="1", username="u",
                service_id=service_id, started_at=work.now, last_event_at=work.now, last_received_at=work.now,
            ))  # fmt: skip
        assert await move_sessions_of(work, profile_id=profile_id, after="", cause="c") == SERVICES_AT_ONCE
        [again] = (
            await work.connection.execute(select(fact.c.payload).where(fact.c.kind == ProfileRedefined.kind))
        ).scalars().all()  # fmt: skip
        assert await move_sessions_of(work, **again) == 3
        moved = select(func.count()).where(tables.entitlement.c.generation == 2)
        assert (await work.connection.execute(moved)).scalar_one() == SERVICES_AT_ONCE + 3


WRONG_ADDRESSING: list[tuple[dict[str, Any], str]] = [
    ({"ipv6_prefix": "2001:db8::1/64"}, "ipv6_prefix"),
    ({"ipv6_prefix": "10.0.0.0/8"}, "ipv6_prefix"),
    ({"delegated_prefix": "2001:db8::"}, "delegated_prefix"),
    ({"delegated_prefix": "::/0"}, "delegated_prefix"),
    ({"ipv6_address": "fe80::1"}, "ipv6_address"),
    ({"ipv6_address": "2001:db8::1%eth0"}, "ipv6_address"),
    ({"routes": ["10.0.0.1/8"]}, "routes"),
    ({"routes": ["10.0.0.0/8 ::1"]}, "routes"),
    ({"routes": ["10.0.0.0/8 10.1.1.1 0"]}, "routes"),
    ({"routes": ["10.0.0.0/8 10.1.1.1 1 1"]}, "routes"),
    ({"routes": [f"10.{n}.0.0/16" for n in range(9)]}, "routes"),
    ({"routes": [""]}, "routes"),
    ({"netmask_bits": 30}, "netmask_bits"),
    ({"netmask_bits": 33}, "netmask_bits"),
]


async def test_addressing_is_refused_by_field(workplace: Workplace, sealer: Sealer) -> None:
    service_id = await _service(workplace, sealer, await _profile(workplace), "alice")
    for fields, field in WRONG_ADDRESSING:
        refused = await _addressing(workplace, service_id, **fields)
        assert isinstance(refused, Refusal), fields
        assert refused.field == field


async def test_no_two_living_services_overlap_and_an_ended_one_gives_way(
    any_workplace: Workplace, sealer: Sealer
) -> None:
    profile_id = await _profile(any_workplace)
    alice, bob = [await _service(any_workplace, sealer, profile_id, name) for name in ("alice", "bob")]
    own = {
        "delegated_prefix": "2001:db8:100::/40",
        "routes": ["2001:db8:101::/48", "198.51.100.0/24"],  # the first lies in the prefix: it is his own
    }
    assert await _addressing(any_workplace, alice, **own) is None
    assert await _addressing(any_workplace, alice, **own) is None
    for fields, field in (
        ({"delegated_prefix": "2001:db8:100::/40"}, "delegated_prefix"),
        ({"ipv6_address": "2001:db8:1ff::1"}, "ipv6_address"),  # behind his nested route, within his prefix
        ({"ipv6_prefix": "2001:db8::/32"}, "ipv6_prefix"),  # around it
        ({"routes": ["198.51.100.64/26"]}, "routes"),
        ({"routes": ["198.51.0.0/16"]}, "routes"),
    ):
        refused = await _addressing(any_workplace, bob, **fields)
        assert isinstance(refused, Refusal), fields
        assert (refused.code, refused.field) == ("prefix.taken", field)
        assert "alice" in refused.message
    beside = {"delegated_prefix": "2001:db8:200::/40", "routes": ["198.51.101.0/24"]}
    assert await _addressing(any_workplace, bob, **beside) is None
    async with any_workplace.work("test") as work:
        await end_service(work, alice, "moved away")
    assert await _addressing(any_workplace, bob, ipv6_prefix="2001:db8:1ff::/64") is None
    async with any_workplace.reading() as connection:
        rows = (await connection.execute(select(tables.service))).all()
        found = await addressing_of(connection, rows)
        directory = await Directory.load(connection, sealer)
    assert found[alice].prefixes == [], "all of an ended service's prefixes are free"
    assert found[bob].prefixes == [("ipv6_prefix", "2001:db8:1ff::/64")]
    assert directory.logins[b"bob"].service.addressing == found[bob]


@given(st.lists(st.ip_addresses(), min_size=2, max_size=2, unique=True))
def test_law_spans_sort_as_addresses_and_families_never_meet(pair: list[Any]) -> None:
    one, other = (span(f"{address}/{address.max_prefixlen}") for address in pair)
    assert one[0] == one[1]
    assert len(one[0]) == 32
    if pair[0].version == pair[1].version:
        assert (one < other) == (pair[0] < pair[1])
    else:
        v6 = next(address for address in pair if address.version == 6)
        assert (one == other) == (v6.ipv4_mapped in pair)
