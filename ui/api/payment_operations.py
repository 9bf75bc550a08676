"""What programs may ask of payments through gateways, and charge."""

from __future__ import annotations

import asyncio

from billing.payments.gateways.charge_method import begin_charge, send_charge
from billing.payments.gateways.pay_link import pay_path
from core.refusal import Refusal, Refused, granted
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.api.named import account_named
from ui.read import gateways
from ui.read.gateways import AutopayView, ChargeView, MethodView

operations = Operations()

_ACCOUNT = Parameter("account", "Number or id of an account.", in_path=True, required=True)
_LONGEST_WAIT_S = 25.0


@operations.get(
    "/accounts/{account}/payment-methods",
    "Saved cards and bank accounts, and how the account pays by itself.",
    shapes.record(
        methods=shapes.listed(shapes.of(MethodView)), autopay=shapes.maybe(shapes.of(AutopayView)),
        save_path=shapes.TEXT, pay_paths=shapes.ANYTHING,
    ),
    _ACCOUNT,
)  # fmt: skip
async def payment_methods(ask: Ask) -> Answer:
    """With the paths of the links for the customer, behind the panel's or the portal's address."""
    sealer = ask.panel.sealer
    async with ask.panel.workplace.reading() as connection:
        account_id = await account_named(connection, ask.text("account"))
        invoices = await gateways.open_invoices(connection, account_id)
        return {
            "methods": await gateways.methods_of(connection, account_id),
            "autopay": await gateways.autopay_of(connection, account_id),
            "save_path": pay_path(sealer, account_id),
            "pay_paths": {one.number: pay_path(sealer, one.id) for one in invoices},
        }


@operations.get(
    "/accounts/{account}/charges", "Charges through gateways with every step, newest first.",
    shapes.record(charges=shapes.listed(shapes.of(ChargeView))),
    _ACCOUNT, Parameter("limit", "How many at most.", Kind.COUNT, default=50, at_least=1),
)  # fmt: skip
async def charges(ask: Ask) -> Answer:
    """Also those that were declined, with the reason."""
    async with ask.panel.workplace.reading() as connection:
        account_id = await account_named(connection, ask.text("account"))
        return {"charges": await gateways.charges_of(connection, account_id, ask.count("limit"))}


@operations.post(
    "/accounts/{account}/charges",
    "Charge a saved card now; its end may come later: state in_flight or unknown.",
    shapes.record(charge=shapes.of(ChargeView)),
    _ACCOUNT,
    Parameter(
        "amount_minor", "In minor units of the account's currency.", Kind.COUNT, required=True, at_least=1,
        at_most=10**12,
    ),
    Parameter("key", "Your id of this charge: the same again charges once.", required=True),
    Parameter("method", "Id of the card; else the account's default."),
)  # fmt: skip
async def charge(ask: Ask) -> Answer:
    """Once for each key."""
    panel, key = ask.panel, ask.text("key")
    if len(key) > 60:
        raise Refused(Refusal("key.long", "use at most 60 characters", "key"))
    async with panel.workplace.work(ask.actor) as work:
        account_id = await account_named(work.connection, ask.text("account"))
        charge_id = granted(
            await begin_charge(
                work, account_id=account_id, amount_minor=ask.count("amount_minor"), cause="operator",
                method_id=ask.text("method") or None, source_key=f"api:{account_id}:{key}",
            )
        )  # fmt: skip
    try:
        async with asyncio.timeout(_LONGEST_WAIT_S):
            await send_charge(panel.workplace, panel.gateways, panel.sealer, charge_id, panel.billing)
    except TimeoutError:
        pass  # it is looked up; the answer below says how far it has come
    async with panel.workplace.reading() as connection:
        (found,) = await gateways.charges_of(connection, account_id, 1, charge_id=charge_id)
    return {"charge": found}
