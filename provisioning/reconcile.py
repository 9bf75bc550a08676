"""One session with one device: observe, plan, apply, observe again. The only path by which a device changes.

No transaction is open while the device is spoken to. What is wanted is read between the first look and the
first change, so that a payment in the meantime wins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from core.clock import Clock
from provisioning.desired import Desired
from provisioning.domain.plan import Change, Observation, plan
from provisioning.ports import (
    Command,
    Console,
    Driver,
    Exchange,
    Reply,
    SessionTrouble,
    Target,
    Transport,
    Unreadable,
)

Decide = Callable[[Observation], Awaitable[Desired]]
_NO_RIGHTS = (
    "not enough permissions",
    "operation not permitted",
    "permission denied",
    "password is required",
    "may not run",
)


@dataclass(slots=True)
class SessionReport:
    """What came of a session. ``trouble_kind`` is None when the device could be talked to to the end."""

    started_at: datetime
    duration_ms: int = 0
    facts: dict[str, str] = field(default_factory=dict)
    host_key: str | None = None
    before: Observation | None = None
    after: Observation | None = None
    desired: Desired | None = None
    present: Desired | None = None  # the same, read anew when the session is written down
    changes: tuple[Change, ...] = ()
    complaints: dict[str, str] = field(default_factory=dict)  # by service id
    exchanges: list[Exchange] = field(default_factory=list)
    trouble_kind: str | None = None
    trouble: str = ""

    def fail(self, kind: str, text: str) -> None:
        """Say why the session did not come to its end."""
        self.trouble_kind, self.trouble = kind, text


def kind_of_complaint(text: str) -> str:
    """``no_permission`` or ``failed``, by the device's own words."""
    lowered = text.lower()
    return "no_permission" if any(words in lowered for words in _NO_RIGHTS) else "failed"


async def reconcile(
    transport: Transport,
    clock: Clock,
    *,
    driver: Driver,
    target: Target,
    decide: Decide,
    report: SessionReport,
) -> None:
    """Make the device agree with what ``decide`` says; every failure of the outside ends in ``report``."""
    started = clock.monotonic_s()
    try:
        async with transport.open(target, driver) as console:
            report.exchanges = console.exchanges
            report.host_key = console.host_key
            await _converse(console, driver, target, decide, report)
    except SessionTrouble as trouble:
        report.fail(trouble.kind, str(trouble))
    except Unreadable as trouble:
        kind = kind_of_complaint(str(trouble))
        report.fail("unreadable" if kind == "failed" else kind, str(trouble))
    finally:
        report.duration_ms = round((clock.monotonic_s() - started) * 1000)


async def _converse(
    console: Console, driver: Driver, target: Target, decide: Decide, report: SessionReport
) -> None:
    report.facts = driver.read_facts(await console.send(Command(driver.facts_command())))
    known = replace(target, facts=report.facts)
    report.before = report.after = await _observe(console, driver, known)
    report.desired = await decide(report.before)
    report.changes = plan(report.desired.wanted, report.before)
    for command in driver.change_commands(known, report.changes):
        complaint = driver.complaint(await console.send(command))
        if complaint and command.service_id is not None:
            report.complaints.setdefault(command.service_id, complaint)
    if report.changes:
        report.after = await _observe(console, driver, known)


async def _observe(console: Console, driver: Driver, target: Target) -> Observation:
    replies: list[Reply] = [await console.send(Command(text)) for text in driver.observe_commands(target)]
    return driver.parse_observation(target, replies)
