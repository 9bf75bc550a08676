"""Bill runs for programs: look ahead, run, approve what waits, try again what was parked."""

from __future__ import annotations

from typing import Any

from billing.domain.outliers import Threshold
from billing.invoicing.approve_drafts import (
    Approved,
    approve_draft,
    approve_drafts,
    draft_again,
    reject_draft,
)
from billing.invoicing.bill_run import bill_run
from billing.invoicing.preview_run import preview_run
from billing.store import draft_rows, parked_rows
from billing.store.run_preview_rows import RunSum
from core.refusal import Refused, granted
from core.work import Work
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.api.named import account_named
from ui.read import bill_runs, dashboard

operations = Operations()
_LIMIT = Parameter("limit", "How many at most.", Kind.COUNT, default=50, at_least=1)
_DRAFT = Parameter("draft_id", "The draft's id (dft_…).", in_path=True, required=True)
_SUM = shapes.record(
    invoices=shapes.WHOLE, net_minor=shapes.WHOLE, tax_minor=shapes.WHOLE, gross_minor=shapes.WHOLE
)
_ODD = shapes.record(
    account=shapes.TEXT, currency=shapes.TEXT, total_minor=shapes.WHOLE,
    median_minor=shapes.maybe(shapes.WHOLE), flags=shapes.listed(shapes.TEXT), reason=shapes.TEXT,
)  # fmt: skip
_RAN = shapes.record(
    run=shapes.maybe(shapes.TEXT), invoices=shapes.WHOLE, drafts=shapes.WHOLE, parked=shapes.WHOLE
)
_APPROVED = shapes.record(
    numbers=shapes.listed(shapes.TEXT), changed=shapes.listed(shapes.TEXT), gone=shapes.listed(shapes.TEXT),
    failed=shapes.listed(shapes.record(account_id=shapes.TEXT, reason=shapes.TEXT)), already=shapes.WHOLE,
)  # fmt: skip


@operations.get(
    "/bill-runs", "Bill runs, newest first.",
    shapes.record(runs=shapes.listed(shapes.record(
        id=shapes.TEXT, through=shapes.TEXT, started_at=shapes.TEXT, finished_at=shapes.maybe(shapes.TEXT),
        invoices=shapes.WHOLE, drafts=shapes.WHOLE, parked=shapes.WHOLE,
    ))), _LIMIT,
)  # fmt: skip
async def runs(ask: Ask) -> Answer:
    """With how many accounts each one parked."""
    async with ask.panel.workplace.reading() as connection:
        found = await dashboard.bill_runs(connection, limit=ask.count("limit"))
    return {
        "runs": [
            {
                "id": one.id, "through": one.through.isoformat(), "started_at": one.started_at.isoformat(),
                "finished_at": None if one.finished_at is None else one.finished_at.isoformat(),
                "invoices": one.invoices, "drafts": one.drafts, "parked": len(one.parked),
            }
            for one in found
        ]
    }  # fmt: skip


@operations.post("/bill-runs", "Bill everything that is due now; nothing twice.", _RAN)
async def run_now(ask: Ask) -> Answer:
    """Answers when the run is finished."""
    return await _run(ask, None)


async def _run(ask: Ask, only: list[str] | None) -> Answer:
    panel = ask.panel
    done = granted(
        await bill_run(
            panel.workplace, panel.usage, only=only, actor=ask.actor, settings=panel.billing,
            sealer=panel.sealer,
        )
    )  # fmt: skip
    return {
        "run": done.run_id, "invoices": done.invoices, "drafts": done.drafts, "parked": len(done.parked)
    }  # fmt: skip


@operations.get(
    "/bill-runs/preview", "What a run would issue, against the month before; nothing is written.",
    shapes.record(
        through=shapes.TEXT, accounts=shapes.WHOLE, idle=shapes.WHOLE,
        sums=shapes.listed(
            shapes.record(entity=shapes.TEXT, currency=shapes.TEXT, now=_SUM, before=_SUM)
        ),
        flagged=shapes.listed(_ODD),
    ),
    Parameter("through", "As if it were that day; else today.", Kind.DAY),
    Parameter("percent", "Flag what is this far from the account's median.", Kind.COUNT, at_most=10_000),
    Parameter("amount", "And by at least so many whole units.", Kind.COUNT, at_most=10**9),
    Parameter("limit", "How many flagged ones at most.", Kind.COUNT, default=200, at_least=1),
)  # fmt: skip
async def look_ahead(ask: Ask) -> Answer:
    """Drafts the whole run with the usage so far; the thresholds are the settings' where none is given."""
    panel, terms = ask.panel, ask.panel.billing
    threshold = Threshold(
        terms.outlier_percent if ask.values["percent"] is None else ask.count("percent"),
        terms.outlier_amount if ask.values["amount"] is None else ask.count("amount"),
    )
    ahead = granted(
        await preview_run(
            panel.workplace, panel.usage, through=ask.day("through"), settings=terms, threshold=threshold,
            sealer=panel.sealer,
        )
    )  # fmt: skip
    return {
        "through": ahead.through.isoformat(), "accounts": ahead.accounts, "idle": ahead.idle,
        "sums": [
            {"entity": one.entity, "currency": one.currency, "now": _sum(one.now), "before": _sum(one.before)}
            for one in ahead.sums
        ],
        "flagged": [
            {
                "account": one.account_number, "currency": one.currency, "total_minor": one.total_minor,
                "median_minor": one.median_minor, "flags": list(one.flags), "reason": one.reason,
            }
            for one in ahead.flagged[: ask.count("limit")]
        ],
    }  # fmt: skip


