"""The chapters of a subscriber's month. Each step crosses a real protocol and is looked at from outside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from sqlalchemy import Row

from appliance.story import sight
from appliance.story.timeline import StepFailed
from appliance.story.world import ELM_ADDRESS, HILL_NAS, RIDGE_NAS, STRANGER, World
from core.money import format_money
from core.quantities import format_octets
from lab.nas import LabNas, LabSession, RejectedDial

FIR_MAC = "02:1A:2B:3C:4D:01"
ELM_MAC = "02:1A:2B:3C:4D:02"
FIR_DOWN_A_DAY = 9_400_000_000
FIR_UP_A_DAY = 900_000_000
HILL_DOWNLOAD = 4_000_000

GOOD_CSV = """\
account_number,name,region,plan,start_date,username,password
N-1,Oak Street Bakery,CO,home,2026-06-01,oak,oak-pass-1
N-2,"Pine Hollow, Unit 4",CO,home,2026-06-01,pine,pine-pass-2
"""
BAD_CSV = (
    GOOD_CSV
    + "N-3,Ash Grove,CO,homme,2026-06-01,ash,ash-pass-3\nN-4,Birch Row,CO,home,June,birch,birch-pass-4\n"
)


_SHORT_METHODS: tuple[Literal["pap", "chap"], ...] = ("pap", "chap")


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise StepFailed(otherwise)


async def set_up(world: World) -> None:
    """1. The operator sets up, by the command line and the panel."""
    line, appliance, keys = world.timeline, world.appliance, world.keys
    line.chapter(1, "The operator sets up")
    with line.step("site, device with sealed credentials, NAS, profile, plan, tax", needed=True):
        await appliance.command("site add 'North Ridge'")
        await appliance.command(
            f"device add ridge-router {world.ridge.host} --port {world.ridge.port} --site 'North Ridge'"
            " --driver routeros --username hilltop --password-file -",
            secret=keys.device,
        )
        await appliance.command(
            f"nas add north-ridge {RIDGE_NAS} --site 'North Ridge' --dynauth-port {world.ridge_nas.coa_port}"
            " --secret-file -",
            secret=keys.nas,
        )
        await appliance.command("profile add home-25 --down 25000000 --up 5000000 --interim 86400")
        await appliance.command(
            "plan add home 'Home 25' --price 49.00 --profile home-25"
            " --allowance-gb 150 --tier 30:0.20 --tier :0.10"
        )
        await appliance.command("tax add 'Colorado telecom' --percent 7.25 --region CO")
    with line.step("account and service with PPPoE credentials", needed=True):
        await appliance.command(
            "account add 'Fir Lane Cabin' --number A-1 --region CO --time-zone America/Denver"
        )
        await appliance.command(
            "service add A-1 --plan home --pppoe fir --device ridge-router --password-file -", secret=keys.fir
        )
    if world.hill is None:
        line.leave_out("the real Linux tower with OpenSSH, nftables and net-snmp", world.hill_missing)
    else:
        with line.step(
            "a real tower: OpenSSH, nftables and net-snmp in a namespace, a subscriber behind it", needed=True
        ):
            await _set_up_hill(world)
    with line.step("a CSV with faults is refused by line, nothing half-imported; the mended one goes in"):
        await _import(world)


async def _set_up_hill(world: World) -> None:
    from provisioning.drivers.linux_nftables import bootstrap_ruleset

    hill, appliance, keys = world.standing_hill, world.appliance, world.keys
    await hill.load_ruleset(bootstrap_ruleset([hill.portal_address], hill.uplink_interface))
    await appliance.command("site add 'South Hill'")
    key_file = appliance.folder / "south-hill.key"
    key_file.touch(mode=0o600)
    key_file.write_text(hill.private_key)
    await appliance.command(
        f"device add hill-router {hill.tower_address} --site 'South Hill' --driver linux_nftables"
        f" --username {hill.username} --key-file {key_file}"
    )
    key_file.unlink()
    await appliance.command(
        f"nas add south-hill {HILL_NAS} --site 'South Hill' --dynauth-port {world.hill_nas.coa_port}"
        " --mac-preset mikrotik-dhcp --secret-file -",
        secret=keys.nas,
    )
    await appliance.command("account add 'Elm Farm' --number A-2 --region CO --time-zone America/Denver")
    await appliance.command(
        f"service add A-2 --plan home --mac {ELM_MAC} --ip {ELM_ADDRESS} --device hill-router"
    )
    await appliance.command(
        f"snmp add hill-router {hill.tower_address} --device hill-router --poll-interval 2"
        " --community-file -",
        secret=keys.community,
    )
    await appliance.command(f"snmp bind hill-router {hill.subscribers[0].interface} {ELM_MAC}")


async def _import(world: World) -> None:
    folder = world.appliance.folder
    (folder / "bad.csv").write_text(BAD_CSV)
    (folder / "good.csv").write_text(GOOD_CSV)
    said = await world.appliance.command(f"import {folder / 'bad.csv'}", expect=1)
    for text in said.splitlines():
        world.timeline.device_line(text.replace(f"{folder}/", ""))
    _require("bad.csv:4:" in said and "bad.csv:5:" in said, f"the faults are not named by line: {said}")
    said = await world.appliance.command(f"import {folder / 'good.csv'}")
    _require("imported 2 services" in said, f"the mended file was not imported: {said}")


async def connect(world: World) -> LabSession:
    """2. The CPE connects."""
    line = world.timeline
    line.chapter(2, "The CPE connects")
    dial = world.ridge_nas.dial
    with line.step("a wrong password is rejected, and the reject can be explained"):
        refused = await dial("fir", "not-it", "pap", mac=FIR_MAC)
        _require(
            isinstance(refused, RejectedDial) and refused.answered, "the wrong password was not rejected"
        )
        await world.until("the reject recorded", lambda: _explained(world), 5)
        for text in (await world.appliance.command("radius explain fir")).splitlines()[:12]:
            line.device_line(text)
    with line.step("an unknown NAS gets silence"):
        stranger = LabNas(
            "stranger",
            STRANGER,
            world.ridge_nas.servers,
            world.keys.nas,
            clock=world.clock,
            coa_port=0,
            tries=1,
        )
        await stranger.start()
        answer = await stranger.dial("fir", world.keys.fir)
        await stranger.stop()
        _require(isinstance(answer, RejectedDial) and not answer.answered, "the stranger was answered")
    with line.step(
        "PAP, CHAP and MS-CHAPv2 are accepted with the service profile in MikroTik's dialect", needed=True
    ):
        for method in _SHORT_METHODS:
            _accepted(await dial("fir", world.keys.fir, method, mac=FIR_MAC, accounting=False)).lose()
        session = _accepted(await dial("fir", world.keys.fir, "mschapv2", mac=FIR_MAC))
        line.note(
            f"Mikrotik-Rate-Limit {session.rate_limit}, address {session.framed_ip}, "
            f"interim {session.interim_interval_s} s, Class {len(b''.join(session.class_values))} octets"
        )
        _require(session.rates_bps() == (25_000_000, 5_000_000), f"rates are {session.rates_bps()}")
    if world.hill is not None:
        with line.step(
            "a MAC login, as MikroTik's DHCP server sends it, is accepted with its static address"
        ):
            elm = _accepted(await world.hill_nas.dial("", method="mac", mac=ELM_MAC, accounting=False))
            _require(elm.framed_ip == ELM_ADDRESS, f"the address is {elm.framed_ip}")
    return session


async def _explained(world: World) -> bool:
    from sqlalchemy import select

    from aaa.store.tables import reject

    return bool(await sight.rows(world.open_house, select(reject).where(reject.c.identity == "fir")))


def _accepted(outcome: LabSession | RejectedDial) -> LabSession:
    if isinstance(outcome, RejectedDial):
        raise StepFailed(f"rejected: {outcome.message}")
    return outcome


async def use(world: World, session: LabSession) -> LabSession:
    """3. Usage: RADIUS accounting and SNMP counters over three weeks."""
    line = world.timeline
    line.chapter(3, "Usage")
    expected = [0, 0]
    with line.step("three weeks of interim updates; a repeated one counts once"):
        for day in range(13, 21):
            await _a_day(world, session, (2026, 3, day), expected)
        _require(await session.interim(), "the repeated interim was not acknowledged")
    with line.step("the first invoice is paid in time; the same receipt twice is one payment"):
        await _pay_opening_invoices(world)
    with line.step(
        "the NAS loses power without a Stop: its session is closed, the CPE dials again", needed=True
    ):
        await world.ridge_nas.reboot(announce=True)
        session = _accepted(await world.ridge_nas.dial("fir", world.keys.fir, "mschapv2", mac=FIR_MAC))
        service = await sight.service_of(world.open_house, "fir")
        closed = await world.until("the old session closed", lambda: _closed(world, service))
        line.note(f"session {closed.acct_session_id} closed: {closed.close_cause}")
    with line.step("RADIUS usage equals what the NAS counted, beyond 4 GiB and across the reboot"):
        for day in range(21, 32):
            await _a_day(world, session, (2026, 3, day), expected)
        got = await world.until("usage of fir", lambda: _usage_is(world, service, expected))
        line.note(f"up {format_octets(got[0])}, down {format_octets(got[1])}; to the octet")
    if world.hill is not None:
        with line.step("SNMP: octets that really crossed the tower's interface become usage"):
            await _download(world)
    return session


async def _a_day(world: World, session: LabSession, day: tuple[int, int, int], expected: list[int]) -> None:
    world.move_to(*day, 12)
    session.transfer(down=FIR_DOWN_A_DAY, up=FIR_UP_A_DAY)
    expected[0] += FIR_UP_A_DAY
    expected[1] += FIR_DOWN_A_DAY
    if not await session.interim():
        raise StepFailed(f"no Accounting-Response on {day}")


async def _closed(world: World, service: str) -> Row[Any] | None:
    found = [one for one in await sight.sessions(world.open_house, service) if one.stopped_at is not None]
    return found[-1] if found else None


async def _usage_is(world: World, service: str, expected: Sequence[int]) -> tuple[int, int] | None:
    got = await sight.used(world.open_house, service)
    return got if list(got) == list(expected) else None


async def _pay_opening_invoices(world: World) -> None:
    for number in ("A-1", "A-2") if world.hill is not None else ("A-1",):
        first = (await world.until("the first invoice", partial(sight.invoices, world.open_house, number)))[0]
        amount = f"{first.open_minor / 100:.2f}"
        world.timeline.note(
            f"{first.number}: {format_money(first.total_minor, first.currency)},"
            f" {first.cycle_start} to {first.cycle_end}"
        )
        words = f"pay {number} {amount} --method transfer --key bank-{number}-1"
        await world.appliance.command(words)
        if number == "A-1":
            again = await world.appliance.command(words)
            _require("exists" in again, f"the same receipt again: {again}")


async def _download(world: World) -> None:
    hill = world.standing_hill
    service = await sight.service_of(world.open_house, ELM_MAC.replace(":", "").lower())
    await world.until("a first poll", lambda: _polled(world))
    before = (await sight.used(world.open_house, service))[1]
    came = await hill.download(HILL_DOWNLOAD)
    _require(came == HILL_DOWNLOAD, f"only {came} octets came")

    async def counted() -> int | None:
        now = (await sight.used(world.open_house, service))[1] - before
        return now if now >= HILL_DOWNLOAD else None

    got = await world.until("the octets in usage records", counted)
    world.timeline.note(
        f"{format_octets(HILL_DOWNLOAD)} downloaded, {format_octets(got)} on the interface (frames)"
    )


async def _polled(world: World) -> bool:
    from sqlalchemy import select

    from aaa.store.tables import meter_reading

    return bool(
        await sight.rows(world.open_house, select(meter_reading).where(meter_reading.c.decision == "first"))
    )


async def bill(world: World) -> None:
    """4. The cycle turns: invoices, ledger, explanation."""
    line = world.timeline
    world.move_to(2026, 4, 1, 0, 30)
    line.chapter(4, "The bill")
    house = world.open_house
    with line.step("the cycle turns on the account's local date: allowance, overage in tiers, tax"):
        second = await world.until("the April invoice", lambda: _april(world))
        for one in await sight.lines(house, second.id):
            amount = format_money(one.amount_minor, second.currency)
            line.note(f"{one.position}. {one.description:<58.58} {amount:>12}")
        line.note(
            f"{second.number}, due {second.due_on}: {format_money(second.total_minor, second.currency)}"
        )
        usage = [
            one for one in await sight.lines(house, second.id) if one.kind == "usage" and one.amount_minor > 0
        ]
        _require(bool(usage), "no overage was charged")
    with line.step("hilltop explain walks from the overage line to the counters"):
        said = await world.appliance.command(f"explain {second.number} {usage[0].position}")
        shown = said.splitlines()
        for text in [*shown[:14], "…", *shown[-3:]] if len(shown) > 18 else shown:
            line.device_line(text)
    with line.step("the invoice as PDF"):
        pdf = world.appliance.folder / "invoice.pdf"
        await world.appliance.command(f"invoice pdf {second.number} --output {pdf}")
        _require(pdf.read_bytes().startswith(b"%PDF"), "it is no PDF")
    with line.step("the ledger: every entry balances, the trial balance is zero"):
        for text in (await world.appliance.command("ledger verify")).splitlines():
            line.device_line(text)


async def _april(world: World) -> Row[Any] | None:
    found = await sight.invoices(world.open_house, "A-1")
    return found[1] if len(found) > 1 else None


async def fall_late(world: World, session: LabSession) -> None:
    """5. Nobody pays in April: reminder, grace, and a dry run of what comes."""
    line = world.timeline
    line.chapter(5, "Dunning")
    seen = "clear"
    with line.step("reminder, then restricted, by date on the account's calendar"):
        for day in range(2, 30):
            world.move_to(2026, 4, day, 12)
            await session.interim()
            if day in {18, 27}:  # three days overdue; ten would be a Saturday, so Monday
                seen = await world.until("the next stage", partial(_stage_after, world, seen))
                line.note(f"{world.clock.now():%Y-%m-%d}: {seen}")
            if seen == "restricted":
                break
        _require(seen == "restricted", f"the stage is {seen}")
    with line.step("restricted: the live session is throttled by CoA, not dropped"):
        service = await sight.service_of(world.open_house, "fir")
        await world.until(
            "the throttle verified", lambda: sight.settled(world.open_house, service, "throttle")
        )
        line.note(f"Mikrotik-Rate-Limit is now {session.rate_limit}")
        _require(
            session.live and session.rates_bps() != (25_000_000, 5_000_000), f"rates: {session.rates_bps()}"
        )
    with line.step("the dry run names the services and the exact device commands"):
        said = await world.appliance.command("dunning preview --on 2026-04-30")
        for text in said.splitlines():
            line.device_line(text)
        _require("suspended" in said and "hilltop" in said, "the preview does not show the commands")
        _require(not world.ridge.firewall_address_list, "the dry run touched the device")


async def _stage_after(world: World, before: str) -> str | None:
    now = await sight.stage(world.open_house, "A-1")
    return now if now != before else None


async def suspend(world: World, session: LabSession) -> None:
    """6. Suspension, verified on the towers; one of them lies at first."""
    line, house = world.timeline, world.open_house
    line.chapter(6, "Suspension")
    fir = await sight.service_of(house, "fir")
    if world.hill is not None:
        await world.hill.hold_flow()
    world.ridge.lying = True
    world.move_to(2026, 4, 30, 12)
    await session.interim()
    with line.step("the router says yes and does nothing: not believed, tried again"):
        await world.until("the lie noticed", lambda: _outcome(world, fir, "lied"))
        _require(not world.ridge.listed("hilltop-suspended", session.framed_ip), "the router did not lie")
        world.ridge.lying = False
    with line.step(
        "observe, apply, observe, verified on RouterOS; the session moved into the walled garden by CoA"
    ):
        await world.until("the suspension verified", lambda: sight.settled(house, fir, "walled_garden"), 40)
        await _show_transcript(world, fir)
        _require(world.ridge.listed("hilltop-suspended", session.framed_ip), "the address is not on the list")
        _require(bool(session.address_lists), "the live session was not moved")
        line.note(f"session {session.session_id}: address list {', '.join(session.address_lists)}")
    if world.hill is not None:
        with line.step(
            "nftables through OpenSSH: the internet is gone, running flows stopped, the portal answers"
        ):
            elm = await sight.service_of(house, ELM_MAC.replace(":", "").lower())
            await world.until(
                "the suspension verified", lambda: sight.settled(house, elm, "walled_garden"), 40
            )
            await _show_transcript(world, elm)
            await _require_reach(world, internet=False)
            _require(not await world.hill.flow_moves(), "an established flow goes on")


async def _outcome(world: World, service: str, outcome: str) -> bool:
    return any(one.outcome == outcome for one in await sight.transcripts(world.open_house, service))


async def _show_transcript(world: World, service: str) -> None:
    verified = [
        one for one in await sight.transcripts(world.open_house, service) if one.outcome == "verified"
    ]
    for exchange in (verified[-1].exchanges if verified else [])[:8]:
        world.timeline.device_line(f"> {str(exchange['sent'])[:150]}")
        for text in str(exchange["received"]).strip().splitlines()[:2]:
            world.timeline.device_line(f"    {text[:150]}")


async def _require_reach(world: World, *, internet: bool) -> None:
    hill = world.standing_hill
    reached = await hill.subscriber_reaches("internet", timeout_s=2.0 if internet else 1.0)
    portal = await hill.subscriber_reaches("portal")
    world.timeline.note(
        f"subscriber reaches: internet {'yes' if reached else 'no'}, portal {'yes' if portal else 'no'}"
    )
    _require(reached == internet, f"the internet is {'reached' if reached else 'not reached'}")
    _require(portal, "the portal is not reached")


async def pay(world: World, session: LabSession) -> None:
    """7. Payment, and back."""
    line, house = world.timeline, world.open_house
    line.chapter(7, "Payment and restoration")
    for number, username in (("A-1", "fir"), ("A-2", ELM_MAC.replace(":", "").lower())):
        if number == "A-2" and world.hill is None:
            continue
        with line.step(f"{number} pays: hold lifted, restored and verified"):
            service = await sight.service_of(house, username)
            owed = sum(one.open_minor for one in await sight.invoices(house, number))
            said = await world.appliance.command(f"pay {number} {owed / 100:.2f} --key cash-{number}-2")
            line.note(said)
            tasks = await world.until(
                "the restoration verified", partial(sight.settled, house, service, "none"), 40
            )
            paid_at = await _paid_at(world, f"cash-{number}-2")
            took = max(one.verified_at for one in tasks) - paid_at
            line.note(f"payment to verified restoration: {took.total_seconds():.1f} s")
    with line.step("the CPE has its speed again; the router's list holds nothing of ours"):
        _require(session.rates_bps() == (25_000_000, 5_000_000), f"rates: {session.rates_bps()}")
        _require(
            not world.ridge.listed("hilltop-suspended", session.framed_ip), "the address is still listed"
        )
    if world.hill is not None:
        with line.step("the subscriber behind the real tower reaches the internet again"):
            await _require_reach(world, internet=True)


async def _paid_at(world: World, key: str) -> Any:
    from sqlalchemy import select

    from billing.store.tables import payment

    return await sight.scalar(
        world.open_house, select(payment.c.received_at).where(payment.c.idempotency_key == key)
    )
