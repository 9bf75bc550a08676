"""The roles of one code base, each a process: radius, collector, worker, web."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from appliance.readiness import notify
from appliance.role_marks import absent_roles, mark_ready
from appliance.schema import current_revision, schema_fault
from appliance.sealing_check import check_sealing, tell_sealing_health
from appliance.sealing_key import words_with_foreign_key
from appliance.settings import Settings, SettingsError
from appliance.trouble import in_words
from appliance.watchdog import Beats, feed_watchdog
from appliance.wiring import House, open_house, open_records
from core.changes import Changes, counted_when_changed
from core.database import again_when_it_gave_way
from core.health import ROLE_ISSUE, HealthIssue, close_issue, open_issue
from core.log import configure_logging, logger
from core.work import Work, Workplace
from radius.serving.place import ALONE, Place, journal_name

if TYPE_CHECKING:
    from provisioning.enforce import Enforcer

_T = TypeVar("_T")
_TELLING_S = 5.0
_TELL_AGAIN_S = 30.0
_LOOP_LIMIT_S = 3 * 3600.0
"""For one turn of a loop: longer than a statement may take and its rollback (``core.database``)."""
_JOB_LIMIT_S = 12 * 3600.0
"""For one turn of a job, beside its pause: the bill run of a large provider is let finish."""
_DUE_BY_TIME_S = 1.0
"""How late a loop may come to what is due by the clock alone; what was committed it sees at its next turn."""
_log = logger("appliance")


async def _radius(
    house: House, stop: asyncio.Event, ready: asyncio.Event, _beats: Beats, place: Place = ALONE
) -> None:
    from radius.serving.role import run_radius

    await run_radius(
        house.settings.radius,
        house.workplace,
        house.sealer,
        house.settings.journal_directory / journal_name(place.index),
        stop,
        ready,
        place,
    )


async def _collector(house: House, stop: asyncio.Event, ready: asyncio.Event, beats: Beats) -> None:
    from radius.accounting.ingest import run_ingest
    from radius.directory.keep_snapshot import SnapshotKeeper, run_snapshots
    from radius.proxying.proxied_reports import run_reports
    from snmp.role import run_collector

    keeper = SnapshotKeeper(
        house.settings.journal_directory,
        house.workplace,
        house.sealer,
        house.settings.radius.snapshot_every_s,
    )

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_snapshots(keeper, stop, beats.expect("snapshot", _LOOP_LIMIT_S)))
        tasks.create_task(
            run_ingest(
                house.settings.journal_directory,
                house.workplace,
                house.sealer,
                stop,
                house.settings.aaa,
                beats.expect("ingest", _LOOP_LIMIT_S),
            )
        )
        tasks.create_task(
            run_reports(house.workplace, house.sealer, stop, beats.expect("proxied_reports", _LOOP_LIMIT_S))
        )
        tasks.create_task(
            run_collector(
                house.settings.snmp,
                house.workplace,
                house.sealer,
                stop,
                ready,
                beats.expect("targets", house.settings.snmp.refresh_s + _LOOP_LIMIT_S),
            )
        )


async def _worker(house: House, stop: asyncio.Event, ready: asyncio.Event, beats: Beats) -> None:
    from aaa.apply_rules import RuleKeeper
    from aaa.cross_check import check_directions, cross_check
    from aaa.keep_pools import keep_pools
    from aaa.reap_sessions import reap_sessions
    from appliance.billing_turns import billing_turns
    from appliance.gateway_work import GatewayWork
    from appliance.look_after_certificates import look_after_certificates
    from appliance.reactions import reactions_of
    from appliance.schedule import Job, Timetable
    from billing.delivery.send_due import MailSender
    from billing.delivery.send_sms import SmsSender
    from billing.dunning.evaluate import evaluate_dunning
    from billing.invoicing.bill_run import bill_run
    from billing.ledger.check_ledger import check_ledger
    from billing.ledger.close_day import close_days_by_itself
    from core.outbox import dispatch_due

    async def reap() -> None:
        async with house.workplace.work("system:reaping") as work:
            await reap_sessions(work, house.settings.aaa)

    async def look_after_pools() -> None:
        async with house.workplace.work("system:pools") as work:
            await keep_pools(work)

    async def check_usage() -> None:
        async with house.workplace.work("system:usage") as work:
            await cross_check(work)
            await check_directions(work)

    pace, invoicing = house.settings.worker, house.settings.billing
    enforcer = make_enforcer(house, "worker")
    paying = GatewayWork(house)
    mail = MailSender(house.workplace, house.sealer, house.settings.billing, house.usage)
    rules = RuleKeeper(house.workplace, house.settings.ui.time_zone, billing_turns)

    def job(name: str, every_s: float, run: Callable[[], Awaitable[object]]) -> Job:
        return Job(name, every_s, run, beats.expect(name, every_s + _JOB_LIMIT_S))

    changes = Changes(house.workplace.database, house.clock)

    def keep(name: str, pause_s: float, act: Callable[[], Awaitable[int]]) -> Coroutine[None, None, None]:
        turn = counted_when_changed(changes, house.clock, act, max(pause_s, _DUE_BY_TIME_S))
        return _keep(name, pause_s, turn, stop, beats.expect(name, pause_s + _LOOP_LIMIT_S))

    timetable = Timetable(
        [
            job(
                "bill_run",
                pace.billing_s,
                lambda: bill_run(house.workplace, house.usage, settings=invoicing, sealer=house.sealer),
            ),
            job("subscriptions", pace.billing_s, _planned_turn(house)),
            job("contracts", pace.billing_s, _contract_turn(house)),
            job("referrals", pace.billing_s, _referral_turn(house)),
            job("ends", pace.billing_s, _ends_turn(house)),
            job("dunning", pace.dunning_s, lambda: evaluate_dunning(house.workplace, settings=invoicing)),
            job("autopay", pace.autopay_s, paying.plan),
            job("quota", pace.quota_s, _quota_turn(house)),
            job("letterhead", pace.ledger_check_s, lambda: _note_letterhead(house)),
            job("reaping", pace.reaping_s, reap),
            job("pools", pace.pools_s, look_after_pools),
            job("rules", pace.rules_s, rules.turn),
            job("drift", pace.drift_s, enforcer.check_drift),
            job("usage_check", pace.usage_check_s, check_usage),
            job("close_days", pace.close_days_s, lambda: close_days_by_itself(house.workplace, invoicing)),
            job("certificates", pace.certificates_s, lambda: look_after_certificates(house)),
            job("settle_debits", pace.settle_debits_s, _settle_turn(house)),
            job("ledger_check", pace.ledger_check_s, lambda: check_ledger(house.workplace)),
        ]
    )
    timetable.start()
    ready.set()
    try:
        async with asyncio.TaskGroup() as tasks:
            reactions = reactions_of(house.settings.billing)
            tasks.create_task(keep("outbox", pace.outbox_s, lambda: dispatch_due(house.workplace, reactions)))
            tasks.create_task(keep("enforcement", pace.enforcement_s, enforcer.run_due))
            tasks.create_task(keep("gateways", pace.gateways_s, paying.turn))
            tasks.create_task(keep("mail", pace.mail_s, mail.send_due))
            tasks.create_task(keep("sms", pace.mail_s, SmsSender(house.workplace, house.sealer).send_due))
    finally:
        timetable.stop()
        await paying.close()


def _settle_turn(house: House) -> Callable[[], Awaitable[object]]:
    from billing.payments.ach.settle_debits import settle_debits

    return lambda: settle_debits(house.workplace, settings=house.settings.billing)


def _contract_turn(house: House) -> Callable[[], Awaitable[object]]:
    from billing.subscriptions.turn_contracts import turn_contracts

    return lambda: turn_contracts(house.workplace, settings=house.settings.billing)


def _ends_turn(house: House) -> Callable[[], Awaitable[object]]:
    from billing.subscriptions.settle_ends import settle_ends

    return lambda: settle_ends(house.workplace, house.settings.billing)


def _referral_turn(house: House) -> Callable[[], Awaitable[object]]:
    from billing.subscriptions.credit_referrals import credit_referrals

    return lambda: credit_referrals(house.workplace, house.settings.billing)


def _planned_turn(house: House) -> Callable[[], Awaitable[object]]:
    """What was planned for a day that has come: changes of subscriptions, and who pays."""
    from billing.accounts.set_payer import turn_payers
    from billing.subscriptions.turn_subscriptions import turn_subscriptions

    async def turn() -> None:
        await turn_subscriptions(house.workplace, settings=house.settings.billing)
        await turn_payers(house.workplace, settings=house.settings.billing)

    return turn


def _quota_turn(house: House) -> Callable[[], Awaitable[object]]:
    from billing.rating.watch_quota import QuotaWatch

    return QuotaWatch(house.workplace, house.usage, house.settings.billing).turn


async def _note_letterhead(house: House) -> None:
    """What is printed from now on carries the letterhead of the settings that this role was started with."""
    from billing.documents.keep_look import note_looks

    async with house.workplace.work("system:documents") as work:
        await note_looks(work, house.settings.billing)


async def _web(house: House, stop: asyncio.Event, ready: asyncio.Event, _beats: Beats) -> None:
    from aaa.apply_rules import rules_speaker
    from appliance.billing_turns import billing_turns
    from appliance.panel_acts import panel_acts
    from appliance.reactions import EFFECT_OF_STAGE
    from ui.role import run_web

    async def radius_metrics() -> Sequence[Any]:
        from appliance.radius_metrics import radius_families  # its library is for those who draw curves

        return await radius_families(house.settings.journal_directory, house.workplace)

    state = house.settings.state.directory
    rules = rules_speaker(house.workplace, house.settings.ui.time_zone, billing_turns)
    await run_web(
        house.settings.ui,
        house.workplace,
        house.sealer,
        house.usage,
        stop,
        ready,
        acts=panel_acts(house.sealer, house.settings.radius, rules),
        billing=house.settings.billing,
        effect_of_stage=EFFECT_OF_STAGE,
        absent_roles=lambda: absent_roles(state) - {"web"},
        radius_metrics=radius_metrics,
    )


async def _keep(
    name: str,
    pause_s: float,
    turn: Callable[[], Awaitable[int]],
    stop: asyncio.Event,
    beat: Callable[[], None],
) -> None:
    """Turn after turn, a beat before each; pause only when there was nothing to do or the turn failed."""
    while not stop.is_set():
        beat()
        try:
            busy = await again_when_it_gave_way(turn)
        except Exception as trouble:  # noqa: BLE001 - the boundary of one turn
            _log.error("turn_failed", loop=name, error=f"{type(trouble).__name__}: {trouble}")
            busy = 0
        if not busy:
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                continue


def make_enforcer(house: House, worker: str) -> Enforcer:
    """The enforcer over this house's devices and live sessions."""
    from provisioning.enforce import Enforcer
    from radius.dynauth.live_session import LiveSessions

    return Enforcer(
        house.workplace,
        house.sealer,
        LiveSessions(house.workplace, house.sealer, house.settings.radius),
        house.settings.provisioning,
        worker,
    )


