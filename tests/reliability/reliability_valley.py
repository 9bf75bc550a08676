"""A valley of subscribers who pay at once, late or never, on one tower; and what must be true of it at the end."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from reliability_box import Box, until
from reliability_field import NAS_SECRET, PASSWORD
from sqlalchemy import Select, func, or_, select

from aaa.set_up import NewCredential, define_profile, register_nas
from aaa.store.tables import credential, entitlement, entitlement_change, usage_record
from appliance.add_subscriber import NewService, add_service
from billing.ledger.verify import verify_ledger
from billing.payments.receive_payment import PaymentReceipt, receive_payment
from billing.set_up import define_plan_version, open_account, set_tax_rate
from billing.store.tables import account, dunning_event, dunning_state, invoice, payment
from core.clock import LabClock
from core.refusal import granted
from core.secrets import Secret
from core.store.tables import fact
from lab.nas import LabNas, LabSession
from lab.routeros import RouterOsConsole
from provisioning.set_up import register_device, register_site
from provisioning.store.tables import enforcement_point, task

ZONE = ZoneInfo("America/Denver")
FIRST_DAY = datetime(2026, 3, 1, 12, 0, tzinfo=ZONE)
LAST_DAY = 62  # the second of May: three cycles begun, suspensions of March invoices since the 30th
EVENTFUL_DAYS = (1, 11, 17, 24, 29, 30, 31, 33, 36, 48, 57, 60, 61, LAST_DAY)
DEVICE_PASSWORD = "device-pass-1"
LIST_NAME = "hilltop-suspended"
OPEN_TASKS = ("waiting", "claimed", "parked")


@dataclass(eq=False)
class Household:
    """One account with one service at one static address. ``habit``: prompt, late or never."""

    habit: str
    account_id: str
    service_id: str
    username: str
    address: str
    paid_minor: int = 0
    was_cut_off: bool = False


@dataclass(eq=False)
class Valley:
    """Everything outside the appliance: households, a router, a NAS, and the clock all of them live by."""

    box: Box
    clock: LabClock
    console: RouterOsConsole
    nas: LabNas
    chance: random.Random
    households: list[Household] = field(default_factory=list)
    sessions: list[LabSession] = field(default_factory=list)
    payments: int = 0
    doubled: list[tuple[str, str]] = field(default_factory=list)

    def move_to_day(self, day: int) -> None:
        """Noon of that day, counted from the first of March."""
        self.clock.move_to(FIRST_DAY + timedelta(days=day))

    def of(self, habit: str) -> list[Household]:
        return [one for one in self.households if one.habit == habit]

    # -- people

    async def dial_all(self) -> None:
        """Everybody signs in; radius and collector must be running."""
        for number, one in enumerate(self.households):
            outcome = await self.nas.dial(one.username, PASSWORD, mac=f"02:00:00:00:01:{number:02x}")
            assert isinstance(outcome, LabSession), outcome
            assert outcome.framed_ip == one.address
            self.sessions.append(outcome)

    async def report_all(self) -> None:
        """A day's octets pass and are told."""
        live = [one for one in self.sessions if one.live]
        for one in live:
            one.transfer(down=self.chance.randrange(6_000_000_000), up=self.chance.randrange(400_000_000))
        told = await asyncio.gather(*(one.interim() for one in live))
        assert all(told), "a report was not acknowledged"

    async def pay_what_is_due(self) -> None:
        """The prompt pay every invoice they see; the late pay all of it once they are cut off."""
        rows = await self.box.rows(select(invoice).where(invoice.c.open_minor > 0))
        owed: dict[str, int] = {}
        for row in rows:
            owed[row.account_id] = owed.get(row.account_id, 0) + row.open_minor
        cut_off = {
            row.service_id
            for row in await self.box.rows(select(entitlement))
            if row.effect in ("walled_garden", "block")
        }
        for one in self.households:
            one.was_cut_off |= one.service_id in cut_off
            pays = one.habit == "prompt" or (one.habit == "late" and one.was_cut_off)
            if pays and owed.get(one.account_id):
                await self.pay(one, owed[one.account_id])

    async def pay(self, one: Household, amount_minor: int) -> None:
        """At the counter, beside the worker; the clerk clicks twice."""
        self.payments += 1
        key = f"receipt-{self.payments}"
        for click in range(2):
            async with self.box.house.workplace.work("operator:test") as work:
                receipt = await receive_payment(
                    work, account_id=one.account_id, amount_minor=amount_minor, currency="USD",
                    method="cash", idempotency_key=key,
                )  # fmt: skip
            assert isinstance(receipt, PaymentReceipt), receipt
            assert receipt.outcome == ("exists" if click else "received")
        one.paid_minor += amount_minor

    # -- the end

    async def settled(self, patience_s: float = 60.0) -> None:
        """Until every fact is acted on and every task is proven; a worker must be running."""
        try:
            await until("nothing left to do", self._nothing_left, patience_s)
        except AssertionError:
            raise AssertionError(f"{await self._left()}; {self.box.log('worker')[-1500:]}") from None

    async def _nothing_left(self) -> bool:
        return not any((await self._left()).values())

    async def billed(self) -> None:
        """Until every cycle that has begun is invoiced."""

        async def nothing_due() -> bool:
            return not await self.box.rows(self._to_be_billed())

        await until("the invoices of the day", nothing_due)

    def _to_be_billed(self) -> Select[Any]:
        return select(account.c.number).where(account.c.next_cycle_on <= self.today())

    async def _left(self) -> dict[str, Any]:
        """What a worker has still to do."""
        late = select(invoice.c.account_id).where(invoice.c.open_minor > 0, invoice.c.due_on < self.today())
        queries = {
            "facts": select(fact.c.kind, fact.c.last_error).where(fact.c.dispatched_at.is_(None)),
            "tasks": select(task).where(task.c.status.in_(OPEN_TASKS)),
            "to be billed": self._to_be_billed(),
            "to be dunned": select(dunning_state.c.account_id).where(
                dunning_state.c.evaluated_on < self.today(),
                or_(dunning_state.c.stage != "clear", dunning_state.c.account_id.in_(late)),
            ),
        }
        return {name: await self.box.rows(query) for name, query in queries.items()}

    def today(self) -> date:
        return self.clock.now().astimezone(ZONE).date()

    async def check_books(self, cycles: list[date]) -> None:
        """One invoice for each account and cycle, gapless numbers, a sound ledger, each payment once."""
        rows = await self.box.rows(select(invoice))
        issued = Counter((row.account_id, row.cycle_start) for row in rows)
        assert issued == Counter((one.account_id, cycle) for one in self.households for cycle in cycles)
        numbers = sorted(int(re.sub(r"\D", "", row.number)) for row in rows)
        assert numbers == list(range(numbers[0], numbers[0] + len(rows)))
        async with self.box.house.workplace.reading() as connection:
            assert await verify_ledger(connection) == []
        paid = await self.box.rows(
            select(payment.c.account_id, func.sum(payment.c.amount_minor).label("amount")).group_by(
                payment.c.account_id
            )
        )
        assert {row.account_id: int(row.amount) for row in paid} == {
            one.account_id: one.paid_minor for one in self.households if one.paid_minor
        }

    async def check_towers(self) -> None:
        """The newest generation is proven at every point, and the router says the same."""
        entitlements = {row.service_id: row for row in await self.box.rows(select(entitlement))}
        newest: dict[str, int] = {}
        for row in await self.box.rows(select(task).where(task.c.status == "verified")):
            newest[row.point_id] = max(newest.get(row.point_id, 0), row.generation)
        for point in await self.box.rows(select(enforcement_point)):
            generation = entitlements[point.service_id].generation
            assert newest.get(point.id, 1) == generation, f"{point.mechanism} point is behind"
        cut_off = {
            one.address
            for one in self.households
            if entitlements[one.service_id].effect in ("walled_garden", "block")
        }
        assert cut_off == {one.address for one in self.of("never")}
        listed = [one.values["address"] for one in self.console.firewall_address_list]
        assert sorted(listed) == sorted(cut_off), "the router's list is not what is wanted"
        assert self.doubled == [], "an address was on the list twice"
        for one in self.sessions:
            walled = one.framed_ip in cut_off
            assert bool(one.address_lists & {"hilltop-walled"}) is walled, (
                f"{one.username}: {one.address_lists}"
            )

    async def check_who_paid_was_left_alone(self) -> None:
        """Not even for a moment: no stage, no hold, no command with the address on the router."""
        prompt = self.of("prompt")
        moved = {row.account_id for row in await self.box.rows(select(dunning_event))}
        assert moved.isdisjoint(one.account_id for one in prompt)
        changed = {
            row.service_id
            for row in await self.box.rows(
                select(entitlement_change).where(entitlement_change.c.generation > 1)
            )
        }
        assert changed.isdisjoint(one.service_id for one in prompt)
        added = " ".join(text for text in self.console.commands if " add " in text)
        assert not [one.address for one in prompt if re.search(rf"\b{re.escape(one.address)}\b", added)]

    async def check_usage(self) -> None:
        """What the NAS counted is what the services used, to the octet."""
        try:
            await until("usage as the NAS counted it", self._usage_is_right, 20)
        except AssertionError:
            told = {one.username: (one.octets_in, one.octets_out) for one in self.sessions}
            known = await self._usage()
            wrong = {name: (known.get(name), told[name]) for name in told if known.get(name) != told[name]}
            raise AssertionError(f"{wrong}; {self.box.log('collector')[-1500:]}") from None

    async def _usage_is_right(self) -> bool:
        return await self._usage() == {one.username: (one.octets_in, one.octets_out) for one in self.sessions}

    async def _usage(self) -> dict[str, tuple[int, int]]:
        usage = await self.box.rows(
            select(
                credential.c.username,
                func.coalesce(func.sum(usage_record.c.octets_in), 0).label("up"),
                func.coalesce(func.sum(usage_record.c.octets_out), 0).label("down"),
            )
            .join(usage_record, usage_record.c.service_id == credential.c.service_id)
            .group_by(credential.c.username)
        )
        return {row.username: (int(row.up), int(row.down)) for row in usage}