def _sum(one: RunSum) -> dict[str, int]:
    return {
        "invoices": one.invoices, "net_minor": one.net_minor, "tax_minor": one.tax_minor,
        "gross_minor": one.gross_minor,
    }  # fmt: skip


@operations.get(
    "/bill-runs/parked", "Accounts that could not be billed, with the reason of the last try.",
    shapes.record(parked=shapes.listed(shapes.of(bill_runs.ParkedRow))), _LIMIT,
)  # fmt: skip
async def parked(ask: Ask) -> Answer:
    """The longest parked first."""
    async with ask.panel.workplace.reading() as connection:
        return {"parked": await bill_runs.parked_list(connection, ask.count("limit"))}


@operations.post(
    "/bill-runs/parked/retry", "Try parked accounts again, and no others.", _RAN,
    Parameter("account", "Number or id of one; else all."),
)  # fmt: skip
async def retry(ask: Ask) -> Answer:
    """Answers when they were tried."""
    async with ask.panel.workplace.reading() as connection:
        only = await parked_rows.parked_accounts(connection)
        if ask.text("account"):
            only = [await account_named(connection, ask.text("account"))]
    return await _run(ask, only)


@operations.get(
    "/bill-runs/drafts", "Drafts that wait for approval, the oldest first.",
    shapes.record(drafts=shapes.listed(shapes.of(bill_runs.DraftRow))),
    Parameter("state", "Those that wait, or were rejected.", choices=("waiting", "rejected")),
    Parameter("after", "The id to go on after."), _LIMIT,
)  # fmt: skip
async def drafts(ask: Ask) -> Answer:
    """A page of them."""
    state = ask.text("state") or draft_rows.WAITING
    async with ask.panel.workplace.reading() as connection:
        found = await bill_runs.draft_list(
            connection, state, after=ask.text("after"), limit=ask.count("limit")
        )
    return {"drafts": found}


@operations.post(
    "/bill-runs/drafts/approve", "Issue all that waits and was drafted by an instant.", _APPROVED,
    Parameter("seen_until", "When you looked: newer drafts wait on.", Kind.INSTANT, required=True),
    Parameter("entity", "Of one legal entity alone; house: the house's own."),
)  # fmt: skip
async def approve_many(ask: Ask) -> Answer:
    """Answers when all are issued; cut short, the same again goes on."""
    panel, entity = ask.panel, ask.text("entity")
    done = await approve_drafts(
        panel.workplace, panel.usage, seen_until=ask.values["seen_until"], actor=ask.actor,
        entity_id=None if not entity else "" if entity == "house" else entity, settings=panel.billing,
        sealer=panel.sealer,
    )  # fmt: skip
    return _told(granted(done))


@operations.post("/bill-runs/drafts/{draft_id}/approve", "Issue the invoice of a draft.", _APPROVED, _DRAFT)
async def approve_one(ask: Ask) -> Answer:
    """Once; what would say something else by now is drafted anew and waits."""
    panel = ask.panel
    done = await approve_draft(
        panel.workplace, panel.usage, ask.text("draft_id"), actor=ask.actor, settings=panel.billing,
        sealer=panel.sealer,
    )  # fmt: skip
    return _told(granted(done))


def _told(done: Approved) -> dict[str, Any]:
    return {
        "numbers": list(done.numbers), "changed": list(done.changed), "gone": list(done.gone),
        "failed": [{"account_id": one.account_id, "reason": one.reason} for one in done.failed],
        "already": done.already,
    }  # fmt: skip


@operations.post(
    "/bill-runs/drafts/{draft_id}/reject", "Keep a draft from becoming an invoice.",
    shapes.record(state=shapes.TEXT), _DRAFT, Parameter("reason", "What is wrong with it.", required=True),
)  # fmt: skip
async def reject(ask: Ask) -> Answer:
    """Its account is passed over until it is drafted again."""

    async def act(work: Work) -> None:
        refusal = await reject_draft(work, draft_id=ask.text("draft_id"), reason=ask.text("reason"))
        if refusal is not None:
            raise Refused(refusal)

    await ask.panel.workplace.carry_out(ask.actor, act)
    return {"state": draft_rows.REJECTED}


@operations.post("/bill-runs/drafts/{draft_id}/again", "Draft an account anew.", _RAN, _DRAFT)
async def again(ask: Ask) -> Answer:
    """What waits or was rejected is let go, and its account drafted."""

    async def act(work: Work) -> list[str]:
        return granted(await draft_again(work, draft_id=ask.text("draft_id")))

    return await _run(ask, await ask.panel.workplace.carry_out(ask.actor, act))