_Role = Callable[[House, asyncio.Event, asyncio.Event, Beats], Awaitable[None]]
ROLES: dict[str, _Role] = {"radius": _radius, "collector": _collector, "worker": _worker, "web": _web}
"""RADIUS and the panel answer on the event loop itself, also without a database: it alone must go on."""


async def run_role(name: str, settings: Settings, place: Place = ALONE) -> int:
    """Run one role until SIGTERM or SIGINT; returns the exit code.

    ``place``: which of several RADIUS processes it is.
    Tells readiness and feeds the watchdog of the service manager. A role that cannot run says why in the log,
    to the service manager and, while the database answers, as a health issue.
    """
    configure_logging(name, settings.log.level)
    stop, ready = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with open_house(settings, may_make_database=not _has_snapshot(name, settings)) as house:
            await _refuse_other_schema(house)
            return await _run_in(house, name, stop, ready, place)
    except SettingsError as trouble:
        _log.error("role_cannot_start", reason=str(trouble))
        notify(f"STATUS={trouble}")
        await _tell_refusal(settings, role_issue(name, str(trouble)), name)
        return 2
    finally:
        notify("STOPPING=1")


def _has_snapshot(name: str, settings: Settings) -> bool:
    """Whether the role can begin without the database, from what RADIUS last knew."""
    if name != "radius":
        return False
    from radius.directory.snapshot import snapshot_path

    return snapshot_path(settings.journal_directory).exists()


