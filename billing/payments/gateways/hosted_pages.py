"""Pages of a gateway on which a customer types his card: to pay an invoice, or to have it saved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from billing.config import BillingSettings
from billing.domain.catalogue import Account
from billing.domain.gateway_charges import ChargeAnswer, ChargeState, look_again_at
from billing.payments.gateways.charge_method import new_key
from billing.payments.gateways.open_gateways import Gateways
from billing.payments.gateways.port import ChargeQuestion, GatewayError, HostedPage, PageWish
from billing.payments.gateways.record_answer import record_answer
from billing.payments.gateways.saved_methods import sync_methods
from billing.payments.gateways.set_autopay import set_autopay
from billing.store import account_rows, gateway_rows, invoice_rows
from core.refusal import Refusal, granted
from core.secrets import Sealer
from core.work import Work, Workplace

_OPEN_FOR = timedelta(hours=25)
"""Longer than any gateway keeps a page open (Stripe a day, Authorize.net a quarter of an hour)."""
_AT_MOST_AN_HOUR = 10


async def open_hosted_page(
    workplace: Workplace,
    gateways: Gateways,
    *,
    account_id: str,
    purpose: str,
    back_url: str,
    actor: str,
    name: str | None = None,
    invoice_id: str | None = None,
    autopay: bool = False,
) -> HostedPage | Refusal:
    """A page of the gateway ``name`` (None: the first that is set up) and where the browser goes.

    ``purpose`` is save, or pay, which wants an invoice with something open. ``autopay``: the customer asks
    for automatic payment with what he saves. Refusals: account, invoice, gateway; too_many in an hour;
    in_flight.
    """
    async with workplace.reading() as connection:
        rows = [one for one in await gateway_rows.all_gateways(connection) if one.enabled]
        chosen = next((one.name for one in rows if name in (None, one.name)), None)
        account = await account_rows.find_account(connection, account_id)
    if account is None:
        return Refusal("unknown_account", f"there is no account {account_id}", "account_id")
    if chosen is None:
        return Refusal("no_gateway", "no gateway is set up that takes cards", "gateway")
    try:
        customer = await _customer(workplace, gateways, chosen, account, actor)
        async with workplace.work(actor) as work:
            wish = await _wish(work, account, chosen, customer, purpose, invoice_id, autopay, back_url)
        if isinstance(wish, Refusal):
            return wish
        page = await (await gateways.of(chosen)).open_page(wish)
    except GatewayError as trouble:
        return Refusal("gateway_failed", f"{trouble}; try again in a while", "gateway")
    async with workplace.work(actor) as work:
        found = await gateway_rows.find_page(work.connection, key=wish.key)
        if found is not None and page.reference:
            await gateway_rows.change_page(work.connection, found.id, {"reference": page.reference})
    return page


async def _customer(workplace: Workplace, gateways: Gateways, name: str, account: Account, actor: str) -> str:
    async with workplace.reading() as connection:
        found = await gateway_rows.customer_of(connection, name, account.id)
    if found is not None:
        return found
    made = await (await gateways.of(name)).open_customer(account.id, account.name, account.email)
    async with workplace.work(actor) as work:
        await gateway_rows.insert_customer(
            work.connection,
            {"gateway": name, "account_id": account.id, "reference": made, "created_at": work.now},
        )
        kept = await gateway_rows.customer_of(work.connection, name, account.id)
    return kept or made


async def _wish(  # noqa: PLR0917 - what a page is
    work: Work, account: Account, name: str, customer: str, purpose: str, invoice_id: str | None,
    autopay: bool, back_url: str,
) -> PageWish | Refusal:  # fmt: skip
    amount, title = None, f"Account {account.number}"
    if purpose == "pay":
        found = await invoice_rows.find_invoice(work.connection, invoice_id or "")
        if found is None or found.account_id != account.id or found.open_minor <= 0:
            return Refusal("nothing_open", "nothing of this invoice is open", "invoice_id")
        if await gateway_rows.charge_in_flight(work.connection, account.id) is not None:
            return Refusal(
                "in_flight", "a payment of this account is under way; wait for its end", "invoice_id"
            )
        amount, title = int(found.open_minor), f"Invoice {found.number}"
    since = work.now - timedelta(hours=1)
    if await gateway_rows.count_pages(work.connection, account.id, invoice_id, since) >= _AT_MOST_AN_HOUR:
        return Refusal("too_many", "this page was opened too often; try again in an hour", "account_id")
    key = new_key(work)
    await gateway_rows.insert_page(work.connection, {
        "id": work.ids.new("pag"), "key": key, "account_id": account.id, "gateway": name, "purpose": purpose,
        "amount_minor": amount, "currency": account.currency, "invoice_id": invoice_id, "autopay": autopay,
        "reference": None, "state": "open", "opened_at": work.now, "opened_by": work.actor,
        "look_at": look_again_at(work.now, 0), "looks": 0,
    })  # fmt: skip
    return PageWish(key, customer, purpose, account.currency, back_url, amount, title)


async def settle_page(
    workplace: Workplace,
    gateways: Gateways,
    sealer: Sealer,
    page: Any,
    *,
    settings: BillingSettings,
    actor: str,
) -> bool:
    """Ask the gateway what became of a page; True when it was used. Raises ``GatewayError``."""
    if page.purpose == "save":
        await sync_methods(
            workplace, gateways, sealer, name=page.gateway, account_id=page.account_id, actor=actor
        )
        async with workplace.work(actor) as work:
            return await _saved(work, page.id, settings)
    async with workplace.reading() as connection:
        customer = await gateway_rows.customer_of(connection, page.gateway, page.account_id)
    question = ChargeQuestion(page.key, customer, None, page.currency, page.opened_at)
    answer = await (await gateways.of(page.gateway)).look_up(question)
    if answer is None:
        return False
    async with workplace.work(actor) as work:
        return await record_page_payment(work, page.id, answer, told_by="page", settings=settings)


async def record_page_payment(
    work: Work, page_id: str, answer: ChargeAnswer, *, told_by: str, settings: BillingSettings
) -> bool:
    """A payment at a page becomes a charge of ours, once; a decline there is the customer's own affair."""
    page = await gateway_rows.find_page(work.connection, page_id=page_id)
    if page is None or answer.state not in (ChargeState.SUCCEEDED, ChargeState.IN_FLIGHT):
        return False
    await account_rows.lock_account(work.connection, page.account_id)
    source = f"page:{page.key}"
    charge_id = work.ids.new("chg")
    new = await gateway_rows.insert_charge(work.connection, {
        "id": charge_id, "key": page.key, "account_id": page.account_id, "gateway": page.gateway,
        "page_id": page.id, "invoice_id": page.invoice_id, "cause": "customer", "source_key": source,
        "amount_minor": page.amount_minor, "currency": page.currency, "begun_at": work.now,
        "begun_by": page.opened_by, "state": "sent", "state_at": work.now, "looks": 0,
    })  # fmt: skip
    if not new:
        charge_id = str((await gateway_rows.charge_with_source(work.connection, source)).id)  # type: ignore[union-attr]
    await record_answer(work, charge_id, answer, told_by=told_by, settings=settings)
    await gateway_rows.change_page(work.connection, page.id, {"state": "done", "look_at": None})
    return True


