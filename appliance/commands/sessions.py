"""Commands for sessions: who is online, what was, and one session with its reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aaa.domain.session_filter import SessionFilter, read_filter
from aaa.find_holder import HolderQuestion
from aaa.sessions import SessionDetail, SessionView, list_sessions, read_mark, session_detail
from aaa.store.session_search import nas_ids_of_site
from appliance.commands.running import Limit, actor, fail, in_house, say, show, write_file
from appliance.lookup import find, services_of_account
from appliance.wiring import House
from core.instants import read_instant
from core.quantities import format_octets
from core.refusal import Refusal, granted

if TYPE_CHECKING:
    from ui.read.address_report import AddressReport

sessions = typer.Typer(help="Who is online, who was, and who had an address.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@sessions.command("list")
def session_list(
    limit: Limit = 100,
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    closed: Annotated[bool, typer.Option("--closed", help="Closed ones only.")] = False,
    service: Annotated[str | None, typer.Option(help="Service label, id or user name.")] = None,
    account: Annotated[str | None, typer.Option(help="Account number or id.")] = None,
    user: Annotated[str | None, typer.Option(help="User name, exactly.")] = None,
    mac: Annotated[str | None, typer.Option(help="MAC of the CPE, in any spelling.")] = None,
    address: Annotated[str | None, typer.Option(help="IPv4, IPv6 or prefix.")] = None,
    nas: Annotated[str | None, typer.Option(help="NAS name or id.")] = None,
    site: Annotated[str | None, typer.Option(help="Tower name or id.")] = None,
    why: Annotated[str | None, typer.Option(help="Why it ended: Lost-Carrier, lost_stop, …")] = None,
    started_from: Annotated[str | None, typer.Option("--from", help="Started at this time or later.")] = None,
    until: Annotated[str | None, typer.Option(help="Started before this time.")] = None,
    after: Annotated[str, typer.Option(help="The mark a page before this one ended with.")] = "",
    output: Json = False,
) -> None:
    """Sessions online now, newest first; with filters, also those that have ended."""
    asked = {
        "state": "closed" if closed else "" if everything else "online", "username": user, "mac": mac,
        "address": address, "why": why, "from": started_from, "until": until,
    }  # fmt: skip

    async def body(house: House) -> None:
        texts = {name: text for name, text in asked.items() if text}
        wanted = _option(read_filter(texts, house.settings.ui.time_zone))
        position = _option(read_mark(after))
        async with house.workplace.reading() as connection:
            wanted = await _narrowed(connection, wanted, service, account, nas, site)
            page = await list_sessions(connection, wanted, after=position, limit=limit)
        if output:
            rows = [shown(view) for view in page.rows]
            typer.echo(json.dumps({"sessions": rows, "next_after": page.next_after}, indent=2, default=str))
            return
        _show_sessions(page.rows, house.clock.now())
        if page.next_after:
            say(f"more follow: --after {page.next_after}")

    in_house(body)


def _option(found: Any) -> Any:
    """What was read from options, or exit 2 naming the option."""
    if isinstance(found, Refusal):
        fail(f"--{found.field}: {found.message}", 2)
    return found


async def _narrowed(
    connection: Any,
    wanted: SessionFilter,
    service: str | None,
    account: str | None,
    nas: str | None,
    site: str | None,
) -> SessionFilter:
    services: list[str] = []
    if service is not None:
        services.append(await find(connection, "service", service))
    if account is not None:
        services += await services_of_account(connection, await find(connection, "account", account))
        if not services:
            fail(f"--account: {account} has no service")
    if services:
        wanted = replace(wanted, service_ids=tuple(services))
    if site is not None:
        ids = await nas_ids_of_site(connection, await find(connection, "site", site))
        wanted = replace(wanted, nas_ids=tuple(ids))
    if nas is not None:
        wanted = replace(wanted, nas_ids=(await find(connection, "nas", nas),))
    return wanted


def _show_sessions(rows: Sequence[SessionView], now: datetime) -> None:
    show(
        "Sessions",
        ["user", "NAS", "port", "addresses", "CPE", "started", "lasted", "down", "up", "why it ended", "id"],
        [
            [one.username, one.nas, one.nas_port_id, "\n".join(one.addresses), one.mac or one.calling_station,
             one.started_at, _span(one, now), format_octets(one.octets_down), format_octets(one.octets_up),
             one.why or "online", one.id]
            for one in rows
        ],
        none="nobody",
    )  # fmt: skip


def _span(view: SessionView, now: datetime) -> str:
    lasted = now - view.started_at if view.is_open else view.lasted
    return str(lasted).partition(".")[0]


def shown(view: SessionView) -> dict[str, Any]:
    """A session as plain data."""
    return asdict(view) | {"online": view.is_open, "lasted_s": int(view.lasted.total_seconds())}


@sessions.command("show")
def session_show(session: Annotated[str, typer.Argument(help="Session id.")], output: Json = False) -> None:
    """One session: place, addresses, reports with what was decided about each, orders to its NAS."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            detail = await session_detail(connection, session)
        if detail is None:
            fail(f"there is no session {session!r}; see: hilltop sessions list")
        if output:
            plain = asdict(detail) | {"session": shown(detail.session)}
            typer.echo(json.dumps(plain, indent=2, default=_plain))
        else:
            _show_detail(detail, house.clock.now())

    in_house(body)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _show_detail(detail: SessionDetail, now: datetime) -> None:
    one = detail.session
    say(f"{one.username} on {one.nas} {one.nas_port_id}, CPE {one.calling_station or 'unknown'}")
    say(f"  service   {one.service or 'nobody has that user name'} {one.service_id or ''}".rstrip())
    say(f"  started   {one.started_at:%Y-%m-%d %H:%M:%S}Z{'' if one.start_seen else ' (inferred: no Start)'}")
    if one.stopped_at is not None:
        say(f"  stopped   {one.stopped_at:%Y-%m-%d %H:%M:%S}Z: {one.why}")
    else:
        say(f"  online    last heard {one.last_received_at:%Y-%m-%d %H:%M:%S}Z")
    used = f"{format_octets(one.octets_down)} down, {format_octets(one.octets_up)} up"
    say(f"  used      {used} in {_span(one, now)}")
    for span in detail.spans:
        until = "" if span.last_seen_at is None else f" to {span.last_seen_at:%Y-%m-%d %H:%M:%S}Z"
        say(f"  {span.kind:9} {span.network} from {span.first_seen_at:%Y-%m-%d %H:%M:%S}Z{until}")
    show(
        f"Reports ({len(detail.readings)} of {detail.reading_count})",
        ["time", "kind", "down", "up", "decision"],
        [
            [
                r.at,
                r.evidence.get("kind"),
                format_octets(r.octets_down),
                format_octets(r.octets_up),
                r.decision,
            ]
            for r in detail.readings
        ],
    )  # fmt: skip
    if detail.exchanges:
        show(
            "Orders to its NAS",
            ["time", "by", "order", "answer", "tries", "ms"],
            [[x.at, x.actor, x.sent, x.detail, x.tries, x.ms] for x in detail.exchanges],
        )