async def tell_failure(name: str, settings: Settings, trouble: Exception) -> None:
    """Say why a role cannot run that has not come as far as to have a house: in the log and as an issue."""
    reason = in_words(trouble, settings) or f"{type(trouble).__name__}: {trouble}"
    _log.error("role_failed", reason=reason)
    notify(f"STATUS={reason}")
    await _tell_refusal(settings, role_issue(name, reason), name)


async def _tell_refusal(settings: Settings, issue: HealthIssue, name: str) -> None:
    """Open the issue of a role that has no house, as without a sealing key; no database is made for that."""
    with suppress(SettingsError, ValueError, OSError):  # what was refused then: there is nowhere to write it
        async with open_records(settings) as workplace:
            await _tell(workplace, name, open_issue, issue)


async def _refuse_other_schema(house: House) -> None:
    """Raise ``SettingsError`` over tables of another release; one that is away is the role's to bear."""
    try:
        async with asyncio.timeout(_TELLING_S):
            present = await current_revision(house.workplace.database)
    except Exception as trouble:  # noqa: BLE001 - RADIUS goes on without a database
        _log.warning("schema_not_known", error=f"{type(trouble).__name__}: {trouble}")
        return
    if fault := schema_fault(present):
        raise SettingsError(fault)


async def _run_in(house: House, name: str, stop: asyncio.Event, ready: asyncio.Event, place: Place) -> int:
    asyncio.get_running_loop().call_soon(_collect_garbage)
    beats = Beats()
    beside = [
        asyncio.create_task(_announce(ready)),
        asyncio.create_task(_leave_mark(house, name, ready)),
        asyncio.create_task(feed_watchdog(beats)),
        asyncio.create_task(_tell_health(house, name, ready)),
        asyncio.create_task(_follow_supervisor(stop)),
    ]
    try:
        role = partial(_radius, place=place) if name == "radius" else ROLES[name]
        await role(house, stop, ready, beats)
    except Exception as trouble:  # noqa: BLE001 - the boundary of a role
        reason = in_words(trouble, house.settings)
        _log.error("role_failed", reason=reason, exc_info=trouble if reason is None else None)
        reason = reason or f"{type(trouble).__name__}: {trouble}"
        notify(f"STATUS={reason}")
        await _tell(house.workplace, name, open_issue, role_issue(name, reason))
        return 1
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    return 0


