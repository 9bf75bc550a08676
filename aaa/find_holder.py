"""Who had an address at a time, for those with a right to ask: with evidence, with doubts, on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain import checks
from aaa.domain.address_claim import Certainty, Claim, HolderVerdict, Tenure, judge, weigh
from aaa.domain.session_filter import Place, read_place
from aaa.sessions import AddressSpan, Reading, SessionView, reading_of, spans_of, view_of
from aaa.store import pool_rows, prefix_rows, repositories, session_search
from core.refusal import Refusal
from core.work import Work

LONGEST_TOLERANCE_S = 86_400
_LONGEST_SILENCE = timedelta(days=30)
"""No session taken to have ended longer before can still have run: interim intervals are days at most."""


@dataclass(frozen=True, slots=True)
class HolderQuestion:
    """``reason`` is why it is asked (a case number, a letter); it goes into the audit trail.

    ``tolerance_s``: how far the clock of whoever noted the time may be off.
    """

    address: str
    at: datetime
    reason: str
    tolerance_s: int = 60
    nas_id: str | None = None
    reference: str | None = None  # of the lookup that this one repeats, to print it


@dataclass(frozen=True, slots=True)
class Holder:
    """One session with a claim to the address: how far it goes, and the reports next to the instant."""

    session: SessionView
    network: str
    kind: str
    first_seen_at: datetime
    last_seen_at: datetime | None
    certainty: Certainty
    reasons: tuple[str, ...]
    reports: list[Reading]


@dataclass(frozen=True, slots=True)
class StaticHolder:
    """A service to which the address is given for good, today: by itself, in a prefix, or behind a route."""

    network: str
    service_id: str
    service: str
    account_id: str
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """Whom Hilltop's own pool had given the address to then: who could use it, not that he did."""

    network: str
    service_id: str
    service: str
    account_id: str | None
    station: str | None
    from_at: datetime
    until_at: datetime | None


@dataclass(frozen=True, slots=True)
class HolderAnswer:
    """Everything that is on record about the question. ``reference`` names it in the audit trail."""

    reference: str
    asked_by: str
    asked_at: datetime
    question: HolderQuestion
    verdict: HolderVerdict
    holders: list[Holder]
    static: list[StaticHolder]
    before: SessionView | None  # nobody: the last session with the address before, and the first after
    after: SessionView | None
    leases: list[LeaseHolder] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return VERDICTS[self.verdict]


VERDICTS = {
    HolderVerdict.HELD: "one subscriber held the address at that time",
    HolderVerdict.LIKELY: "one subscriber held the address, as far as the records say; the doubts are named",
    HolderVerdict.POSSIBLE: "one subscriber may have held the address; the records do not prove it",
    HolderVerdict.DISPUTED: "the records name more than one subscriber; they do not say which",
    HolderVerdict.NOBODY: "no session on record held the address at that time",
}


async def find_holder(work: Work, question: HolderQuestion) -> HolderAnswer | Refusal:
    """The answer; that it was asked, by whom and why is in the audit trail in the same transaction."""
    checked = _checked(question, work.now)
    if isinstance(checked, Refusal):
        return checked
    place, question = checked
    connection = work.connection
    static = await _static(connection, place)
    holders = await _holders(connection, place, question)
    holders = _best_first([*holders, *await _behind_routes(connection, static, holders, question)])
    before, after = (None, None) if holders else await _neighbours(connection, place, question)
    answer = HolderAnswer(
        question.reference or work.ids.new("inq"), work.actor, work.now, question,
        judge([(_who(one), one.certainty) for one in holders]),
        holders, static, before, after, await _leases(connection, place, question.at),
    )  # fmt: skip
    await work.audit(
        "address.looked_up", place.text, reference=answer.reference, at=question.at.isoformat(),
        tolerance_s=question.tolerance_s, reason=question.reason, nas_id=question.nas_id,
        verdict=str(answer.verdict), sessions=[one.session.id for one in holders[:20]],
    )  # fmt: skip
    return answer


def _checked(question: HolderQuestion, now: datetime) -> tuple[Place, HolderQuestion] | Refusal:
    place = read_place(question.address)
    if isinstance(place, Refusal):
        return place
    if place.version == 6 and "/" in place.text:
        return Refusal("address.network", f"{place.text} is a network; ask for one address", "address")
    reason = checks.check_text(question.reason, "reason", 300)
    if isinstance(reason, Refusal):
        return reason
    if not 0 <= question.tolerance_s <= LONGEST_TOLERANCE_S:
        return Refusal(
            "tolerance.range", f"choose a tolerance from 0 to {LONGEST_TOLERANCE_S} seconds", "tolerance"
        )
    if question.at > now:
        return Refusal("at.future", "that time has not come yet; look at its zone", "at")
    return place, replace(question, address=place.text, reason=reason)


