"""What programs may ask of taxes: the rules, what an address pays, certificates; and new rules."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from billing.domain.taxes.place import Place
from billing.domain.taxes.rule import Exemption, TaxRule
from billing.store import tax_rows
from billing.taxes.define_rule import define_tax_rule, end_tax_rule
from billing.taxes.grant_exemption import grant_exemption
from billing.taxes.read_rule import FIELDS, read_rule, rule_texts
from billing.taxes.try_address import TaxQuestion, try_address
from core.money import parse_amount
from core.refusal import Refusal, Refused, granted
from ui.api import shapes
from ui.api.declare import Answer, Ask, Kind, Operations, Parameter

operations = Operations()
_RULE = shapes.record(
    id=shapes.TEXT, recorded_at=shapes.INSTANT, **dict.fromkeys(FIELDS, shapes.TEXT),
)  # fmt: skip
_MEANING = {
    "name": "As it stands on invoices; a rule of that name and place ends the day before.",
    "effect": "tax (owed) or surcharge (ours).", "country": "ISO 3166 code.",
    "region": "State or province.", "county": "County.", "city": "City.",
    "district": "What lies in the postal codes.", "postal_codes": "87501; 875*; 87501..87599.",
    "authority": "Whom it is owed to; else the jurisdiction.", "classes": "Tax classes; none: everything.",
    "kinds": "Kinds of line; none: all.", "percent": "Like 7.25.", "method": "percent, per_line or per_unit.",
    "amount": "A fixed amount, like 1.51.", "currency": "Of a fixed amount.",
    "share": "Taxable share in percent.", "on_top_of": "Names of taxes in the base; semicolons between.",
    "taxable": "yes: a surcharge that taxes are asked on.", "rounding": "half_up, half_even, down or up.",
    "rounded_per": "line or invoice.", "valid_from": "First day.", "valid_until": "First day without it.",
}  # fmt: skip


def _shown(rule: TaxRule) -> dict[str, Any]:
    return {"id": rule.id, "recorded_at": rule.recorded_at, **rule_texts(rule)}


@operations.get(
    "/tax-rules", "Tax rules that stand, by place; with on those that hold on a day or later.",
    shapes.record(rules=shapes.listed(_RULE)),
    Parameter("text", "Part of a name or place."), Parameter("on", "A day, like 2026-03-31."),
    Parameter("limit", "How many at most.", Kind.COUNT, default=200, at_least=1, at_most=5_000),
)  # fmt: skip
async def tax_rules(ask: Ask) -> Answer:
    """As they are known now."""
    since = _day(ask, "on")
    async with ask.panel.workplace.reading() as connection:
        found = await tax_rows.list_rules(
            connection, since=since, text=ask.text("text"), limit=ask.count("limit")
        )
    return {"rules": [_shown(one) for one in found]}


@operations.post(
    "/tax-rules", "Define a tax or surcharge from a day on.", shapes.record(id=shapes.TEXT),
    *(Parameter(name, _MEANING[name], required=name in {"name", "country"}) for name in FIELDS),
)  # fmt: skip
async def define(ask: Ask) -> Answer:
    """As in the panel."""
    rule = granted(read_rule({name: ask.text(name) for name in FIELDS}))
    async with ask.panel.workplace.work(ask.actor) as work:
        return {"id": granted(await define_tax_rule(work, rule))}


@operations.post(
    "/tax-rules/{rule_id}/end", "End a tax rule on a day.", shapes.record(id=shapes.TEXT),
    Parameter("rule_id", "Its id (tax_…).", in_path=True, required=True),
    Parameter("valid_until", "First day without it.", required=True),
)  # fmt: skip
async def end(ask: Ask) -> Answer:
    """Answers the id of the row that says so."""
    until = _day(ask, "valid_until") or date.max
    async with ask.panel.workplace.work(ask.actor) as work:
        return {"id": granted(await end_tax_rule(work, rule_id=ask.text("rule_id"), valid_until=until))}


@operations.get(
    "/taxes/try", "What a line at an address is taxed with on a day, and why.",
    shapes.record(
        net_minor=shapes.WHOLE, taxes=shapes.listed(shapes.ANYTHING), gross_minor=shapes.WHOLE,
        exempt=shapes.listed(shapes.record(tax=shapes.TEXT, certificate=shapes.TEXT)),
    ),
    Parameter("price", "Of the line, like 49.00.", required=True),
    Parameter("country", "ISO 3166 code.", required=True), Parameter("region", "State or province."),
    Parameter("county", "County."), Parameter("city", "City."), Parameter("postal_code", "Postal code."),
    Parameter("on", "The day, like 2026-03-31; else today."), Parameter("currency", "Else the house's."),
    Parameter("class", "Tax class; else internet."), Parameter("kind", "Kind of line; else recurring."),
    Parameter("quantity", "Units; else 1."), Parameter("account", "Whose certificates count."),
    Parameter("inclusive", "The price holds its taxes: yes.", choices=("yes",)),
    Parameter("as_of", "As the rules were known then.", Kind.INSTANT),
)  # fmt: skip
async def try_taxes(ask: Ask) -> Answer:
    """By the rules on record."""
    currency = (ask.text("currency") or ask.panel.billing.currency).upper()
    question = TaxQuestion(
        Place(ask.text("country").upper(), *(ask.text(name) or None for name in _PARTS)),
        _day(ask, "on") or ask.panel.workplace.clock.now().date(), _amount(ask, currency), currency,
        ask.text("class") or "internet", ask.text("kind") or "recurring", ask.text("inclusive") == "yes",
        _quantity(ask), ask.text("account") or None, ask.values["as_of"],
    )  # fmt: skip
    async with ask.panel.workplace.reading() as connection:
        decided = granted(await try_address(connection, question))
    return {
        "net_minor": decided.net_minor,
        "taxes": [one.explanation() for one in decided.taxes],
        "gross_minor": decided.net_minor + decided.added_minor,
        "exempt": [
            {"tax": one.rule.name, "certificate": one.exemption.certificate} for one in decided.reliefs
        ],
    }


_PARTS = ("region", "county", "city", "postal_code")


@operations.get(
    "/tax-exemptions", "Certificates that stand, those that end first before the others.",
    shapes.record(exemptions=shapes.listed(shapes.ANYTHING)),
    Parameter("account", "Id of an account; else of all."),
)  # fmt: skip
async def tax_exemptions(ask: Ask) -> Answer:
    """Without the pictures."""
    async with ask.panel.workplace.reading() as connection:
        lines = await tax_rows.list_exemptions(connection, ask.text("account") or None)
    return {
        "exemptions": [
            {"account": one.account_number, "has_scan": one.has_scan, **_exemption(one.exemption)}
            for one in lines
        ]
    }


def _exemption(one: Exemption) -> dict[str, Any]:
    return {
        "id": one.id, "certificate": one.certificate, "taxes": sorted(one.taxes),
        "authorities": sorted(one.authorities), "classes": sorted(one.tax_classes),
        "share_ppm": one.share_ppm, "valid_from": one.valid_from.isoformat(),
        "valid_until": None if one.valid_until is None else one.valid_until.isoformat(),
    }  # fmt: skip


@operations.post(
    "/tax-exemptions", "Free an account from taxes by certificate.", shapes.record(id=shapes.TEXT),
    Parameter("account", "Number or id.", required=True),
    Parameter("certificate", "Its number.", required=True),
    Parameter("valid_from", "First day.", required=True), Parameter("valid_until", "First day without it."),
    Parameter("taxes", "Names, semicolons between; none: all."),
    Parameter("authorities", "Authorities or jurisdictions; none: all."),
    Parameter("classes", "Tax classes; none: all."),
)  # fmt: skip
async def exempt(ask: Ask) -> Answer:
    """Wholly; a part is granted in the panel."""
    first = _day(ask, "valid_from") or date.max
    async with ask.panel.workplace.work(ask.actor) as work:
        made = granted(
            await grant_exemption(
                work, account_id=ask.text("account"), certificate=ask.text("certificate"), valid_from=first,
                valid_until=_day(ask, "valid_until"), taxes=_names(ask, "taxes"),
                authorities=_names(ask, "authorities"), tax_classes=_names(ask, "classes"),
            )
        )  # fmt: skip
    return {"id": made}


def _names(ask: Ask, name: str) -> list[str]:
    return [one.strip() for one in ask.text(name).split(";") if one.strip()]


def _day(ask: Ask, name: str) -> date | None:
    text = ask.text(name)
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise Refused(Refusal(f"{name}.malformed", "is not a date; write 2026-03-31", name)) from None


def _amount(ask: Ask, currency: str) -> int:
    try:
        return parse_amount(ask.text("price")[:20], currency)
    except ValueError as trouble:
        raise Refused(Refusal("price.malformed", str(trouble), "price")) from None


def _quantity(ask: Ask) -> Decimal:
    try:
        quantity = Decimal(ask.text("quantity")[:12] or "1")
    except InvalidOperation:
        quantity = Decimal("NaN")
    if not quantity.is_finite() or abs(quantity) > 10**6:
        raise Refused(Refusal("quantity.malformed", "must be a number like 1 or 20", "quantity"))
    return quantity
