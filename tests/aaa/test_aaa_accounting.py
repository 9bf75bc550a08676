"""RADIUS accounting, one test a line of the field notes: what NASes do, and what must come of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from aaa_world import (
    GIB4,
    MAC,
    Dialled,
    minute,
    nas_on,
    one_by_one,
    readings,
    records,
    report,
    sessions,
    subscribe,
    total,
)
from sqlalchemy import select

from aaa.domain.accounting import AccountingKind
from aaa.domain.effect import Effect
from aaa.entitlements import addresses_of, open_sessions_of
from aaa.place_hold import place_hold
from aaa.reap_sessions import reap_sessions
from core.clock import FakeClock
from core.refusal import granted
from core.secrets import Sealer
from core.store.tables import fact, health_issue
from core.work import Workplace

ANN = Dialled()


@pytest.fixture
async def ann(workplace: Workplace, sealer: Sealer) -> str:
    return await subscribe(workplace, sealer)


# Octets are 32-bit; the high word is Acct-*-Gigawords.


async def test_gigawords_are_the_high_word(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(60, (GIB4 * 2 + 5, GIB4 * 3 + 7)))
    assert await total(workplace) == (GIB4 * 2 + 5, GIB4 * 3 + 7)


async def test_a_wrap_without_gigawords_is_inferred_where_the_line_makes_it_possible(
    workplace: Workplace, ann: str
) -> None:
    truth = [(1_000_000, 4_000_000_000), (2_000_000, 6_000_000_000), (3_000_000, 9_000_000_000)]
    await one_by_one(
        workplace, [ANN.start(), *(ANN.old_nas(5 * i + 5, octets) for i, octets in enumerate(truth))]
    )
    assert await total(workplace) == truth[-1]
    assert [row.decision for row in await readings(workplace)][1:] == ["advance", "wrap", "wrap"]


async def test_a_fall_that_the_line_cannot_explain_is_no_wrap_and_the_total_stands(
    workplace: Workplace, sealer: Sealer
) -> None:
    await subscribe(workplace, sealer, "slow", down_bps=1_000_000)
    slow = Dialled(username="slow")
    await one_by_one(
        workplace, [slow.start(), slow.old_nas(5, (10, 3_000_000)), slow.old_nas(10, (20, 1_000))]
    )
    assert await total(workplace) == (20, 3_000_000)
    assert (await readings(workplace))[-1].decision == "fell"


async def test_after_a_fall_the_total_waits_until_the_counter_has_passed_it(
    workplace: Workplace, sealer: Sealer
) -> None:
    await subscribe(workplace, sealer, "slow", down_bps=1_000_000)
    slow = Dialled(username="slow")
    events = [slow.start(), slow.old_nas(5, (0, 3_000_000)), slow.old_nas(10, (0, 1_000))]
    await one_by_one(
        workplace, [*events, slow.old_nas(400, (0, 2_000_000)), slow.old_nas(405, (0, 3_500_000))]
    )
    assert await total(workplace) == (0, 3_500_000)


async def test_once_gigawords_were_seen_no_wrap_is_inferred(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (0, 4_000_000_000)))
    await report(workplace, ANN.interim(10, (0, 100), gigawords_present=False))
    assert await total(workplace) == (0, 4_000_000_000)


async def test_counters_nobody_can_have_are_quarantined_and_do_not_poison_the_session(
    workplace: Workplace, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (10, 20)))
    outcome = await report(workplace, ANN.interim(10, (10, (1 << 64) - 1)))
    await report(workplace, ANN.interim(15, (30, 40)))
    assert outcome.quarantined == 1
    assert await total(workplace) == (30, 40)
    async with workplace.reading() as connection:
        issues = (await connection.execute(select(health_issue.c.key))).scalars().all()
    assert list(issues) == ["aaa.accounting_quarantined:nas_1"]


# Interim values are cumulative per session.


async def test_interims_are_cumulative_and_the_difference_is_used_never_the_sum(
    workplace: Workplace, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)), ANN.interim(10, (150, 500)))
    assert await records(workplace) == [(0, 5, 100, 200), (5, 10, 50, 300)]


async def test_a_late_interim_never_lowers_a_total(workplace: Workplace, ann: str) -> None:
    await one_by_one(workplace, [ANN.start(), ANN.interim(10, (150, 500)), ANN.interim(5, (100, 200))])
    assert await records(workplace) == [(0, 5, 100, 200), (5, 10, 50, 300)]
    assert [(one.octets_in, one.octets_out) for one in await sessions(workplace)] == [(150, 500)]


# A Stop may carry no counters or zero; a Stop may never come.


@pytest.mark.parametrize("octets", [None, (0, 0)])
async def test_a_stop_without_counters_keeps_the_last_good_ones(
    workplace: Workplace, ann: str, octets: tuple[int, int] | None
) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)))
    await report(workplace, ANN.stop(7, octets, gigawords_present=False))
    assert await total(workplace) == (100, 200)
    (row,) = await sessions(workplace)
    assert (row.octets_in, row.octets_out, row.close_cause) == (100, 200, "User-Request")


async def test_a_lost_stop_is_closed_by_inference_with_the_last_seen_counters(
    workplace: Workplace, clock: FakeClock, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)))
    clock.step_to(minute(19))
    async with workplace.work("system:reaper") as work:
        assert await reap_sessions(work) == 0
    clock.step_to(minute(21))
    async with workplace.work("system:reaper") as work:
        assert await reap_sessions(work) == 1
    (row,) = await sessions(workplace)
    assert (row.stopped_at, row.close_cause, row.close_inferred) == (minute(5), "lost_stop", True)
    assert await total(workplace) == (100, 200)


async def test_a_real_stop_amends_an_inferred_close(workplace: Workplace, clock: FakeClock, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)))
    await _reap(workplace, clock, 30)
    await report(workplace, ANN.stop(8, (130, 260)))
    (row,) = await sessions(workplace)
    assert (row.stopped_at, row.close_cause, row.close_inferred) == (minute(8), "User-Request", False)
    assert await total(workplace) == (130, 260)


async def test_an_interim_after_an_inferred_close_opens_the_session_again(
    workplace: Workplace, clock: FakeClock, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)))
    await _reap(workplace, clock, 30)
    outcome = await report(workplace, ANN.interim(35, (300, 400)))
    assert outcome.reopened == 1
    (row,) = await sessions(workplace)
    assert (row.stopped_at, row.close_cause, row.close_inferred) == (None, None, False)


async def test_an_interim_from_before_the_inferred_close_leaves_it_closed(
    workplace: Workplace, clock: FakeClock, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.interim(10, (100, 200)))
    await _reap(workplace, clock, 40)
    await report(workplace, ANN.interim(5, (50, 60)))
    assert (await sessions(workplace))[0].close_cause == "lost_stop"


async def test_reaping_twice_closes_once(workplace: Workplace, clock: FakeClock, ann: str) -> None:
    await report(workplace, ANN.start())
    await _reap(workplace, clock, 30)
    async with workplace.work("system:reaper") as work:
        assert await reap_sessions(work) == 0


# Accounting-On/Off after a NAS reboot closes that NAS's sessions.


@pytest.mark.parametrize("kind", [AccountingKind.NAS_ON, AccountingKind.NAS_OFF])
async def test_accounting_on_and_off_close_the_sessions_begun_before(
    workplace: Workplace, sealer: Sealer, ann: str, kind: AccountingKind
) -> None:
    await subscribe(workplace, sealer, "bob")
    bob = Dialled(username="bob", acct_session_id="80000002", nas_id="nas_2", mac=None)
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)), bob.start(1))
    outcome = await report(workplace, nas_on(20, kind=kind))
    assert outcome.closed == 1
    assert {one.username: one.close_cause for one in await sessions(workplace)} == {
        "ann": "nas_reboot",
        "bob": None,
    }


async def test_a_session_that_reported_after_the_accounting_on_stays_open(
    workplace: Workplace, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.interim(30, (100, 200)))
    await report(workplace, nas_on(20))
    assert (await sessions(workplace))[0].stopped_at is None


async def test_on_and_the_new_start_in_one_batch_in_any_order(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)))
    again = Dialled(acct_session_id="80000099", began=21)
    await report(workplace, again.start(), nas_on(20))
    assert [one.close_cause for one in await sessions(workplace)] == ["nas_reboot", None]


async def test_on_and_the_new_start_of_the_same_second_is_a_reboot_too(
    workplace: Workplace, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)))
    again = Dialled(acct_session_id="80000099", began=20)
    await report(workplace, again.start(), nas_on(20))
    assert [one.close_cause for one in await sessions(workplace)] == ["nas_reboot", None]


async def test_a_session_id_used_again_after_a_crash_is_another_session(
    workplace: Workplace, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)))
    again = Dialled(began=20)
    await report(workplace, again.start())
    await report(workplace, again.interim(25, (7, 8)))
    assert [(one.octets_in, one.close_cause) for one in await sessions(workplace)] == [
        (100, "nas_reboot"),
        (7, None),
    ]
    assert await total(workplace) == (107, 208)


async def test_an_id_used_again_is_seen_by_the_session_time_when_the_start_was_lost(
    workplace: Workplace, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)))
    await report(workplace, Dialled(began=20).interim(25, (7, 8)))
    assert await total(workplace) == (107, 208)


async def test_late_news_of_the_first_session_of_an_id_finds_it(workplace: Workplace, ann: str) -> None:
    again = Dialled(began=20)
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)), again.start(), again.interim(25, (7, 8)))
    await report(workplace, ANN.stop(9, (110, 220)))
    rows = await sessions(workplace)
    assert [(one.octets_in, one.close_cause) for one in rows] == [(110, "User-Request"), (7, None)]


async def test_the_class_tells_sessions_of_one_id_apart(workplace: Workplace, ann: str) -> None:
    first = Dialled(service_id=ann, sign_in="s1")
    second = Dialled(service_id=ann, sign_in="s2", began=6)
    await report(workplace, first.start(), first.interim(5, (100, 200)))
    await report(workplace, second.start(), second.interim(7, (7, 8)))
    assert await total(workplace) == (107, 208)
    assert len(await sessions(workplace)) == 2


async def test_our_class_names_the_service_whatever_the_user_name(workplace: Workplace, ann: str) -> None:
    other_name = Dialled(service_id=ann, sign_in="s1", username="ann@isp.example")
    await report(workplace, other_name.start(), other_name.interim(5, (1, 2)))
    (row,) = await sessions(workplace)
    assert (row.service_id, row.generation) == (ann, 1)


async def test_one_session_on_two_nases_with_one_id_is_two_sessions(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), Dialled(nas_id="nas_2", mac="AA:BB:CC:00:00:02").start(1))
    assert len(await sessions(workplace)) == 2


# Duplicates; Interim or Start after Stop must not open a session.


async def test_the_same_content_under_another_delay_time_is_counted_once(
    workplace: Workplace, ann: str
) -> None:
    interim = ANN.interim(5, (100, 200))
    again = ANN.interim(
        5, (100, 200), occurred_at=minute(5) + timedelta(seconds=0.6), received_at=minute(5.2)
    )
    outcome = await report(workplace, ANN.start(), interim, again)
    assert outcome.repeats == 1
    assert await records(workplace) == [(0, 5, 100, 200)]


async def test_the_same_batch_again_changes_nothing(workplace: Workplace, ann: str) -> None:
    events = [ANN.start(), ANN.interim(5, (100, 200)), ANN.interim(10, (150, 500)), ANN.stop(12, (160, 600))]
    await report(workplace, *events)
    before = (await sessions(workplace), await readings(workplace), await records(workplace))
    await report(workplace, *events)
    await one_by_one(workplace, events[::-1])
    assert (await sessions(workplace), await readings(workplace), await records(workplace)) == before


async def test_a_start_after_the_stop_opens_nothing(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.stop(10, (100, 200)))
    await report(workplace, ANN.start())
    (row,) = await sessions(workplace)
    assert (row.stopped_at, row.start_seen, row.started_at) == (minute(10), True, minute(0))


async def test_an_interim_after_the_stop_opens_nothing_but_its_octets_count(
    workplace: Workplace, ann: str
) -> None:
    await report(workplace, ANN.start(), ANN.stop(10, None))
    await report(workplace, ANN.interim(5, (100, 200)))
    (row,) = await sessions(workplace)
    assert row.stopped_at == minute(10)
    assert await records(workplace) == [(0, 5, 100, 200)]


async def test_a_start_with_the_class_of_a_stopped_session_opens_nothing_however_late(
    workplace: Workplace, ann: str
) -> None:
    dialled = Dialled(service_id=ann, sign_in="s1")
    await report(workplace, dialled.start(), dialled.stop(10, (1, 2)))
    await report(workplace, dialled.start(60))
    (row,) = await sessions(workplace)
    assert row.stopped_at == minute(10)


async def test_a_stop_without_a_start_makes_the_session(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.stop(10, (100, 200)))
    assert await records(workplace) == [(0, 10, 100, 200)]
    assert (await sessions(workplace))[0].start_seen is False


async def test_a_stop_alone_without_a_session_time_is_usage_of_that_instant(
    workplace: Workplace, ann: str
) -> None:
    await report(workplace, ANN.stop(10, (100, 200), session_time_s=None))
    assert await records(workplace) == [(10, 10, 100, 200)]


async def test_an_unknown_user_leaves_a_session_for_the_operator_and_no_usage(
    workplace: Workplace, ann: str
) -> None:
    stranger = Dialled(username="stranger")
    outcome = await report(workplace, stranger.start(), stranger.stop(5, (1, 2)))
    assert outcome.unknown == 1
    (row,) = await sessions(workplace)
    assert (row.service_id, row.octets_in) == (None, 1)
    assert await records(workplace) == []
    assert len(await readings(workplace)) == 2


async def test_a_mac_login_is_found_however_the_nas_spells_it(workplace: Workplace, sealer: Sealer) -> None:
    from aaa.set_up import NewCredential, create_service, define_profile

    async with workplace.work("operator:ann") as work:
        profile_id = granted(await define_profile(work, name="x", rate_down_bps=10, rate_up_bps=10))
        service_id = granted(
            await create_service(
                work, sealer, account_id="acc_1", label="dhcp", profile_id=profile_id,
                credentials=[NewCredential("mac", "00-e1-0c-38-c8-f8")],
            )
        )  # fmt: skip
    await report(workplace, Dialled(username="00:E1:0C:38:C8:F8").start())
    assert (await sessions(workplace))[0].service_id == service_id


async def test_texts_that_no_database_takes_are_cleaned_and_the_rest_of_the_batch_is_kept(
    workplace: Workplace, ann: str
) -> None:
    nasty = Dialled(username="a\0b\udcff", acct_session_id="x" * 300, mac="m" * 100, port="\0")
    await report(workplace, nasty.start(), ANN.start(), ANN.stop(1, (1, 1), terminate_cause="c" * 99))
    assert len(await sessions(workplace)) == 2


# A new Start from the same CPE closes the older session.


async def test_a_new_start_from_the_same_mac_supersedes_the_older_session(
    workplace: Workplace, ann: str
) -> None:
    second = Dialled(acct_session_id="80000002", mac=MAC.replace(":", "-").lower(), began=20)
    await report(workplace, ANN.start(), ANN.interim(5, (100, 200)))
    await report(workplace, second.start())
    rows = await sessions(workplace)
    assert [(one.close_cause, one.stopped_at) for one in rows] == [("superseded", minute(20)), (None, None)]


async def test_a_late_start_is_superseded_by_the_younger_session(workplace: Workplace, ann: str) -> None:
    second = Dialled(acct_session_id="80000002", began=20)
    await one_by_one(workplace, [second.start(), ANN.start()])
    assert [one.close_cause for one in await sessions(workplace)] == ["superseded", None]


async def test_another_cpe_on_the_service_supersedes_nothing(workplace: Workplace, ann: str) -> None:
    second = Dialled(acct_session_id="80000002", mac="AA:BB:CC:00:00:02", began=20)
    await report(workplace, ANN.start(), second.start())
    assert [one.stopped_at for one in await sessions(workplace)] == [None, None]


async def test_without_macs_the_port_of_the_nas_tells_the_cpe(workplace: Workplace, ann: str) -> None:
    first = Dialled(mac=None, port="ether2")
    second = Dialled(mac=None, port="ether2", acct_session_id="80000002", began=20)
    await report(workplace, first.start(), second.start())
    assert [one.close_cause for one in await sessions(workplace)] == ["superseded", None]


# Addresses: the stale block must never hit the next customer.


async def _hold(workplace: Workplace, service_id: str) -> None:
    async with workplace.work("system:test") as work:
        granted(
            await place_hold(
                work, service_id=service_id, holder="dunning", effect=Effect.WALLED_GARDEN, reason="x"
            )
        )


async def _address_facts(workplace: Workplace) -> list[list[str]]:
    async with workplace.reading() as connection:
        rows = await connection.execute(
            select(fact.c.payload).where(fact.c.kind == "aaa.address_changed").order_by(fact.c.seq)
        )
        return [row.payload["addresses"] for row in rows]


async def test_a_held_service_that_comes_goes_and_moves_tells_its_addresses(
    workplace: Workplace, ann: str
) -> None:
    await _hold(workplace, ann)
    moved = Dialled(ip="10.0.0.8")
    await one_by_one(
        workplace, [ANN.start(), ANN.interim(5, (1, 1)), moved.interim(10, (2, 2)), moved.stop(15, (3, 3))]
    )
    assert await _address_facts(workplace) == [["10.0.0.7"], ["10.0.0.8"], []]


async def test_a_service_without_a_hold_tells_nothing(workplace: Workplace, ann: str) -> None:
    await report(workplace, ANN.start(), ANN.stop(5, (1, 1)))
    assert await _address_facts(workplace) == []


async def test_reaping_a_held_service_tells_that_its_address_is_free(
    workplace: Workplace, clock: FakeClock, ann: str
) -> None:
    await report(workplace, ANN.start())
    await _hold(workplace, ann)
    await _reap(workplace, clock, 30)
    assert await _address_facts(workplace) == [[]]


async def test_static_and_session_addresses_are_both_of_the_service(
    workplace: Workplace, sealer: Sealer
) -> None:
    service_id = await subscribe(workplace, sealer, "fix", framed_ip="10.9.9.9")
    await report(workplace, Dialled(username="fix").start())
    async with workplace.reading() as connection:
        assert await addresses_of(connection, service_id) == {"10.9.9.9", "10.0.0.7"}
        (session,) = await open_sessions_of(connection, service_id)
    assert session.framed_ip == "10.0.0.7"


async def _reap(workplace: Workplace, clock: FakeClock, at: float) -> None:
    clock.step_to(minute(at))
    async with workplace.work("system:reaper") as work:
        await reap_sessions(work)


async def test_a_storm_of_starts_costs_few_statements(workplace: Workplace, ann: str) -> None:
    """Thousands of Starts arrive after a power cut: statements must not grow with the batch."""
    from sqlalchemy import event

    counted: list[str] = []
    engine = workplace.database._writer.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *args: counted.append(args[2]))
    storm = [Dialled(acct_session_id=f"{n:08x}", username=f"u{n}", mac=None).start() for n in range(400)]
    outcome = await report(workplace, *storm)
    assert outcome.opened == 400
    assert len(counted) < 25