async def _settle_in(valley: Valley, people: int) -> None:
    box, console = valley.box, valley.console
    async with box.house.workplace.work("operator:test") as work:
        site = granted(await register_site(work, name="North Ridge"))
        device = granted(
            await register_device(
                work, box.house.sealer, site_id=site, name="ridge", driver="routeros", address="127.0.0.1",
                port=console.port, username="hilltop", password=Secret(DEVICE_PASSWORD),
            )
        )  # fmt: skip
        granted(
            await register_nas(
                work, box.house.sealer, name="ridge", network=valley.nas.source_address,
                secret=Secret(NAS_SECRET), dynauth_port=valley.nas.coa_port, site_id=site,
            )
        )  # fmt: skip
        profile = granted(
            await define_profile(
                work, name="home", rate_down_bps=900_000_000, rate_up_bps=100_000_000,
                interim_interval_s=5 * 86_400,
            )
        )  # fmt: skip
        granted(
            await define_plan_version(
                work, code="home", name="Home", price_minor=4900, currency="USD",
                allowance_octets=50_000_000_000, overage_tiers=[{"up_to_octets": None, "minor_per_gb": "20"}],
                service_profile_id=profile,
            )
        )  # fmt: skip
        granted(
            await set_tax_rate(
                work, name="telecom", tax_class="internet", country="US", region="CO", rate_ppm=72_500,
                valid_from=date(2026, 1, 1),
            )
        )  # fmt: skip
        for number in range(people):
            valley.households.append(await _move_in(valley, work, device, number))


