"""What programs may ask of promotions: which there are, who uses them, redeem and end."""

from __future__ import annotations

from billing.catalogue.define_promotion import plain_code
from billing.store import promotion_rows
from billing.store.promotion_rows import PromotionUse
from billing.subscriptions.redeem_promotion import Redeemed, end_promotion, redeem_promotion
from core.refusal import granted
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter
from ui.api.named import account_named

operations = Operations()
_FIELDS = {
    "code": shapes.TEXT, "name": shapes.TEXT, "percent_ppm": shapes.maybe(shapes.WHOLE),
    "amount_minor": shapes.maybe(shapes.WHOLE), "currency": shapes.maybe(shapes.TEXT),
    "item_kinds": shapes.listed(shapes.TEXT), "item_codes": shapes.listed(shapes.TEXT),
    "plan_codes": shapes.listed(shapes.TEXT), "months": shapes.maybe(shapes.WHOLE),
    "periods": shapes.maybe(shapes.WHOLE), "redeem_from": shapes.maybe(shapes.TEXT),
    "redeem_until": shapes.maybe(shapes.TEXT), "max_uses": shapes.maybe(shapes.WHOLE),
    "new_only": shapes.YES_OR_NO, "referral_minor": shapes.maybe(shapes.WHOLE),
    "referred_minor": shapes.maybe(shapes.WHOLE), "uses": shapes.WHOLE,
    "withdrawn_at": shapes.maybe(shapes.INSTANT),
}  # fmt: skip


@operations.get(
    "/promotions", "Every promotion with the number of its uses, the newest first.",
    shapes.record(promotions=shapes.listed(shapes.record(**_FIELDS))),
)  # fmt: skip
async def promotions(ask: Ask) -> Answer:
    """Withdrawn ones too."""
    async with ask.panel.workplace.reading() as connection:
        rows = await promotion_rows.list_promotions(connection)
    return {"promotions": [{name: getattr(row, name) for name in _FIELDS} for row in rows]}


@operations.get(
    "/promotion-uses", "Who uses which promotion, the newest first.",
    shapes.record(uses=shapes.listed(shapes.of(PromotionUse))),
    Parameter("account", "Number or id of an account."), Parameter("code", "Of one promotion."),
    Parameter("limit", "How many at most.", Kind.COUNT, default=100, at_least=1),
)  # fmt: skip
async def uses(ask: Ask) -> Answer:
    """Ended ones too."""
    async with ask.panel.workplace.reading() as connection:
        account_id = await account_named(connection, ask.text("account")) if ask.text("account") else ""
        found = await promotion_rows.uses(
            connection, account_id=account_id, code=plain_code(ask.text("code")),
            limit=ask.count("limit"),
        )  # fmt: skip
    return {"uses": found}


@operations.post(
    "/promotions/{code}/redeem", "Give a promotion to an account; the same again changes nothing.",
    shapes.record(redeemed=shapes.of(Redeemed)),
    Parameter("code", "What the customer quotes.", in_path=True, required=True),
    Parameter("account", "Number or id of the account.", required=True),
    Parameter("subscription", "Its id; else the first that the promotion is for."),
    Parameter("from_on", "From this day on; else from what is not invoiced yet.", Kind.DAY),
    Parameter("referred_by", "Account that brought this one."),
)  # fmt: skip
async def redeem(ask: Ask) -> Answer:
    """Once for each account."""
    async with ask.panel.workplace.work(ask.actor) as work:
        account_id = await account_named(work.connection, ask.text("account"))
        return {
            "redeemed": granted(
                await redeem_promotion(
                    work, code=ask.text("code"), account_id=account_id,
                    subscription_id=ask.text("subscription") or None, from_on=ask.day("from_on"),
                    referred_by=ask.text("referred_by") or None,
                )
            )
        }  # fmt: skip


@operations.post(
    "/promotion-uses/{use_id}/end", "End a use of a promotion before its time.",
    shapes.record(ends_on=shapes.TEXT),
    Parameter("use_id", "Its id (use_…).", in_path=True, required=True),
    Parameter("reason", "Why.", required=True),
    Parameter("ends_on", "First day without it; else what is not invoiced yet.", Kind.DAY),
)  # fmt: skip
async def end(ask: Ask) -> Answer:
    """Periods that begin before that day keep what was taken off."""
    async with ask.panel.workplace.work(ask.actor) as work:
        day = granted(
            await end_promotion(
                work, use_id=ask.text("use_id"), reason=ask.text("reason"), ends_on=ask.day("ends_on")
            )
        )
    return {"ends_on": day.isoformat()}
