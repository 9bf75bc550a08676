"""Taxes: the rules by place with their history, tables of rates, and what an address pays."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields as fields_of
from datetime import date
from decimal import Decimal, InvalidOperation

from aiohttp import web

from billing.domain.taxes.decide import TaxDecision
from billing.domain.taxes.place import Place
from billing.domain.taxes.rule import Effect, Method, RoundedPer, Rounding, TaxRule
from billing.store import tax_rows
from billing.taxes.define_rule import define_tax_rule, end_tax_rule, withdraw_tax_rule
from billing.taxes.import_rules import RuleImport, import_tax_rules
from billing.taxes.read_rule import FIELDS, read_rule, rule_texts
from billing.taxes.set_engine import tax_engine_terms
from billing.taxes.try_address import TaxQuestion, try_address
from core.refusal import Refusal
from core.work import Work
from ui.permissions import Permission
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
_SHOWN = 200
_EXPORTED = 50_000
_TABLE_BODY = 8 * 2**20
EFFECTS = ((Effect.TAX.value, "A tax: owed to the authority"), (Effect.SURCHARGE.value, "A surcharge: ours"))
METHODS = (
    (Method.PERCENT.value, "A percentage"),
    (Method.PER_LINE.value, "A fixed amount a line"),
    (Method.PER_UNIT.value, "A fixed amount a unit"),
)
ROUNDINGS = (
    (Rounding.HALF_UP.value, "Half up"),
    (Rounding.HALF_EVEN.value, "Half to even"),
    (Rounding.DOWN.value, "Down"),
    (Rounding.UP.value, "Up"),
)
PER = ((RoundedPer.INVOICE.value, "Once an invoice"), (RoundedPer.LINE.value, "Line by line"))
_TRY_DEFAULTS = {"try_class": "internet", "try_kind": "recurring", "try_quantity": "1"}


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule as the table of rates has it: what is exported can be imported."""

    name: str
    effect: str
    country: str
    region: str
    county: str
    city: str
    district: str
    postal_codes: str
    authority: str
    classes: str
    kinds: str
    percent: str
    method: str
    amount: str
    currency: str
    share: str
    on_top_of: str
    taxable: str
    rounding: str
    rounded_per: str
    valid_from: str
    valid_until: str


if (
    tuple(one.name for one in fields_of(RuleRow)) != FIELDS
):  # pragma: no cover - a slip of whoever adds a field
    raise RuntimeError("the exported table of rates has other columns than the imported one")


@routes.get("/taxes", Permission.LOOK)
async def taxes(visit: Visit) -> web.StreamResponse:
    """The rules that hold now or later, and an address to try."""
    return await _list_page(visit, Form())


async def _list_page(visit: Visit, form: Form, status: int = 200) -> web.StreamResponse:
    past, text = visit.query("past") == "yes", visit.query("text")
    today = _today(visit)
    limit = _EXPORTED if visit.wants_csv else _SHOWN + 1
    async with visit.reading() as connection:
        rules = await tax_rows.list_rules(
            connection, since=None if past or visit.wants_csv else today, text=text, limit=limit
        )
        engine = await tax_engine_terms(connection)
    if visit.wants_csv:
        return csv_file("tax-rules", RuleRow, [RuleRow(**rule_texts(one)) for one in rules])
    usual = {**_TRY_DEFAULTS, "try_currency": visit.panel.billing.currency, "try_on": today.isoformat()}
    tried = Form({**usual, **_asked(visit)})
    decided = await _tried(visit, tried) if visit.query("try_price") else None
    return visit.page(
        "taxes.html", rules=rules[:_SHOWN], more=len(rules) > _SHOWN, today=today, past=past, text=text,
        engine=engine, tried=tried, decided=decided, form=form, status=status,
    )  # fmt: skip


def _asked(visit: Visit) -> dict[str, str]:
    return {name: visit.query(name) for name in visit.request.query if name.startswith("try_")}


async def _tried(visit: Visit, form: Form) -> TaxDecision | None:
    currency = (form.optional("try_currency", longest=3) or visit.panel.billing.currency).upper()
    price = form.amount("try_price", currency, zero=True)
    on = form.optional_date("try_on") or _today(visit)
    quantity = _quantity(form)
    country = (form.optional("try_country", longest=2) or "US").upper()
    region, county, city, code = (
        form.optional(f"try_{name}", longest=100) for name in ("region", "county", "city", "postal_code")
    )
    question = TaxQuestion(
        Place(country, region, county, city, code), on, price, currency,
        form.optional("try_class", longest=40) or "internet",
        form.optional("try_kind", longest=40) or "recurring", form.flag("try_inclusive"), quantity,
        form.optional("try_account", longest=40),
    )  # fmt: skip
    if not form.ok:
        return None
    async with visit.reading() as connection:
        decided = await try_address(connection, question)
    if isinstance(decided, Refusal):
        form.blame(f"try_{decided.field}" if decided.field else "", decided.message)
        return None
    return decided