async def _move_in(valley: Valley, work: Any, device: str, number: int) -> Household:
    username, address = f"home{number:03d}", f"100.64.9.{number + 1}"
    account_id = granted(await open_account(work, name=f"Home {number}", region="CO"))
    new = NewService(
        plan="home", label=username, credentials=[NewCredential("pppoe", username, Secret(PASSWORD))],
        framed_ip=address, device_ids=[device], starts_on=FIRST_DAY.date(),
    )  # fmt: skip
    service_id = granted(await add_service(work, valley.box.house.sealer, account_id, new))
    habit = ("prompt", "late", "never")[number % 3]
    return Household(habit, account_id, service_id, username, address)


@asynccontextmanager
async def open_valley(box: Box, clock: LabClock, people: int, seed: int) -> AsyncIterator[Valley]:
    """The valley on its first day, with nobody online and no role running."""
    console = RouterOsConsole("ridge", "7.16", "hilltop", DEVICE_PASSWORD, clock=clock)
    await console.start()
    nas = LabNas(
        "ridge", "127.0.0.7", box.servers, NAS_SECRET, clock=clock, coa_port=0, timeout_s=1.0, tries=5
    )
    await nas.start()
    valley = Valley(box, clock, console, nas, random.Random(seed))

    def look_for_doubles() -> None:
        entries = Counter(
            (one.values["list"], one.values["address"]) for one in console.firewall_address_list
        )
        valley.doubled += [entry for entry, count in entries.items() if count > 1]

    console.before_command.append(look_for_doubles)
    try:
        await _settle_in(valley, people)
        yield valley
    finally:
        await nas.stop()
        await console.stop()
