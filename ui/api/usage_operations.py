"""What programs may ask of allowances: what is used, what is capped, top-ups."""

from __future__ import annotations

from billing.rating.buy_top_up import TopUpReceipt
from billing.rating.running_items import subscription_of_service
from billing.rating.top_up_now import top_up_now
from billing.rating.usage_standing import UsageStanding, usage_standings
from core.refusal import Refusal, Refused, granted
from ui.api import shapes
from ui.api.declare import Answer, Ask, Operations, Parameter
from ui.api.named import account_named
from ui.read import services
from ui.read.allowances import QuotaEventRow, TopUpRow, quota_events_of, top_ups_of

operations = Operations()


@operations.get(
    "/accounts/{account}/usage",
    "What an account has used of what its plans include, its top-ups, alerts and caps.",
    shapes.record(
        usage=shapes.listed(shapes.of(UsageStanding)), top_ups=shapes.listed(shapes.of(TopUpRow)),
        events=shapes.listed(shapes.of(QuotaEventRow)),
    ),
    Parameter("account", "The account's number or id.", in_path=True, required=True),
)  # fmt: skip
async def usage(ask: Ask) -> Answer:
    """By usage so far."""
    async with ask.panel.workplace.reading() as connection:
        account_id = await account_named(connection, ask.text("account"))
        now = ask.panel.workplace.clock.now()
        return {
            "usage": await usage_standings(connection, ask.panel.usage, account_id, now),
            "top_ups": await top_ups_of(connection, account_id),
            "events": await quota_events_of(connection, account_id),
        }


@operations.post(
    "/services/{user}/top-ups",
    "Buy a top-up of a service's plan; the same key again buys nothing more.",
    shapes.record(receipt=shapes.of(TopUpReceipt)),
    Parameter("user", "User name, MAC, static address or id of the service.", in_path=True, required=True),
    Parameter("code", "The offer's code.", required=True),
    Parameter("key", "Your name of this purchase, such as a receipt number.", required=True),
)  # fmt: skip
async def buy(ask: Ask) -> Answer:
    """What it frees is free at once; the price comes with the next invoice."""
    user, code = ask.text("user"), ask.text("code")
    async with ask.panel.workplace.work(ask.actor) as work:
        service_id = await services.find_service(work.connection, user)
        if service_id is None:
            words = f"no service signs in as {user[:60]!r} or has it as id or address"
            raise Refused(Refusal("service.unknown_id", words, "user"))
        subscription_id = await subscription_of_service(work.connection, service_id, code, work.now)
        if subscription_id is None:
            raise Refused(Refusal("unknown_top_up", f"its plan offers no top-up {code[:40]!r}", "code"))
        receipt = granted(
            await top_up_now(
                work, ask.panel.usage, subscription_id=subscription_id, code=code,
                source=f"api:{ask.text('key')}"[:120], settings=ask.panel.billing,
            )
        )  # fmt: skip
    return {"receipt": receipt}
