"""Promotions and their uses: rows to values and back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import and_, exists, func, literal, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.owed import Promotion
from billing.store.rows import insert_if_absent
from billing.store.tables import (
    account,
    charge,
    invoice,
    payment,
    plan,
    plan_version,
    promotion,
    promotion_end,
    promotion_use,
    reversal,
    subscription,
)
from core.store.among import among


async def insert_promotion(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A new promotion; False when its code exists."""
    return await insert_if_absent(connection, promotion, values)


async def find_promotion(connection: AsyncConnection, code: str, *, lock: bool = False) -> Row[Any] | None:
    """The promotion of that code; ``lock``: held until the transaction ends, so that its uses are counted."""
    query = select(promotion).where(promotion.c.code == code)
    return (await connection.execute(query.with_for_update() if lock else query)).one_or_none()


async def list_promotions(connection: AsyncConnection) -> list[Row[Any]]:
    """Every promotion with the number of its ``uses``, the newest first."""
    used = (
        select(promotion_use.c.promotion_id, func.count().label("n"))
        .group_by(promotion_use.c.promotion_id)
        .subquery()
    )
    query = (
        select(promotion, func.coalesce(used.c.n, 0).label("uses"))
        .outerjoin(used, used.c.promotion_id == promotion.c.id)
        .order_by(promotion.c.created_at.desc(), promotion.c.code)
    )
    return list(await connection.execute(query))


async def withdraw_promotion(connection: AsyncConnection, promotion_id: str, at: datetime) -> None:
    """Nobody gets it any more; who uses it keeps it."""
    await connection.execute(update(promotion).where(promotion.c.id == promotion_id).values(withdrawn_at=at))


async def count_uses(connection: AsyncConnection, promotion_id: str) -> int:
    """How often it was redeemed."""
    query = select(func.count()).where(promotion_use.c.promotion_id == promotion_id)
    return int((await connection.execute(query)).scalar() or 0)


