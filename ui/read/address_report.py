"""The answer to "who had this address then", with subscribers' names: for a page, a letter, programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.find_holder import Holder, HolderAnswer, HolderQuestion, find_holder
from aaa.sessions import Reading, SessionView
from billing.store.tables import account
from core.refusal import Refusal
from core.work import Work


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Who pays for a service."""

    account_id: str
    number: str
    name: str
    address: list[str]
    email: str
    phone: str


@dataclass(frozen=True, slots=True)
class AddressReport:
    """The answer and the subscribers in it, by account id."""

    answer: HolderAnswer
    subscribers: dict[str, Subscriber]

    def subscriber_of(self, account_id: str | None) -> Subscriber | None:
        """Who that is, unless billing never knew him."""
        return self.subscribers.get(account_id or "")


async def address_report(work: Work, question: HolderQuestion) -> AddressReport | Refusal:
    """Look it up, on record."""
    answer = await find_holder(work, question)
    if isinstance(answer, Refusal):
        return answer
    views = [one.session for one in answer.holders]
    views += [one for one in (answer.before, answer.after) if one is not None]
    ids = {view.account_id for view in views} | {one.account_id for one in answer.static}
    ids |= {one.account_id for one in answer.leases}
    return AddressReport(answer, await _subscribers(work.connection, {one for one in ids if one}))


async def _subscribers(connection: AsyncConnection, ids: set[str]) -> dict[str, Subscriber]:
    rows = await connection.execute(select(account).where(account.c.id.in_(ids)))
    return {row.id: _subscriber(row) for row in rows}


def _subscriber(row: Row[Any]) -> Subscriber:
    town = " ".join(part for part in (row.city, row.region, row.postal_code) if part)
    lines = [part for part in (row.street, town, row.country) if part]
    return Subscriber(row.id, row.number, row.name, lines, row.email or "", row.phone or "")


def report_data(report: AddressReport) -> dict[str, Any]:
    """The report as plain data for JSON; instants are ISO 8601 in UTC."""
    answer = report.answer
    return {
        "reference": answer.reference, "asked_by": answer.asked_by, "asked_at": answer.asked_at.isoformat(),
        "address": answer.question.address, "at": answer.question.at.isoformat(),
        "tolerance_s": answer.question.tolerance_s, "reason": answer.question.reason,
        "verdict": str(answer.verdict), "meaning": answer.sentence,
        "holders": [_holder(report, one) for one in answer.holders],
        "static": [
            asdict(one) | {"ended_at": one.ended_at and one.ended_at.isoformat()}
            | {"subscriber": _person(report, one.account_id)}
            for one in answer.static
        ],
        "leases": [
            asdict(one) | {"from_at": one.from_at.isoformat()}
            | {"until_at": one.until_at and one.until_at.isoformat()}
            | {"subscriber": _person(report, one.account_id)}
            for one in answer.leases
        ],
        "before": _neighbour(report, answer.before), "after": _neighbour(report, answer.after),
    }  # fmt: skip


def _holder(report: AddressReport, holder: Holder) -> dict[str, Any]:
    return {
        "certainty": str(holder.certainty), "reasons": list(holder.reasons), "network": holder.network,
        "kind": holder.kind, "first_seen_at": holder.first_seen_at.isoformat(),
        "last_seen_at": holder.last_seen_at and holder.last_seen_at.isoformat(),
        "session": session_data(holder.session),
        "subscriber": _person(report, holder.session.account_id),
        "reports": [reading_data(one) for one in holder.reports],
    }  # fmt: skip


def _neighbour(report: AddressReport, view: SessionView | None) -> dict[str, Any] | None:
    if view is None:
        return None
    return {"session": session_data(view), "subscriber": _person(report, view.account_id)}


def _person(report: AddressReport, account_id: str | None) -> dict[str, Any] | None:
    found = report.subscriber_of(account_id)
    return None if found is None else asdict(found)


def session_data(view: SessionView) -> dict[str, Any]:
    """A session as plain data."""
    times = ("started_at", "stopped_at", "last_event_at", "last_received_at")
    instants = {name: (at.isoformat() if (at := getattr(view, name)) else None) for name in times}
    more = {"online": view.is_open, "lasted_s": int(view.lasted.total_seconds())}
    return asdict(view) | instants | more


def reading_data(reading: Reading) -> dict[str, Any]:
    """A report of a session as plain data."""
    instants = {"at": reading.at.isoformat(), "received_at": reading.received_at.isoformat()}
    return asdict(reading) | instants