async def _saved(work: Work, page_id: str, settings: BillingSettings) -> bool:
    """Whether something was saved since the page was opened; then the page is done, once."""
    page = await gateway_rows.find_page(work.connection, page_id=page_id)
    if page is None or page.state != "open":
        return page is not None and page.state == "done"
    methods = await gateway_rows.methods_of(work.connection, page.account_id, name=page.gateway)
    newest = max(methods, key=lambda one: one.added_at, default=None)
    if newest is None or newest.added_at < page.opened_at:
        return False
    await gateway_rows.change_page(work.connection, page.id, {"state": "done", "look_at": None})
    if page.autopay:
        granted(
            await set_autopay(
                work, account_id=page.account_id, enabled=True, method_id=newest.id, settings=settings
            )
        )
    return True


async def settle_saved_pages(work: Work, name: str, account_id: str, settings: BillingSettings) -> None:
    """What a customer saved lately was saved at the pages that he has open."""
    for page in await gateway_rows.open_pages_of(work.connection, name, account_id):
        if page.purpose == "save":
            await _saved(work, page.id, settings)


async def expire_page(work: Work, page: Any) -> None:
    """Nobody can use the page any more."""
    if page.state == "open":
        await gateway_rows.change_page(work.connection, page.id, {"state": "expired", "look_at": None})


async def look_later(work: Work, page: Any) -> None:
    """Look at an open page again in growing pauses; after a day nobody can use it any more."""
    if work.now > page.opened_at + _OPEN_FOR:
        await expire_page(work, page)
        return
    looks = page.looks + 1
    values = {"looks": looks, "look_at": look_again_at(work.now, looks)}
    await gateway_rows.change_page(work.connection, page.id, values)