async def insert_use(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A use; False when the account has used that promotion."""
    return await insert_if_absent(connection, promotion_use, values)


async def use_of_account(connection: AsyncConnection, promotion_id: str, account_id: str) -> Row[Any] | None:
    """The account's use of the promotion."""
    query = select(promotion_use).where(
        promotion_use.c.promotion_id == promotion_id, promotion_use.c.account_id == account_id
    )
    return (await connection.execute(query)).one_or_none()


async def insert_end(connection: AsyncConnection, values: dict[str, Any]) -> bool:
    """A use ends before its time; False when it was ended."""
    return await insert_if_absent(connection, promotion_end, values)


@dataclass(frozen=True, slots=True)
class PromotionUse:
    """Who uses what. ``until_on``: exclusive, None for good or by periods; ``ended_on``: before its time."""

    id: str
    code: str
    name: str
    account_id: str
    account_number: str
    account_name: str
    subscription_id: str
    plan: str
    from_on: date
    until_on: date | None
    periods: int | None
    referred_by: str | None
    recorded_at: datetime
    recorded_by: str
    ended_on: date | None
    end_reason: str | None


async def uses(
    connection: AsyncConnection, *, account_id: str = "", code: str = "", use_id: str = "", limit: int = 200
) -> list[PromotionUse]:
    """Uses of an account or a promotion, the newest first."""
    use, brought = promotion_use.c, account.alias("brought")
    query = (
        select(
            use.id, promotion.c.code, promotion.c.name, account.c.id, account.c.number, account.c.name,
            use.subscription_id, plan.c.name, use.from_on, use.until_on, promotion.c.periods,
            brought.c.number, use.recorded_at, use.recorded_by, promotion_end.c.ends_on,
            promotion_end.c.reason,
        )
        .join(promotion, promotion.c.id == use.promotion_id)
        .join(account, account.c.id == use.account_id)
        .join(subscription, subscription.c.id == use.subscription_id)
        .join(plan_version, plan_version.c.id == subscription.c.plan_version_id)
        .join(plan, plan.c.id == plan_version.c.plan_id)
        .outerjoin(brought, brought.c.id == use.referred_by)
        .outerjoin(promotion_end, promotion_end.c.use_id == use.id)
        .order_by(use.recorded_at.desc(), use.id.desc())
        .limit(limit)
    )  # fmt: skip
    for column, wanted in (
        (use.account_id, account_id), (promotion.c.code, code), (use.id, use_id),
    ):  # fmt: skip
        if wanted:
            query = query.where(column == wanted)
    return [PromotionUse(*tuple(row)) for row in await connection.execute(query)]


# What a draft reads


async def promotions_of(
    connection: AsyncConnection, subscription_ids: Collection[str], as_of: datetime | None = None
) -> dict[str, list[Promotion]]:
    """What reduces the subscriptions' items, in the order in which it was given; ``as_of``: as known then."""
    use, terms = promotion_use.c, promotion.c
    known = promotion_end.c.use_id == use.id
    if as_of is not None:
        known = and_(known, promotion_end.c.recorded_at <= as_of)
    query = (
        select(
            use.subscription_id, terms.code, terms.name, terms.percent_ppm, terms.amount_minor,
            terms.item_kinds, use.from_on, use.until_on, terms.item_codes, terms.plan_codes, terms.periods,
            promotion_end.c.ends_on,
        )
        .join(promotion, terms.id == use.promotion_id)
        .outerjoin(promotion_end, known)
        .where(
            among(connection, use.subscription_id, subscription_ids),
            or_(terms.percent_ppm.is_not(None), terms.amount_minor.is_not(None)),
        )
        .order_by(use.recorded_at, use.id)
    )  # fmt: skip
    if as_of is not None:
        query = query.where(use.recorded_at <= as_of)
    found: dict[str, list[Promotion]] = {}
    for row in await connection.execute(query):
        until = min((day for day in (row[7], row[11]) if day is not None), default=None)
        if until is not None and until <= row[6]:
            continue
        used = Promotion(
            row[1],
            row[2],
            row[3],
            row[4],
            tuple(row[5]),
            row[6],
            until,
            tuple(row[8]),
            tuple(row[9]),
            row[10],
        )
        found.setdefault(row[0], []).append(used)
    return found


async def turns_of(
    connection: AsyncConnection, subscription_ids: Collection[str], as_of: datetime
) -> dict[str, list[tuple[date, datetime]]]:
    """By subscription, from which day a promotion was given or ended, and when that was written."""
    use = promotion_use.c
    given = select(use.subscription_id, use.from_on, use.recorded_at).where(
        among(connection, use.subscription_id, subscription_ids), use.recorded_at <= as_of
    )
    ended = (
        select(use.subscription_id, promotion_end.c.ends_on, promotion_end.c.recorded_at)
        .join(promotion_end, promotion_end.c.use_id == use.id)
        .where(among(connection, use.subscription_id, subscription_ids), promotion_end.c.recorded_at <= as_of)
    )
    found: dict[str, list[tuple[date, datetime]]] = {}
    for query in (given, ended):
        for row in await connection.execute(query):
            found.setdefault(row[0], []).append((row[1], row[2]))
    return found


# Referrals


@dataclass(frozen=True, slots=True)
class Side:
    """One who gains by a referral: ``by`` who brought, or ``brought``, whom.

    ``times``: charges made for it so far, a credit and each taking back; ``standing_minor``: their sum, below
    nothing while the credit stands.
    """

    name: str
    account_id: str
    account_number: str
    gift_minor: int
    times: int
    standing_minor: int


@dataclass(frozen=True, slots=True)
class Referral:
    """A use with something to give (``is_paid``), or to take back since its first invoice is open again."""

    use_id: str
    code: str
    is_paid: bool
    by: Side
    brought: Side


def referral_source(use_id: str, side: str, times: int = 0) -> str:
    """The name of a credit, or of taking it back: ``by`` for who brought, ``brought`` for whom."""
    base = f"referral:{use_id}:{side}"
    return f"{base}:{times}" if times else base


def _charged(use_id: Any, side: str, account_id: Any) -> tuple[Any, Any]:
    """How many charges there are of one side of a use, and the sum of those that were not withdrawn."""
    base = literal("referral:").concat(use_id).concat(f":{side}")
    mine = (charge.c.account_id == account_id) & or_(
        charge.c.source == base, charge.c.source.like(base.concat(":%"))
    )
    counted = select(func.count()).select_from(charge).where(mine).scalar_subquery()
    stands = charge.c.quoted_minor
    summed = select(func.coalesce(func.sum(stands), 0)).where(mine, charge.c.withdrawn_at.is_(None))
    return counted, summed.scalar_subquery()


async def referrals_due(connection: AsyncConnection, limit: int = 500) -> list[Referral]:
    """Referrals whose new customer has paid his first invoice (with something on it) and whose credit is due.

    And those whose credit stands though a payment was reversed and that invoice is open again.
    """
    use, terms = promotion_use.c, promotion.c
    by, brought = account.alias("by_whom"), account.alias("brought")
    first, earlier = invoice.alias("first_invoice"), invoice.alias("earlier")
    payer = func.coalesce(brought.c.payer_account_id, brought.c.id)
    before = exists().where(
        earlier.c.account_id == first.c.account_id, earlier.c.kind == "invoice", earlier.c.total_minor > 0,
        earlier.c.created_at < first.c.created_at, earlier.c.created_at >= brought.c.created_at,
    )  # fmt: skip
    of_first = (
        (first.c.account_id == payer) & (first.c.kind == "invoice") & (first.c.total_minor > 0)
        & (first.c.created_at >= brought.c.created_at) & ~before
    )  # fmt: skip
    paid = exists().where(of_first, first.c.status == "paid")
    taken = exists().where(payment.c.account_id == payer, reversal.c.payment_id == payment.c.id)
    reopened = and_(exists().where(of_first, first.c.open_minor > 0), taken)
    gift_by, gift_brought = func.coalesce(terms.referral_minor, 0), func.coalesce(terms.referred_minor, 0)
    times_by, stands_by = _charged(use.id, "by", by.c.id)
    times_brought, stands_brought = _charged(use.id, "brought", brought.c.id)
    gives = or_(
        and_(gift_by > 0, times_by % 2 == 0), and_(gift_brought > 0, times_brought % 2 == 0)
    ) & ~exists().where(promotion_end.c.use_id == use.id)
    query = (
        select(
            use.id, terms.code, paid, by.c.id, by.c.number, gift_by, times_by, stands_by, brought.c.id,
            brought.c.number, gift_brought, times_brought, stands_brought,
        )
        .join(promotion, terms.id == use.promotion_id)
        .join(by, by.c.id == use.referred_by)
        .join(brought, brought.c.id == use.account_id)
        .where(
            or_(terms.referral_minor > 0, terms.referred_minor > 0),
            or_(and_(paid, gives), and_(reopened, or_(stands_by < 0, stands_brought < 0))),
        )
        .order_by(use.recorded_at, use.id)
        .limit(limit)
    )  # fmt: skip
    return [
        Referral(
            row[0], row[1], bool(row[2]), Side("by", row[3], row[4], *(int(one) for one in row[5:8])),
            Side("brought", row[8], row[9], *(int(one) for one in row[10:13])),
        )
        for row in await connection.execute(query)
    ]  # fmt: skip