def role_issue(name: str, reason: str) -> HealthIssue:
    """What ``hilltop health`` says of a role that cannot run."""
    return HealthIssue(
        f"{ROLE_ISSUE}{name}",
        "critical",
        f"The {name} role cannot run: {reason}",
        "Remove the cause; the role is started again by itself and this issue closes.",
    )


async def _tell_health(house: House, name: str, ready: asyncio.Event) -> None:
    """Close what an earlier start complained of; the worker says when the sealing key does not fit.

    Tried until it is done: an issue left open tells the watchers of a role that is down.
    """
    await ready.wait()
    await _tell_at_last(house.workplace, name, close_issue, role_issue(name, "").key)
    if name == "worker":  # one role is enough: all of them have the same key
        await _tell_at_last(house.workplace, name, _check_sealing_key, house)


async def _check_sealing_key(work: Work, house: House) -> None:
    verdict = await check_sealing(work.connection, house.sealer)
    await tell_sealing_health(work, verdict, words_with_foreign_key(house.settings.sealing_key))


async def _tell(
    workplace: Workplace, name: str, tell: Callable[[Work, _T], Awaitable[None]], subject: _T
) -> bool:
    """Write to the health issues; whether the database took it. A role's own work never waits for that."""
    try:
        async with asyncio.timeout(_TELLING_S), workplace.work(f"system:{name}") as work:
            await tell(work, subject)
    except Exception as trouble:  # noqa: BLE001 - the log has said it
        _log.warning("health_not_recorded", error=f"{type(trouble).__name__}: {trouble}")
        return False
    return True


async def _tell_at_last(
    workplace: Workplace, name: str, tell: Callable[[Work, _T], Awaitable[None]], subject: _T
) -> None:
    while not await _tell(workplace, name, tell, subject):  # noqa: ASYNC110 - no event says it is back
        await asyncio.sleep(_TELL_AGAIN_S)


def _collect_garbage() -> None:
    """From now on, and never among what was loaded. The loop comes to this when the role has begun."""
    gc.freeze()
    gc.enable()


async def _announce(ready: asyncio.Event) -> None:
    await ready.wait()
    notify("READY=1")


async def _leave_mark(house: House, name: str, ready: asyncio.Event) -> None:
    await ready.wait()
    try:  # beside the loop: the role answers by now, and this waits for the disk
        mark = await asyncio.to_thread(mark_ready, house.settings.state.directory, name)
    except OSError as trouble:  # it is for the console's screen and for watchers
        _log.warning("readiness_not_marked", error=str(trouble))
        return
    try:
        await asyncio.Event().wait()
    finally:
        os.close(mark)


async def _follow_supervisor(stop: asyncio.Event) -> None:
    """A role started by ``hilltop run`` ends with it, even when the supervisor was killed outright."""
    supervisor = int(os.environ.get("HILLTOP_SUPERVISOR", "0"))
    while supervisor:
        if os.getppid() != supervisor:
            stop.set()
            return
        await asyncio.sleep(1)