async def _holders(connection: AsyncConnection, place: Place, question: HolderQuestion) -> list[Holder]:
    tolerance = timedelta(seconds=question.tolerance_s)
    rows = await session_search.sessions_at(
        connection, place, question.at - tolerance - _LONGEST_SILENCE, question.at + tolerance
    )
    views = [view_of(row) for row in rows if question.nas_id in (None, row.nas_id)]
    spans = await spans_of(connection, views)
    found = []
    for view in views:
        for span in spans[view.id]:
            if span.network not in place.networks and span.network != place.text:
                continue
            if weigh(_tenure(view, span, spans[view.id], [], question.at), question.at, tolerance) is None:
                continue
            around = await _around(connection, view, question.at)
            claim = weigh(_tenure(view, span, spans[view.id], around, question.at), question.at, tolerance)
            if claim is not None:
                found.append(_holder(view, span, claim, around))
    return found


def _best_first(holders: list[Holder]) -> list[Holder]:
    order = list(Certainty)
    return sorted(holders, key=lambda one: order.index(one.certainty), reverse=True)


async def _behind_routes(
    connection: AsyncConnection,
    static: Sequence[StaticHolder],
    holders: Sequence[Holder],
    question: HolderQuestion,
) -> list[Holder]:
    """Sessions through which a service's own prefix or route was reached: no report names the address.

    That the prefix was the service's at that time too is not proven by what stands today.
    """
    tolerance, known = timedelta(seconds=question.tolerance_s), {one.session.id for one in holders}
    found = []
    for one in static:
        rows = await session_search.sessions_of_service_at(
            connection, one.service_id, question.at - tolerance - _LONGEST_SILENCE, question.at + tolerance
        )
        for view in [view_of(row) for row in rows if row.id not in known]:
            if question.nas_id not in (None, view.nas_id):
                continue
            around = await _around(connection, view, question.at)
            span = AddressSpan("static", one.network, view.started_at, None)
            claim = weigh(_tenure(view, span, [span], around, question.at), question.at, tolerance)
            if claim is not None:
                words = f"no report names the address: {one.network} is its service's own, as it stands today"
                weaker = Certainty.POSSIBLE if claim.certainty is Certainty.POSSIBLE else Certainty.LIKELY
                found.append(_holder(view, span, Claim(weaker, (words, *claim.reasons)), around))
    return found


async def _around(connection: AsyncConnection, view: SessionView, at: datetime) -> list[Reading]:
    rows = await session_search.readings_around(connection, view.meter_id or "", at)
    return [reading_of(row) for row in rows]


def _tenure(
    view: SessionView,
    span: AddressSpan,
    spans: Sequence[AddressSpan],
    around: Sequence[Reading],
    at: datetime,
) -> Tenure:
    following = [
        one.first_seen_at for one in spans if one.kind == span.kind and one.first_seen_at > span.first_seen_at
    ]
    return Tenure(
        view.started_at, view.start_seen, view.last_event_at, view.stopped_at, view.close_inferred,
        view.interim_interval_s,
        first_seen_at=span.first_seen_at if span.first_seen_at > view.started_at else None,
        last_seen_at=span.last_seen_at, replaced_at=min(following, default=None),
        reported_before=max((one.at for one in around if one.at <= at), default=None),
        reported_after=min((one.at for one in around if one.at > at), default=None),
    )  # fmt: skip


def _holder(view: SessionView, span: AddressSpan, claim: Claim, around: list[Reading]) -> Holder:
    return Holder(
        view, span.network, span.kind, span.first_seen_at, span.last_seen_at, claim.certainty, claim.reasons,
        around,
    )  # fmt: skip


def _who(holder: Holder) -> str:
    """One subscriber's sessions dispute nothing; without a service, one user name on one NAS is one."""
    view = holder.session
    return view.service_id or f"{view.nas_id} {view.username}"


async def _neighbours(
    connection: AsyncConnection, place: Place, question: HolderQuestion
) -> tuple[SessionView | None, SessionView | None]:
    before, after = await session_search.neighbours_at(connection, place, question.at, question.nas_id)
    return (None if before is None else view_of(before)), (None if after is None else view_of(after))


async def _leases(connection: AsyncConnection, place: Place, at: datetime) -> list[LeaseHolder]:
    rows = await pool_rows.holders_at(connection, {place.text, *place.networks}, at)
    return [
        LeaseHolder(
            row.network, row.service_id, row.label or "nobody known", row.account_id, row.station,
            row.from_at, row.until_at,
        )
        for row in rows
    ]  # fmt: skip


async def _static(connection: AsyncConnection, place: Place) -> list[StaticHolder]:
    found = []
    row = await repositories.service_with_static_ip(connection, place.text)
    if row is not None:
        found.append(StaticHolder(place.text, row.id, row.label, row.account_id, row.ended_at))
    address = ip_address(place.text)
    number = int(address) if address.version == 6 else int(IPv6Address(f"::ffff:{address}"))
    own = await prefix_rows.prefix_around(connection, f"{number:032x}")
    if own is not None:
        found.append(StaticHolder(own.prefix, own.service_id, own.label, own.account_id, own.ended_at))
    return found