def _quantity(form: Form) -> Decimal:
    try:
        quantity = Decimal(form.optional("try_quantity", longest=12) or "1")
    except InvalidOperation:
        quantity = Decimal("NaN")
    if not quantity.is_finite() or abs(quantity) > 10**6:
        form.blame("try_quantity", "must be a number like 1 or 20")
        return Decimal(1)
    return quantity


@routes.get("/taxes/new", Permission.MONEY)
async def new_rule(visit: Visit) -> web.StreamResponse:
    """The form for a rule; ``from`` fills in another one that it follows."""
    preset = {"country": "US", "classes": "internet", "valid_from": _today(visit).isoformat()}
    if visit.query("from"):
        async with visit.reading() as connection:
            found = await tax_rows.find_rule(connection, visit.query("from"))
        if found is not None:
            preset = rule_texts(found) | {"valid_from": _today(visit).isoformat(), "valid_until": ""}
    return await _form_page(visit, Form(preset))


@routes.post("/taxes/new", Permission.MONEY)
async def create_rule(visit: Visit) -> web.StreamResponse:
    """Define a rule; the one of the same name and place ends the day before."""
    form = await visit.form()
    rule = read_rule({name: form.optional(name, longest=2_000) or "" for name in FIELDS})
    if isinstance(rule, Refusal):
        form.refuse(rule)
    elif form.ok:
        made = await visit.attempt(form, lambda work: define_tax_rule(work, rule))
        if not isinstance(made, Refusal):
            return visit.see(f"/taxes/{made}", "created")
    return await _form_page(visit, form, status=422)


async def _form_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        names = [name for _, name in await tax_rows.rule_names(connection)][:50]
    return visit.page(
        "tax_rule_form.html", form=form, names=names, effects=EFFECTS, methods=METHODS, roundings=ROUNDINGS,
        per=PER, status=status,
    )  # fmt: skip


@routes.get("/taxes/import", Permission.MONEY)
async def show_import(visit: Visit) -> web.StreamResponse:
    """The upload form."""
    return _import_page(visit)


@routes.post("/taxes/import", Permission.MONEY, largest_body=_TABLE_BODY)
async def upload(visit: Visit) -> web.StreamResponse:
    """Import a table of rates whole, or nothing of it, with a report line by line."""
    posted = await visit.request.post()
    file, name = posted.get("file"), posted.get("name")
    if not isinstance(file, web.FileField) or not file.filename:
        return _import_page(visit, trouble="Choose a CSV file first.", status=422)
    try:
        text = file.file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        return _import_page(visit, trouble="The file is not UTF-8 text. Save it as CSV UTF-8.", status=422)
    reports: list[RuleImport] = []

    async def act(work: Work) -> None:
        reports.append(await import_tax_rules(work, text, name.strip() if isinstance(name, str) else ""))

    await visit.attempt(Form(), act)
    return _import_page(visit, report=reports[0], status=422 if reports[0].faults else 200)


def _import_page(
    visit: Visit, *, report: RuleImport | None = None, trouble: str = "", status: int = 200
) -> web.Response:
    return visit.page("tax_import.html", report=report, trouble=trouble, columns=FIELDS, status=status)


@routes.get("/taxes/{rule_id}", Permission.LOOK)
async def rule_page(visit: Visit) -> web.StreamResponse:
    """One rule, and every row ever written under its name."""
    return await _rule_page(visit, Form())


async def _rule_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    found, history = await _rule(visit)
    return visit.page(
        "tax_rule.html", rule=found, history=history, form=form, today=_today(visit), status=status
    )


@routes.post("/taxes/{rule_id}/end", Permission.MONEY)
async def end_rule(visit: Visit) -> web.StreamResponse:
    """The rule holds up to the day before."""
    form = await visit.form()
    found, _ = await _rule(visit)
    until = form.optional_date("valid_until")
    if until is None:
        form.blame("valid_until", "is missing: choose the first day without it")
    elif form.ok:
        done = await visit.attempt(form, lambda work: end_tax_rule(work, rule_id=found.id, valid_until=until))
        if not isinstance(done, Refusal):
            return visit.see(f"/taxes/{done}", "saved")
    return await _rule_page(visit, form, status=422)


@routes.post("/taxes/{rule_id}/withdraw", Permission.MONEY)
async def withdraw_rule(visit: Visit) -> web.StreamResponse:
    """The rule was a mistake."""
    form = await visit.form()
    found, _ = await _rule(visit)
    reason = form.text("reason")
    if form.ok:
        done = await visit.attempt(
            form, lambda work: withdraw_tax_rule(work, rule_id=found.id, reason=reason)
        )
        if not isinstance(done, Refusal):
            return visit.see("/taxes", "saved")
    return await _rule_page(visit, form, status=422)


async def _rule(visit: Visit) -> tuple[TaxRule, list[TaxRule]]:
    async with visit.reading() as connection:
        found = await tax_rows.find_rule(connection, visit.path("rule_id"))
        if found is None:
            raise missing()
        history = await tax_rows.history_of_rules(connection, found.jurisdiction.country, found.name)
    same = [one for one in history if one.jurisdiction == found.jurisdiction]
    return found, same[-_SHOWN:]


def _today(visit: Visit) -> date:
    return visit.panel.workplace.clock.now().date()
