"""One subscription: how it runs, what it charges, and orders for it, each previewed before it is given."""

from __future__ import annotations

from aiohttp import web

from billing.subscriptions.order_change import WHEN, Order, carry_out
from billing.subscriptions.preview_order import Consequence, preview_order
from billing.subscriptions.subscribe import MOST_OF_ONE, subscribe
from billing.taxes.set_engine import asked_tax_engine
from core.periods import local_date
from core.refusal import Refusal
from ui.permissions import Permission
from ui.read import subscriber, subscriptions
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

_WHEN_WORDS = [("now", "Today"), ("period_end", "When the running cycle is over"), ("on", "On the day below")]
_ORDERS = {
    "plan": "Another plan", "quantity": "Quantity", "pause": "Pause", "resume": "Resume", "end": "End",
    "withdraw": "Take a change back",
}  # fmt: skip
_CARRIED = (
    "kind", "when", "on", "plan_version_id", "quantity", "until", "change_id", "reason", "waive_early_end",
)  # fmt: skip


@routes.get("/subscriptions/{subscription_id}", Permission.LOOK)
async def show(visit: Visit) -> web.StreamResponse:
    """How it runs and ran, what it charges, every change of it."""
    view = await _view(visit)
    kinds = [one for one in _ORDERS.items() if one[0] != "withdraw"]
    return visit.page(
        "subscription.html", sub=view, account=view.account, kinds=kinds, offers=await _offers(visit, view)
    )


async def _view(visit: Visit) -> subscriptions.SubscriptionView:
    now = visit.panel.workplace.clock.now()
    async with visit.reading() as connection:
        found = await subscriptions.subscription_view(connection, visit.path("subscription_id"), now)
    if found is None:
        raise missing()
    return found


async def _offers(visit: Visit, view: subscriptions.SubscriptionView) -> list[tuple[str, str]]:
    async with visit.reading() as connection:
        found = await subscriptions.newest_offers(
            connection, view.account.currency, view.offer.kind, view.today
        )
    return [one for one in found if one[0] != view.offer.id]


@routes.get("/subscriptions/{subscription_id}/order", Permission.SUBSCRIBERS)
async def order_form(visit: Visit) -> web.StreamResponse:
    """The form of one kind of order."""
    kind = visit.query("kind")
    if kind not in _ORDERS:
        raise missing()
    return await _form(visit, Form({name: visit.query(name) for name in _CARRIED if visit.query(name)}))


async def _form(visit: Visit, form: Form, status: int = 200) -> web.Response:
    view, kind = await _view(visit), form.value("kind")
    return visit.page(
        "subscription_order_form.html", sub=view, account=view.account, form=form, kind=kind,
        words=_ORDERS.get(kind, "Change"), when=_WHEN_WORDS, offers=await _offers(visit, view),
        status=status,
    )  # fmt: skip


@routes.post("/subscriptions/{subscription_id}/order", Permission.SUBSCRIBERS)
async def order(visit: Visit) -> web.StreamResponse:
    """Shows what the order would do; with ``sure`` it is given."""
    form, subscription_id = await visit.form(), visit.path("subscription_id")
    view = await _view(visit)
    asked = _read_order(form)
    if asked.waive_early_end and not visit.may(Permission.MONEY):
        form.blame("waive_early_end", "is for who may move money: ask them, or leave the fee")
    if not form.ok:
        return await _form(visit, form, status=422)
    if form.flag("sure"):
        outcome = await visit.attempt(form, lambda work: carry_out(work, subscription_id, asked))
        if isinstance(outcome, Refusal):
            return await _form(visit, form, status=422)
        return visit.see(f"/subscriptions/{subscription_id}", "subscription_changed")
    told = await _preview(visit, subscription_id, asked)
    if isinstance(told, Refusal):
        form.refuse(told)
        return await _form(visit, form, status=422)
    return visit.page(
        "subscription_order.html", sub=view, account=view.account, order=asked, told=told,
        carried=[(name, form.value(name)) for name in _CARRIED if form.value(name)],
    )  # fmt: skip


async def _preview(visit: Visit, subscription_id: str, asked: Order) -> Consequence | Refusal:
    panel = visit.panel
    async with asked_tax_engine(panel.workplace, panel.sealer) as engine:
        return await preview_order(
            panel.workplace, panel.usage, subscription_id, asked, panel.billing, engine=engine
        )


def _read_order(form: Form) -> Order:
    kind = form.choice("kind", _ORDERS)
    when = form.choice("when", WHEN) if form.value("when") else "now"
    on = form.optional_date("on")
    if when == "on" and on is None and "on" not in form.faults:
        form.blame("on", "is missing: name the day")
    if on is not None and when != "on":  # or the order would be for today, whatever day was typed
        form.blame("on", "is typed but not chosen: choose “On the day below”, or empty it")
    return Order(
        kind,
        when,
        on,
        form.text("plan_version_id", longest=40) if kind == "plan" else None,
        form.integer("quantity", least=1, most=MOST_OF_ONE) if kind == "quantity" else None,
        form.optional_date("until") if kind == "pause" else None,
        form.text("change_id", longest=40) if kind == "withdraw" else None,
        form.optional("reason", longest=300) or "",
        form.flag("waive_early_end"),
    )


@routes.get("/subscribers/{account_id}/addons/new", Permission.SUBSCRIBERS)
async def new_addon(visit: Visit) -> web.StreamResponse:
    """The form for an add-on or a bundle."""
    return await _addon_form(visit, Form({"quantity": "1"}))


@routes.post("/subscribers/{account_id}/addons/new", Permission.SUBSCRIBERS)
async def add_addon(visit: Visit) -> web.StreamResponse:
    """Sells it from a day on."""
    form, account_id = await visit.form(), visit.path("account_id")
    version_id = form.text("plan_version_id", longest=40)
    parent_id = form.optional("parent_id", longest=40)
    quantity = form.integer("quantity", least=1, most=MOST_OF_ONE, default=1)
    starts_on = form.optional_date("starts_on")
    if not form.ok:
        return await _addon_form(visit, form, status=422)
    now = visit.panel.workplace.clock.now()
    async with visit.reading() as connection:
        parent = await subscriptions.subscription_view(connection, parent_id or "", now)
    made = await visit.attempt(
        form,
        lambda work: subscribe(
            work, account_id=account_id, service_id=None if parent is None else parent.service_id,
            plan_version_id=version_id, starts_on=starts_on, quantity=quantity, parent_id=parent_id,
        ),
    )  # fmt: skip
    if isinstance(made, Refusal):
        return await _addon_form(visit, form, status=422)
    return visit.see(f"/subscriptions/{made}", "subscribed")


async def _addon_form(visit: Visit, form: Form, status: int = 200) -> web.Response:
    now = visit.panel.workplace.clock.now()
    async with visit.reading() as connection:
        account = await subscriber.account_heading(connection, visit.path("account_id"))
        if account is None:
            raise missing()
        today = local_date(now, account.time_zone)
        offers = [
            *await subscriptions.newest_offers(connection, account.currency, "addon", today),
            *await subscriptions.newest_offers(connection, account.currency, "bundle", today),
        ]
        parents = await subscriptions.parents_of(connection, account.id, today)
    return visit.page(
        "addon_new.html", account=account, form=form, offers=offers, parents=parents, status=status
    )