@sessions.command("disconnect")
def session_disconnect(session: Annotated[str, typer.Argument(help="Session id.")]) -> None:
    """End a live session by Disconnect-Request; the CPE may dial again at once."""
    _order(session, "disconnect")


@sessions.command("reapply")
def session_reapply(session: Annotated[str, typer.Argument(help="Session id.")]) -> None:
    """Bring a live session to its service's present terms by CoA, without ending it."""
    _order(session, "reapply")


def _order(session_id: str, word: str) -> None:
    from appliance.panel_acts import panel_acts

    async def body(house: House) -> bool:
        acts = panel_acts(house.sealer, house.settings.radius)
        order = acts.disconnect_session if word == "disconnect" else acts.reapply_session
        outcome = granted(await order(house.workplace, session_id, actor()))
        say(outcome.detail)
        return outcome.outcome in {"disconnected", "moved", "nothing_live"}

    if not in_house(body):
        raise typer.Exit(1)


@sessions.command("at")
def session_at(
    address: Annotated[str, typer.Argument(help="IPv4 or IPv6 address; one inside a delegated prefix too.")],
    time: Annotated[str, typer.Argument(help="2026-03-10T14:05:09-06:00, or on the wall with --zone.")],
    reason: Annotated[str, typer.Option(help="Why it is asked: a case number, a letter. Kept on record.")],
    zone: Annotated[str | None, typer.Option(help="Zone of a TIME without offset: America/Denver")] = None,
    tolerance: Annotated[int, typer.Option(help="Seconds that the asker's clock may be off.")] = 60,
    nas: Annotated[str | None, typer.Option(help="At this NAS alone.")] = None,
    pdf: Annotated[Path | None, typer.Option(help="Write the report as PDF to this file (-).")] = None,
    output: Json = False,
) -> None:
    """Who had ADDRESS at TIME: subscriber, session, evidence, doubts. Every lookup is in the audit trail."""
    from ui.address_document import address_pdf
    from ui.read.address_report import address_report, report_data

    try:
        at = read_instant(time, zone)
    except ValueError as trouble:
        fail(f"TIME: {trouble}", 2)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            nas_id = None if nas is None else await find(work.connection, "nas", nas)
            question = HolderQuestion(address, at, reason, tolerance, nas_id)
            report = granted(await address_report(work, question))
        if output:
            typer.echo(json.dumps(report_data(report), indent=2))
        elif str(pdf) != "-":
            _show_report(report)
        if pdf is not None:
            write_file(pdf, address_pdf(report, house.settings.ui))

    in_house(body)


