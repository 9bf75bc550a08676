"""Tax rates, rules, exemptions and their certificates: rows to values and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, func, insert, or_, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.taxes.place import Jurisdiction
from billing.domain.taxes.rule import Effect, Exemption, Method, RoundedPer, Rounding, TaxRule
from billing.store.rows import insert_if_absent
from billing.store.tables import account, tax_certificate_scan, tax_engine, tax_exemption, tax_rule
from core.database import take_lane
from core.store.among import among


def _known(table: Table, as_of: datetime | None) -> ColumnElement[bool]:
    """What stood in the table at that instant; None: what stands in it now."""
    if as_of is None:
        return table.c.withdrawn_at.is_(None)
    later = or_(table.c.withdrawn_at.is_(None), table.c.withdrawn_at > as_of)
    return and_(table.c.recorded_at <= as_of, later)


async def tax_rules(
    connection: AsyncConnection, as_of: datetime | None = None, countries: Collection[str] | None = None
) -> list[TaxRule]:
    """The rules as they were known at ``as_of`` (None: now), of some countries or all."""
    query = select(tax_rule).where(_known(tax_rule, as_of))
    if countries is not None:
        query = query.where(tax_rule.c.country.in_(countries))
    return [_rule(row) for row in await connection.execute(query)]


async def list_rules(
    connection: AsyncConnection, *, since: date | None, text: str = "", limit: int
) -> list[TaxRule]:
    """Rules that stand and hold on ``since`` or later (None: ever), whose name or place has ``text``."""
    rule = tax_rule.c
    query = (
        select(tax_rule)
        .where(_known(tax_rule, None))
        .order_by(
            rule.country, func.coalesce(rule.region, ""), func.coalesce(rule.county, ""),
            func.coalesce(rule.city, ""), func.coalesce(rule.district, ""), rule.name, rule.valid_from,
            rule.id,
        )
        .limit(limit)
    )  # fmt: skip
    if since is not None:
        query = query.where(or_(rule.valid_until.is_(None), rule.valid_until > since))
    if text:
        named = (rule.name, rule.country, rule.region, rule.county, rule.city, rule.district, rule.authority)
        query = query.where(or_(*(column.icontains(text, autoescape=True) for column in named)))
    return [_rule(row) for row in await connection.execute(query)]


async def history_of_rules(connection: AsyncConnection, country: str | None, name: str) -> list[TaxRule]:
    """Every row ever written under a name (None: in any country), withdrawn too, as they were written."""
    query = (
        select(tax_rule)
        .where(tax_rule.c.name == name)
        .order_by(tax_rule.c.recorded_at, tax_rule.c.valid_from, tax_rule.c.id)
    )
    if country is not None:
        query = query.where(tax_rule.c.country == country)
    return [_rule(row) for row in await connection.execute(query)]


async def rule_names(connection: AsyncConnection) -> list[tuple[str, str]]:
    """``(country, name)`` of every rule that stands."""
    query = select(tax_rule.c.country, tax_rule.c.name).where(_known(tax_rule, None)).distinct()
    return sorted((row[0], row[1]) for row in await connection.execute(query))


async def find_rule(connection: AsyncConnection, rule_id: str) -> TaxRule | None:
    """The rule of that id, withdrawn or not."""
    row = (await connection.execute(select(tax_rule).where(tax_rule.c.id == rule_id))).one_or_none()
    return None if row is None else _rule(row)


async def rules_mark(connection: AsyncConnection) -> tuple[int, int]:
    """Differs as soon as a rule is written or withdrawn: how many rows there are, and how many stand."""
    rows = select(func.count()).select_from(tax_rule).scalar_subquery()
    standing = (
        select(func.count()).select_from(tax_rule).where(tax_rule.c.withdrawn_at.is_(None)).scalar_subquery()
    )
    row = (await connection.execute(select(rows, standing))).one()
    return int(row[0]), int(row[1])


async def take_lane_of_rules(connection: AsyncConnection) -> None:
    """Whoever changes rules does so alone until his transaction ends."""
    await take_lane(connection, "tax_rules")


@dataclass(frozen=True, slots=True)
class RuleToWrite:
    """A rule with the id of the row it was cut or copied from."""

    rule: TaxRule
    replaces_id: str | None = None


async def insert_rules(connection: AsyncConnection, rules: Sequence[RuleToWrite], recorded_by: str) -> None:
    """New rules; ``recorded_at`` is in each."""
    if rules:
        await connection.execute(
            insert(tax_rule),
            [{**_rule_values(one.rule), "replaces_id": one.replaces_id, "recorded_by": recorded_by[:80]}
             for one in rules],
        )  # fmt: skip


async def withdraw_rules(
    connection: AsyncConnection, rule_ids: Collection[str], at: datetime, by: str
) -> None:
    """From that instant on these rows are history."""
    ids = list(rule_ids)
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        await connection.execute(
            update(tax_rule)
            .where(tax_rule.c.id.in_(some), tax_rule.c.withdrawn_at.is_(None))
            .values(withdrawn_at=at, withdrawn_by=by[:80])
        )


def scope_of(rule: TaxRule) -> str:
    """Digest of what may stand only once from a day on: the name, its reach, its classes and kinds."""
    where = rule.jurisdiction
    reach = [
        rule.name, where.country, where.region, where.county, where.city, where.district,
        sorted(where.postal_codes), sorted(rule.tax_classes), sorted(rule.line_kinds),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(reach).encode()).hexdigest()


def _rule_values(rule: TaxRule) -> dict[str, Any]:
    where = rule.jurisdiction
    return {
        "id": rule.id, "scope": scope_of(rule), "name": rule.name, "effect": rule.effect.value,
        "country": where.country, "region": where.region, "county": where.county, "city": where.city,
        "district": where.district, "postal_codes": list(where.postal_codes), "authority": rule.authority,
        "tax_classes": sorted(rule.tax_classes), "line_kinds": sorted(rule.line_kinds),
        "method": rule.method.value, "rate_ppm": rule.rate_ppm, "unit_millionths": rule.unit_millionths,
        "currency": rule.currency, "share_ppm": rule.share_ppm, "on_top_of": sorted(rule.on_top_of),
        "taxable": rule.taxable, "rounding": rule.rounding.value, "rounded_per": rule.rounded_per.value,
        "valid_from": rule.valid_from, "valid_until": rule.valid_until, "recorded_at": rule.recorded_at,
    }  # fmt: skip


def _rule(row: Any) -> TaxRule:
    return TaxRule(
        row.id, row.name,
        Jurisdiction(
            row.country, row.region, row.county, row.city, row.district, tuple(row.postal_codes)
        ),
        row.valid_from, row.valid_until, Effect(row.effect), frozenset(row.tax_classes),
        frozenset(row.line_kinds), Method(row.method), row.rate_ppm, row.unit_millionths, row.currency,
        row.share_ppm, frozenset(row.on_top_of), row.taxable, Rounding(row.rounding),
        RoundedPer(row.rounded_per), row.authority, row.recorded_at, row.withdrawn_at,
    )  # fmt: skip


async def exemptions_of(
    connection: AsyncConnection, account_ids: Collection[str], as_of: datetime | None = None
) -> dict[str, list[Exemption]]:
    """The exemptions of accounts as they were known at ``as_of`` (None: now), by account."""
    query = (
        select(tax_exemption)
        .where(among(connection, tax_exemption.c.account_id, account_ids), _known(tax_exemption, as_of))
        .order_by(tax_exemption.c.account_id, tax_exemption.c.valid_from, tax_exemption.c.id)
    )
    found: dict[str, list[Exemption]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.account_id, []).append(_exemption(row))
    return found


async def find_exemption(connection: AsyncConnection, exemption_id: str) -> Exemption | None:
    """The exemption of that id, withdrawn or not."""
    query = select(tax_exemption).where(tax_exemption.c.id == exemption_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _exemption(row)


async def insert_exemption(connection: AsyncConnection, exemption: Exemption, recorded_by: str) -> None:
    """A new exemption."""
    values = {
        "id": exemption.id, "account_id": exemption.account_id, "certificate": exemption.certificate,
        "taxes": sorted(exemption.taxes), "authorities": sorted(exemption.authorities),
        "tax_classes": sorted(exemption.tax_classes), "share_ppm": exemption.share_ppm,
        "issued_on": exemption.issued_on, "valid_from": exemption.valid_from,
        "valid_until": exemption.valid_until, "note": exemption.note,
        "recorded_at": exemption.recorded_at, "recorded_by": recorded_by[:80],
    }  # fmt: skip
    await connection.execute(insert(tax_exemption).values(values))


async def withdraw_exemption(
    connection: AsyncConnection, exemption_id: str, at: datetime, by: str, because: str
) -> bool:
    """From that instant on the exemption is history; False when it is already."""
    changed = await connection.execute(
        update(tax_exemption)
        .where(tax_exemption.c.id == exemption_id, tax_exemption.c.withdrawn_at.is_(None))
        .values(withdrawn_at=at, withdrawn_by=by[:80], withdrawn_because=because)
    )
    return changed.rowcount == 1


@dataclass(frozen=True, slots=True)
class ExemptionLine:
    """An exemption for a list: whose it is, and whether a scan of the certificate is kept."""

    exemption: Exemption
    account_number: str
    account_name: str
    has_scan: bool


async def list_exemptions(connection: AsyncConnection, account_id: str | None = None) -> list[ExemptionLine]:
    """The exemptions that stand, of one account or all, those that end first before the others."""
    scan = tax_certificate_scan
    query = (
        select(tax_exemption, account.c.number, account.c.name, scan.c.exemption_id.label("scan"))
        .join(account, account.c.id == tax_exemption.c.account_id)
        .outerjoin(scan, scan.c.exemption_id == tax_exemption.c.id)
        .where(_known(tax_exemption, None))
        .order_by(
            tax_exemption.c.valid_until.is_(None), tax_exemption.c.valid_until, account.c.number,
            tax_exemption.c.id,
        )
    )  # fmt: skip
    if account_id is not None:
        query = query.where(tax_exemption.c.account_id == account_id)
    return [
        ExemptionLine(_exemption(row), row.number, row.name, row.scan is not None)
        for row in await connection.execute(query)
    ]


def _exemption(row: Any) -> Exemption:
    return Exemption(
        row.id, row.account_id, row.certificate, row.valid_from, row.valid_until, frozenset(row.taxes),
        frozenset(row.authorities), frozenset(row.tax_classes), row.share_ppm, row.issued_on, row.note,
        row.recorded_at, row.withdrawn_at,
    )  # fmt: skip


async def insert_scan(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """The picture of a certificate."""
    await connection.execute(insert(tax_certificate_scan).values(**values))


async def scan_of(connection: AsyncConnection, exemption_id: str) -> tuple[str, bytes] | None:
    """``(media type, octets)`` of the certificate's picture."""
    scan = tax_certificate_scan.c
    query = select(scan.media_type, scan.content).where(scan.exemption_id == exemption_id)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row.media_type, row.content)


_ENGINE = "outside"


async def engine(connection: AsyncConnection) -> Row[Any] | None:
    """The row of the engine outside."""
    query = select(tax_engine).where(tax_engine.c.name == _ENGINE)
    return (await connection.execute(query)).one_or_none()


async def set_engine(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """The engine from now on."""
    if not await insert_if_absent(connection, tax_engine, {"name": _ENGINE, **values}):
        await connection.execute(update(tax_engine).where(tax_engine.c.name == _ENGINE).values(**values))


async def disable_engine(connection: AsyncConnection, at: datetime, by: str) -> bool:
    """The engine is asked no more; False when it was not."""
    changed = await connection.execute(
        update(tax_engine)
        .where(tax_engine.c.name == _ENGINE, tax_engine.c.enabled)
        .values(enabled=False, changed_at=at, changed_by=by[:80])
    )
    return changed.rowcount == 1
