"""What programs may ask of subscriptions: what is sold and runs, orders and previews, charges, credit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from billing.catalogue.offer_file import offer_as_json
from billing.domain.invoicing import InvoiceDraft
from billing.invoicing.add_charge import add_charge, withdraw_charge
from billing.invoicing.credit_note import issue_credit_note
from billing.invoicing.invoice_now import invoice_now
from billing.store import charge_rows, plan_rows
from billing.subscriptions.order_change import KINDS, Order, carry_out
from billing.subscriptions.preview_order import preview_order
from billing.subscriptions.subscribe import MOST_OF_ONE, subscribe
from billing.taxes.set_engine import asked_tax_engine
from core.refusal import Refusal, Refused, granted
from core.work import Work
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.api.named import account_and_currency, account_named, minor_units
from ui.read import subscriber, subscriptions

operations = Operations()

_ACCOUNT = Parameter("account", "Number or id of the account.", required=True)
_LIMIT = Parameter("limit", "How many at most.", Kind.COUNT, default=50, at_least=1)
_SUBSCRIPTION = Parameter("subscription_id", "Its id (sub_…).", in_path=True, required=True)
_DAY = shapes.of(date)
_DRAFT = shapes.maybe(
    shapes.record(
        cycle_start=_DAY, cycle_end=_DAY, issued_on=_DAY, net_minor=shapes.WHOLE, tax_minor=shapes.WHOLE,
        lines=shapes.listed(
            shapes.record(kind=shapes.TEXT, description=shapes.TEXT, amount_minor=shapes.WHOLE)
        ),
    )
)  # fmt: skip
_ORDER = (
    _SUBSCRIPTION,
    Parameter("kind", "What is to happen.", required=True, choices=KINDS),
    Parameter("on", "From which day, past or to come; else today.", Kind.DAY),
    Parameter("at_period_end", "When the running cycle is over: yes.", choices=("yes",)),
    Parameter("plan_version", "Of another plan: the id of its version (pv_…)."),
    Parameter("quantity", "How many from then on.", Kind.COUNT, at_least=1, at_most=MOST_OF_ONE),
    Parameter("until", "When a pause ends by itself.", Kind.DAY),
    Parameter("change", "Which change is withdrawn (sch_…)."),
    Parameter("waive", "No fee for an early end: yes.", choices=("yes",)),
    Parameter("reason", "For the audit trail."),
)


@operations.get(
    "/plans", "Every plan version with all its items, as `hilltop plan define` reads them.",
    shapes.record(plans=shapes.listed(shapes.ANYTHING)),
)  # fmt: skip
async def plans(ask: Ask) -> Answer:
    """The catalogue."""
    async with ask.panel.workplace.reading() as connection:
        found = await plan_rows.plan_versions(connection)
    return {"plans": [{"id": one.id, "version": one.version, **offer_as_json(one)} for one in found.values()]}


@operations.get(
    "/subscriptions", "What an account subscribes to, newest first.",
    shapes.record(subscriptions=shapes.listed(shapes.of(subscriber.SubscriptionRow))), _ACCOUNT,
)  # fmt: skip
async def list_subscriptions(ask: Ask) -> Answer:
    """Past ones too."""
    async with ask.panel.workplace.reading() as connection:
        account_id = await account_named(connection, ask.text("account"))
        return {"subscriptions": await subscriber.subscriptions_of(connection, account_id)}


@operations.get(
    "/subscriptions/{subscription_id}", "How a subscription runs, its add-ons and every change of it.",
    shapes.record(
        id=shapes.TEXT, account=shapes.TEXT, plan_version=shapes.TEXT, quantity=shapes.WHOLE, starts_on=_DAY,
        ends_on=shapes.maybe(_DAY), contract_until=shapes.maybe(_DAY), paused=shapes.YES_OR_NO,
        phases=shapes.listed(shapes.of(subscriptions.PhaseRow)),
        changes=shapes.listed(shapes.of(subscriptions.ChangeRow)),
        addons=shapes.listed(shapes.of(subscriptions.AddonRow)),
    ),
    _SUBSCRIPTION,
)  # fmt: skip
async def show_subscription(ask: Ask) -> Answer:
    """As of now."""
    now = ask.panel.workplace.clock.now()
    async with ask.panel.workplace.reading() as connection:
        view = await subscriptions.subscription_view(connection, ask.text("subscription_id"), now)
    if view is None:
        raise Refused(Refusal("subscription.unknown", "there is no such subscription", "subscription_id"))
    return {
        "id": view.id, "account": view.account.number, "plan_version": view.offer.id,
        "quantity": view.quantity, "starts_on": view.starts_on, "ends_on": view.ends_on,
        "contract_until": view.contract_until, "paused": view.paused, "phases": view.phases,
        "changes": view.changes, "addons": view.addons,
    }  # fmt: skip


@operations.post(
    "/subscriptions", "Subscribe an account to an add-on or bundle, or a line without a plan to a plan.",
    shapes.record(id=shapes.TEXT), _ACCOUNT,
    Parameter("plan_version", "Id of the plan version (pv_…).", required=True),
    Parameter("service", "Id of the line (svc_…)."), Parameter("parent", "What an add-on goes with (sub_…)."),
    Parameter("quantity", "How many.", Kind.COUNT, default=1, at_least=1, at_most=MOST_OF_ONE),
    Parameter("starts_on", "From which day; else today.", Kind.DAY),
)  # fmt: skip
async def add_subscription(ask: Ask) -> Answer:
    """From a day on."""

    async def act(work: Work) -> str:
        account_id = await account_named(work.connection, ask.text("account"))
        return granted(
            await subscribe(
                work, account_id=account_id, service_id=ask.text("service") or None,
                plan_version_id=ask.text("plan_version"), starts_on=ask.day("starts_on"),
                quantity=ask.count("quantity"), parent_id=ask.text("parent") or None,
            )
        )  # fmt: skip

    return {"id": await ask.panel.workplace.carry_out(ask.actor, act)}


@operations.post(
    "/subscriptions/{subscription_id}/orders",
    "Change, pause, resume or end a subscription, or take a change back.",
    shapes.record(from_on=_DAY), *_ORDER,
)  # fmt: skip
async def order_change(ask: Ask) -> Answer:
    """The day from which it holds."""
    order = _order(ask)

    async def act(work: Work) -> date:
        return granted(await carry_out(work, ask.text("subscription_id"), order))

    return {"from_on": await ask.panel.workplace.carry_out(ask.actor, act)}


@operations.get(
    "/subscriptions/{subscription_id}/preview", "The invoice of its cycle without and with an order.",
    shapes.record(
        from_on=_DAY, difference_minor=shapes.WHOLE, without=_DRAFT, with_change=_DRAFT
    ),
    *_ORDER,
)  # fmt: skip
async def preview_change(ask: Ask) -> Answer:
    """Nothing is written."""
    panel = ask.panel
    async with asked_tax_engine(panel.workplace, panel.sealer) as engine:
        told = granted(
            await preview_order(
                panel.workplace, panel.usage, ask.text("subscription_id"), _order(ask), panel.billing,
                engine=engine,
            )
        )  # fmt: skip
    return {
        "from_on": told.from_on, "difference_minor": told.difference_minor,
        "without": _draft(told.without), "with_change": _draft(told.with_change),
    }  # fmt: skip


def _order(ask: Ask) -> Order:
    on, end = ask.day("on"), ask.text("at_period_end") == "yes"
    if on is not None and end:
        raise Refused(Refusal("on.twice", "give on or at_period_end, not both", "on"))
    quantity = ask.values.get("quantity")
    return Order(
        ask.text("kind"), "on" if on is not None else "period_end" if end else "now", on,
        ask.text("plan_version") or None, None if quantity is None else int(quantity), ask.day("until"),
        ask.text("change") or None, ask.text("reason"), ask.text("waive") == "yes",
    )  # fmt: skip


def _draft(draft: InvoiceDraft | None) -> Mapping[str, Any] | None:
    if draft is None:
        return None
    return {
        "cycle_start": draft.cycle.start, "cycle_end": draft.cycle.end, "issued_on": draft.issued_on,
        "net_minor": draft.net_minor, "tax_minor": draft.tax_minor,
        "lines": [
            {"kind": one.kind, "description": one.description, "amount_minor": one.amount_minor}
            for one in draft.lines
        ],
    }  # fmt: skip


@operations.get(
    "/charges", "One-off charges of an account, newest first, with what became of each.",
    shapes.record(charges=shapes.listed(shapes.of(charge_rows.ListedCharge))), _ACCOUNT, _LIMIT,
)  # fmt: skip
async def charges(ask: Ask) -> Answer:
    """Waiting, billed and withdrawn ones."""
    async with ask.panel.workplace.reading() as connection:
        account_id = await account_named(connection, ask.text("account"))
        return {"charges": await charge_rows.list_charges(connection, account_id, limit=ask.count("limit"))}


@operations.post(
    "/charges", "Put a charge, or a credit, on an account's next invoice.", shapes.record(id=shapes.TEXT),
    _ACCOUNT, Parameter("description", "As it stands on the invoice.", required=True),
    Parameter("amount", "Like 25.00; -25.00 is a credit.", required=True),
    Parameter("key", "Your id of the event: the same again charges nothing.", required=True),
    Parameter("kind", "One word, such as visit; else charge."),
    Parameter("tax_class", "What is taxed so; else fee."),
    Parameter("tax_included", "The amount holds its tax: yes.", choices=("yes",)),
    Parameter("subscription", "What it is for (sub_…)."),
    Parameter("bill_from", "On no invoice before that day.", Kind.DAY),
)  # fmt: skip
async def charge_once(ask: Ask) -> Answer:
    """Once for each key."""

    async def act(work: Work) -> str:
        account_id, currency = await account_and_currency(work.connection, ask.text("account"))
        typed = ask.text("amount")
        amount_minor = minor_units(typed.removeprefix("-"), currency)
        return granted(
            await add_charge(
                work, account_id=account_id, kind=ask.text("kind") or "charge",
                description=ask.text("description"),
                amount_minor=-amount_minor if typed.startswith("-") else amount_minor,
                tax_class=ask.text("tax_class") or "fee", tax_included=ask.text("tax_included") == "yes",
                revenue="fees", source=f"api:{ask.text('key')}"[:120],
                subscription_id=ask.text("subscription") or None, bill_from=ask.day("bill_from"),
            )
        )  # fmt: skip

    return {"id": await ask.panel.workplace.carry_out(ask.actor, act)}


@operations.post(
    "/charges/invoice", "Invoice an account's waiting one-off charges today; what recurs keeps its cycle.",
    shapes.record(id=shapes.TEXT, number=shapes.TEXT, total_minor=shapes.WHOLE), _ACCOUNT,
)  # fmt: skip
async def invoice_charges(ask: Ask) -> Answer:
    """Refused when nothing waits."""
    panel = ask.panel
    async with panel.workplace.reading() as connection:
        account_id = await account_named(connection, ask.text("account"))
    async with asked_tax_engine(panel.workplace, panel.sealer) as engine:
        issued = granted(
            await invoice_now(
                panel.workplace, account_id=account_id, actor=ask.actor, settings=panel.billing, engine=engine
            )
        )
    return {"id": issued.id, "number": issued.number, "total_minor": issued.draft.total_minor}


@operations.post(
    "/charges/{charge_id}/withdraw", "Take back a charge that no invoice has yet.",
    shapes.record(id=shapes.TEXT), Parameter("charge_id", "Its id (chg_…).", in_path=True, required=True),
    Parameter("reason", "Why; for the audit trail.", required=True),
)  # fmt: skip
async def withdraw_one(ask: Ask) -> Answer:
    """What is invoiced is credited instead."""

    async def act(work: Work) -> None:
        outcome = await withdraw_charge(work, charge_id=ask.text("charge_id"), reason=ask.text("reason"))
        if outcome is not None:
            raise Refused(outcome)

    await ask.panel.workplace.carry_out(ask.actor, act)
    return {"id": ask.text("charge_id")}


@operations.post(
    "/invoices/{invoice}/credit", "Issue a credit note for a line of an invoice, or all that is left of it.",
    shapes.record(id=shapes.TEXT, number=shapes.TEXT, total_minor=shapes.WHOLE, outcome=shapes.TEXT),
    Parameter("invoice", "Its id (inv_…).", in_path=True, required=True),
    Parameter("reason", "Why; the customer reads it.", required=True),
    Parameter("key", "Your id of the order: the same again credits nothing.", required=True),
    Parameter("line", "Position of the line; none: all of it.", Kind.COUNT, at_least=1, at_most=10_000),
    Parameter("amount_minor", "So much of the line, in minor units.", Kind.COUNT, at_most=10**12),
)  # fmt: skip
async def credit_invoice(ask: Ask) -> Answer:
    """Once for each key."""
    line, amount = ask.values.get("line"), ask.values.get("amount_minor")
    if (line is None) != (amount is None):
        raise Refused(Refusal("amount_minor.missing", "give line and amount_minor together", "amount_minor"))

    async def act(work: Work) -> Any:
        return granted(
            await issue_credit_note(
                work, invoice=ask.text("invoice"), reason=ask.text("reason"),
                source=f"api:{ask.text('key')}"[:100], settings=ask.panel.billing,
                amounts_minor=None if line is None else {int(line): int(amount or 0)},
            )
        )  # fmt: skip

    note = await ask.panel.workplace.carry_out(ask.actor, act)
    return {
        "id": note.id, "number": note.number, "total_minor": note.total_minor, "outcome": note.outcome
    }  # fmt: skip