def _show_report(report: AddressReport) -> None:
    answer = report.answer
    say(f"{answer.question.address} at {answer.question.at:%Y-%m-%d %H:%M:%S}Z: {answer.sentence}")
    say(f"  reference {answer.reference}, asked by {answer.asked_by}: {answer.question.reason}")
    for one in answer.holders:
        view, person = one.session, report.subscriber_of(one.session.account_id)
        stopped = "open" if view.stopped_at is None else f"{view.stopped_at:%Y-%m-%d %H:%M:%S}Z ({view.why})"
        say(f"{one.certainty}: {f'{person.name}, account {person.number}' if person else 'nobody on record'}")
        say(f"  service   {view.service or '-'} {view.service_id or ''}".rstrip())
        say(
            f"  session   {view.username} on {view.nas} {view.nas_port_id}, CPE {view.calling_station or '-'}"
        )
        say(f"            {view.started_at:%Y-%m-%d %H:%M:%S}Z to {stopped}; {view.id}")
        say(f"  held      {one.network} from {one.first_seen_at:%Y-%m-%d %H:%M:%S}Z")
        for reason in one.reasons:
            say(f"  doubt     {reason}")
        for reading in one.reports:
            say(f"  report    {reading.at:%Y-%m-%d %H:%M:%S}Z {reading.evidence.get('kind', 'report')}")
    for static in answer.static:
        person = report.subscriber_of(static.account_id)
        name = person.name if person else static.account_id
        say(f"static: {static.network} is given for good to {name}, {static.service}")
    for lease in answer.leases:
        person = report.subscriber_of(lease.account_id)
        until = f", until {lease.until_at:%Y-%m-%d %H:%M:%S}Z" if lease.until_at else ""
        name = person.name if person else lease.account_id or "nobody known"
        say(
            f"leased: {lease.network} was given to {name}, {lease.service}, at "
            f"{lease.from_at:%Y-%m-%d %H:%M:%S}Z{until}"
        )
    for word, neighbour in (("before", answer.before), ("after", answer.after)):
        if neighbour is not None:
            at = neighbour.stopped_at if word == "before" else neighbour.started_at
            say(f"{word}: {neighbour.username} on {neighbour.nas}, {at:%Y-%m-%d %H:%M:%S}Z; {neighbour.id}")
