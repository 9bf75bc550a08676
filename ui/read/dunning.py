"""Dunning on screen: what waits for an operator, policies and versions, one account's exceptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.dunning_policy import Policy
from billing.store import dunning_policy_rows, exception_rows, write_off_rows
from billing.store.tables import account, dunning_approval, dunning_state, invoice

_DECIDED_SHOWN = 50
_WAITING_SHOWN = 500


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """A suspension or write-off that waits for a word, or got it. ``what``: the stage or the invoice."""

    id: str
    account_id: str
    account_number: str
    account_name: str
    kind: str
    what: str
    because: str
    overdue_minor: int
    currency: str
    asked_on: date
    expires_on: date
    state: str
    decided_by: str | None
    note: str | None


async def approvals(connection: AsyncConnection, *, waiting: bool) -> list[ApprovalRow]:
    """What waits, the largest debt first; or what was decided or dropped lately, newest first."""
    table = dunning_approval
    query = (
        select(
            table.c.id, account.c.id, account.c.number, account.c.name, table.c.kind,
            func.coalesce(invoice.c.number, table.c.subject), table.c.because, table.c.overdue_minor,
            account.c.currency, table.c.asked_on, table.c.expires_on, table.c.state, table.c.decided_by,
            table.c.note,
        )
        .join(account, account.c.id == table.c.account_id)
        .outerjoin(invoice, invoice.c.id == table.c.subject)
    )  # fmt: skip
    if waiting:
        query = query.where(table.c.state == "waiting").order_by(table.c.overdue_minor.desc(), table.c.id)
        query = query.limit(_WAITING_SHOWN)
    else:
        query = query.where(table.c.state != "waiting").order_by(table.c.asked_at.desc(), table.c.id.desc())
        query = query.limit(_DECIDED_SHOWN)
    rows: Sequence[Any] = (await connection.execute(query)).all()
    return [ApprovalRow(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A policy as it stands today. ``accounts``: open ones that it is for."""

    id: str
    name: str
    version: int
    valid_from: date
    ladder: str
    classes: str
    accounts: int


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version and when it takes effect."""

    version: int
    valid_from: date
    created_at: datetime
    created_by: str
    ladder: str


def ladder_in_words(policy: Policy) -> str:
    """``reminded after 3 days, suspended after 15``."""
    return ", ".join(f"{one.stage} after {one.days_overdue} days" for one in policy.ladder) or "no rung"


async def policy_rows(connection: AsyncConnection, today: date) -> list[PolicyRow]:
    """All policies by name."""
    names = await dunning_policy_rows.names(connection)
    bases = await dunning_policy_rows.bases(connection)
    classes = await dunning_policy_rows.class_policies(connection)
    found: dict[str, dunning_policy_rows.PolicyVersion] = {}
    for one in await dunning_policy_rows.versions(connection):
        if one.valid_from <= today or one.policy_id not in found:
            found[one.policy_id] = one
    return [
        PolicyRow(
            policy_id, name, found[policy_id].version, found[policy_id].valid_from,
            ladder_in_words(found[policy_id].policy),
            ", ".join(sorted(one for one, chosen in classes.items() if chosen == policy_id)),
            bases.get(policy_id, 0),
        )
        for policy_id, name in names.items()
    ]  # fmt: skip


async def versions_of(connection: AsyncConnection, policy_id: str) -> list[VersionRow]:
    """The versions of a policy, newest first."""
    found = sorted(await dunning_policy_rows.versions(connection, policy_id), key=lambda one: -one.version)
    return [
        VersionRow(one.version, one.valid_from, one.created_at, one.created_by, ladder_in_words(one.policy))
        for one in found
    ]


@dataclass(frozen=True, slots=True)
class PromiseRow:
    """A promise and what became of it."""

    until: date
    promised_minor: int
    state: str
    note: str | None
    made_at: datetime
    made_by: str


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """A dispute; ``outcome`` None: open."""

    id: str
    invoice: str | None
    amount_minor: int | None
    reason: str
    from_on: date
    until_on: date | None
    outcome: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class DeferralRow:
    """What defers the account; ``lifted`` when it no longer does."""

    source: str
    reason: str
    from_on: date
    until_on: date | None
    lifted: bool


@dataclass(frozen=True, slots=True)
class WriteOffRow:
    """A claim given up, or (negative) paid after all."""

    number: str
    amount_minor: int
    on_date: date
    forgiven: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Exceptions:
    """Everything that keeps one account off the ladder, now and before."""

    policy_id: str
    policy_name: str
    own_policy: bool
    immune: bool
    immune_until: date | None
    immune_reason: str | None
    respite_until: date | None
    promises: list[PromiseRow]
    disputes: list[DisputeRow]
    deferrals: list[DeferralRow]
    write_offs: list[WriteOffRow]
    open_invoices: list[tuple[str, int]]


async def exceptions_of(connection: AsyncConnection, account_id: str) -> Exceptions:
    """Of an account that is there."""
    state = (
        await connection.execute(
            select(dunning_state, account.c.dunning_policy_id, account.c.account_class)
            .join(account, account.c.id == dunning_state.c.account_id)
            .where(account.c.id == account_id)
        )
    ).one()
    classes = await dunning_policy_rows.class_policies(connection)
    policy_id = dunning_policy_rows.effective_policy(
        classes, state.account_class, state.dunning_policy_id, own=state.own_policy
    )
    names = await dunning_policy_rows.names(connection)
    owed = await connection.execute(
        select(invoice.c.number, invoice.c.open_minor)
        .where(invoice.c.account_id == account_id, invoice.c.status == "finalised", invoice.c.open_minor > 0)
        .order_by(invoice.c.due_on, invoice.c.number)
    )
    return Exceptions(
        policy_id, names[policy_id], state.own_policy, state.immune, state.immune_until, state.immune_reason,
        state.respite_until,
        [
            PromiseRow(one.until, one.promised_minor, one.state, one.note, one.made_at, one.made_by)
            for one in await exception_rows.promises_of(connection, account_id)
        ],
        [
            DisputeRow(
                one.id, one.number, one.amount_minor, one.reason, one.from_on, one.until_on, one.outcome,
                one.outcome_note,
            )
            for one in await exception_rows.disputes_of(connection, [account_id])
        ],
        [
            DeferralRow(one.source, one.reason, one.from_on, one.until_on, one.lifted_at is not None)
            for one in await exception_rows.deferrals_of(connection, [account_id])
        ],
        [
            WriteOffRow(one.number, one.amount_minor, one.on_date, one.forgiven, one.reason)
            for one in await write_off_rows.write_offs_of(connection, account_id)
        ],
        [(row.number, row.open_minor) for row in owed],
    )  # fmt: skip
