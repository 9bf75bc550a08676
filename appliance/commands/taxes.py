"""Commands for taxes: rules with their days, tables of rates, certificates, and what an address pays."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.commands.running import (
    currency_or_house,
    day,
    fail,
    in_house,
    in_transaction,
    outcome_or_fail,
    read_secret,
    say,
    show,
    write_file,
)
from appliance.wiring import House
from billing.domain.taxes.place import Place
from billing.domain.taxes.rule import TaxRule, format_ppm
from billing.store import tax_rows
from billing.taxes.define_rule import define_tax_rule, end_tax_rule, withdraw_tax_rule
from billing.taxes.grant_exemption import LARGEST_SCAN, grant_exemption, withdraw_exemption
from billing.taxes.import_rules import import_tax_rules
from billing.taxes.read_rule import read_rule
from billing.taxes.set_engine import leave_tax_engine, open_tax_engine, set_tax_engine, tax_engine_terms
from billing.taxes.try_address import TaxQuestion, try_address
from core.money import format_money, parse_amount
from core.refusal import Refusal, Refused

taxes = typer.Typer(
    help="Taxes, surcharges and exemptions; what an address is taxed with.", no_args_is_help=True
)

_ISO = ["%Y-%m-%d"]
Region = Annotated[str | None, typer.Option(help="State or province.")]
County = Annotated[str | None, typer.Option(help="County, parish, district of a state.")]
City = Annotated[str | None, typer.Option(help="City.")]
_LARGEST_TABLE = 8 * 2**20


@taxes.command("add")
def tax_add(
    name: Annotated[str, typer.Argument(help="As it stands on invoices.")],
    percent: Annotated[str, typer.Option(help="Such as 7.25.")] = "",
    amount: Annotated[str, typer.Option(help="A fixed amount instead, such as 1.51.")] = "",
    method: Annotated[str, typer.Option(help="Of a fixed amount: per_line or per_unit.")] = "",
    currency: Annotated[str | None, typer.Option(help="Of a fixed amount; else the house's.")] = None,
    country: Annotated[str, typer.Option(help="ISO 3166 code.")] = "US",
    region: Region = None,
    county: County = None,
    city: City = None,
    district: Annotated[str | None, typer.Option(help="What lies in the postal codes.")] = None,
    postal_code: Annotated[
        list[str] | None, typer.Option(help="87501, 875* or 87501..87599; may be repeated.")
    ] = None,
    tax_class: Annotated[
        list[str] | None, typer.Option(help="What is taxed; may be repeated; all: everything. Else internet.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Lines of that kind alone, such as recurring.")
    ] = None,
    share: Annotated[str, typer.Option(help="The part of a line that is taxable, in percent.")] = "",
    on: Annotated[
        list[str] | None, typer.Option(help="A tax whose amount is taxed too; may be repeated.")
    ] = None,
    surcharge: Annotated[
        bool, typer.Option("--surcharge", help="Revenue of ours, not owed to anybody.")
    ] = False,
    taxable: Annotated[bool, typer.Option("--taxable", help="A surcharge that taxes are asked on.")] = False,
    authority: Annotated[str | None, typer.Option(help="Whom it is owed to; else the jurisdiction.")] = None,
    rounding: Annotated[str, typer.Option(help="half_up, half_even, down or up.")] = "half_up",
    rounded_per: Annotated[str, typer.Option(help="line or invoice.")] = "invoice",
    valid_from: Annotated[datetime | None, typer.Option(formats=_ISO, help="First day; else 2000.")] = None,
    valid_until: Annotated[datetime | None, typer.Option(formats=_ISO, help="First day without it.")] = None,
) -> None:
    """Define a tax or surcharge from a day on; one of the same name, place and class ends the day before."""
    classes = ["internet"] if not tax_class else [] if tax_class == ["all"] else tax_class
    first, last = day(valid_from, "--valid-from"), day(valid_until, "--valid-until")
    currency = currency_or_house(currency)
    rule = read_rule({
        "name": name, "percent": percent, "amount": amount, "method": method, "currency": currency,
        "country": country, "region": region or "", "county": county or "", "city": city or "",
        "district": district or "", "postal_codes": ";".join(postal_code or []), "classes": ";".join(classes),
        "kinds": ";".join(kind or []), "share": share, "on_top_of": ";".join(on or []),
        "effect": "surcharge" if surcharge else "tax", "taxable": "yes" if taxable else "",
        "authority": authority or "", "rounding": rounding, "rounded_per": rounded_per,
        "valid_from": str(first or ""), "valid_until": str(last or ""),
    })  # fmt: skip
    if isinstance(rule, Refusal):
        fail(f"--{(rule.field or '').replace('_', '-')}: {rule.message}", 2)

    made = in_transaction(lambda work, _: define_tax_rule(work, rule))
    where = rule.jurisdiction.code
    say(f"tax {rule.name}, {rule.rate_in_words()}, {where} from {rule.valid_from}: {made}")


@taxes.command("list")
def tax_list(
    country: Annotated[str | None, typer.Option(help="Of that country alone.")] = None,
    on: Annotated[datetime | None, typer.Option(formats=_ISO, help="Those that hold on that day.")] = None,
) -> None:
    """The rules that stand, past and coming ones too; with --on those that hold on a day."""
    then = day(on, "--on")

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rules = await tax_rows.tax_rules(connection, countries=None if country is None else [country])
        rules.sort(key=lambda one: (one.jurisdiction.code, one.name, one.valid_from))
        show("Tax rules", _COLUMNS, [_cells(one) for one in rules if then is None or one.in_force(then)])

    in_house(body)


_COLUMNS = ["jurisdiction", "name", "effect", "rate", "classes", "kinds", "on top of", "from", "until", "id"]


def _cells(rule: TaxRule) -> list[Any]:
    codes = rule.jurisdiction.postal_codes
    return [
        rule.jurisdiction.code + (f" ({', '.join(codes)})" if codes else ""), rule.name, rule.effect.value,
        rule.rate_in_words(), ", ".join(sorted(rule.tax_classes)) or "all",
        ", ".join(sorted(rule.line_kinds)) or "all", ", ".join(sorted(rule.on_top_of)), rule.valid_from,
        rule.valid_until, rule.id,
    ]  # fmt: skip


@taxes.command("history")
def tax_history(
    name: str, country: Annotated[str | None, typer.Option(help="In that country alone.")] = None
) -> None:
    """Every row ever written for a tax: what was known when."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await tax_rows.history_of_rules(connection, country, name)
        show(
            f"History of {name}",
            ["jurisdiction", "rate", "from", "until", "recorded", "withdrawn", "id"],
            [
                [one.jurisdiction.code, one.rate_in_words(), one.valid_from, one.valid_until, one.recorded_at,
                 one.withdrawn_at, one.id]
                for one in rows
            ],
        )  # fmt: skip

    in_house(body)


@taxes.command("end")
def tax_end(
    rule_id: Annotated[str, typer.Argument(help="Id from `tax list`.")],
    on: Annotated[datetime, typer.Argument(formats=_ISO, help="First day without it.")],
) -> None:
    """End a rule on a day."""
    last = day(on, "ON")

    in_transaction(lambda work, _: end_tax_rule(work, rule_id=rule_id, valid_until=last or on.date()))
    say(f"tax rule {rule_id}: ends on {last}")


@taxes.command("withdraw")
def tax_withdraw(
    rule_id: Annotated[str, typer.Argument(help="Id from `tax list`.")],
    reason: Annotated[str, typer.Option(help="Why it was a mistake.")],
) -> None:
    """Take a rule out that never should have been; issued invoices stay as they are."""

    in_transaction(lambda work, _: withdraw_tax_rule(work, rule_id=rule_id, reason=reason))
    say(f"tax rule {rule_id}: withdrawn")


@taxes.command("import")
def tax_import(
    file: Annotated[Path, typer.Argument(help="CSV with a header; see the operator's guide.")],
    name: Annotated[str, typer.Option(help="Name of the tax where a line has none.")] = "",
) -> None:
    """Import a table of rates, all lines or none; the same file again changes nothing."""
    try:
        if file.stat().st_size > _LARGEST_TABLE:
            fail(f"{file} is over 8 MB; split it", 2)
        text = file.read_text(encoding="utf-8-sig")
    except OSError as trouble:
        fail(f"{file} cannot be read: {trouble.strerror}", 2)
    except UnicodeDecodeError:
        fail(f"{file} is not UTF-8 text; save it as CSV UTF-8", 2)

    report = in_transaction(lambda work, _: import_tax_rules(work, text, name))
    if report.faults:
        for fault in report.faults:
            typer.echo(f"line {fault.line}, {fault.field}: {fault.message}", err=True)
        fail(f"nothing was imported: {len(report.faults)} faults")
    say(f"{report.created} tax rules imported, {report.unchanged} stood already")


@taxes.command("try")
def tax_try(
    price: Annotated[str, typer.Argument(help="Of one line, such as 49.00.")],
    on: Annotated[datetime | None, typer.Option(formats=_ISO, help="Tax day; else today.")] = None,
    country: Annotated[str, typer.Option(help="ISO 3166 code.")] = "US",
    region: Region = None,
    county: County = None,
    city: City = None,
    postal_code: Annotated[str | None, typer.Option(help="Postal code.")] = None,
    tax_class: Annotated[str, typer.Option(help="What is sold.")] = "internet",
    kind: Annotated[str, typer.Option(help="Kind of line.")] = "recurring",
    quantity: Annotated[str, typer.Option(help="Units on the line.")] = "1",
    inclusive: Annotated[bool, typer.Option("--inclusive", help="The price holds its taxes.")] = False,
    currency: Annotated[str | None, typer.Option(help="ISO 4217 code; else the house's.")] = None,
    account: Annotated[str | None, typer.Option(help="Whose certificates count.")] = None,
    engine: Annotated[bool, typer.Option("--engine", help="Ask the tax engine outside.")] = False,
) -> None:
    """What a line at an address would be taxed with on a day (else today)."""
    currency = currency_or_house(currency)
    try:
        minor, units = parse_amount(price, currency), Decimal(quantity)
    except (ValueError, InvalidOperation) as trouble:
        fail(f"PRICE, --quantity: {trouble}", 2)
    then = day(on, "--on")

    async def body(house: House) -> None:
        question = TaxQuestion(
            Place(country, region, county, city, postal_code),
            then or house.workplace.clock.now().date(), minor, currency, tax_class, kind, inclusive, units,
            account,
        )  # fmt: skip
        async with house.workplace.reading() as connection:
            asked = await open_tax_engine(connection, house.sealer, house.workplace.clock) if engine else None
            if engine and asked is None:
                fail("no tax engine is in use; set one with: hilltop tax engine-set")
            try:
                decided = outcome_or_fail(await try_address(connection, question, engine=asked))
            finally:
                if asked is not None:
                    await asked.close()
        say(f"net {format_money(decided.net_minor, currency)}")
        for tax in decided.taxes:
            amount = format_money(tax.amount_minor, currency)
            say(f"{tax.description}, {tax.jurisdiction}: {amount} ({tax.rule.rounding_in_words()})")
        for relief in decided.reliefs:
            say(f"{relief.rule.name}: exempt by certificate {relief.exemption.certificate}")
        say(f"with everything {format_money(decided.net_minor + decided.added_minor, currency)}")

    in_house(body)


@taxes.command("exempt")
def tax_exempt(
    account: Annotated[str, typer.Argument(help="Number or id of the account.")],
    certificate: Annotated[str, typer.Argument(help="Number of the certificate.")],
    valid_from: Annotated[datetime, typer.Argument(formats=_ISO, help="First day.")],
    until: Annotated[
        datetime | None, typer.Option(formats=_ISO, help="First day without it; none: for good.")
    ] = None,
    tax: Annotated[list[str] | None, typer.Option(help="Name of a tax; none: all; may be repeated.")] = None,
    authority: Annotated[list[str] | None, typer.Option(help="Authority or jurisdiction; none: all.")] = None,
    tax_class: Annotated[list[str] | None, typer.Option(help="What is sold; none: all.")] = None,
    share: Annotated[str, typer.Option(help="Exempt part in percent.")] = "100",
    note: Annotated[str | None, typer.Option(help="What the certificate says.")] = None,
    scan: Annotated[Path | None, typer.Option(help="Picture of it: PDF, PNG or JPEG, at most 2 MB.")] = None,
) -> None:
    """Free an account from taxes by certificate."""
    try:
        share_ppm = int(Decimal(share) * 10_000)
    except (InvalidOperation, ValueError, OverflowError):
        fail(f"--share {share!r}: write it like 50", 2)
    content = None if scan is None else _picture(scan)
    first, last = day(valid_from, "VALID_FROM"), day(until, "--until")

    made = in_transaction(
        lambda work, _: grant_exemption(
            work,
            account_id=account,
            certificate=certificate,
            valid_from=first or valid_from.date(),
            valid_until=last,
            taxes=tax or [],
            authorities=authority or [],
            tax_classes=tax_class or [],
            share_ppm=share_ppm,
            note=note,
            scan=content,
        )
    )
    say(f"account {account}: exempt by certificate {certificate}: {made}")


def _picture(path: Path) -> bytes:
    try:
        with path.open("rb") as opened:
            return opened.read(LARGEST_SCAN + 1)
    except OSError as trouble:
        fail(f"--scan {path} cannot be read: {trouble.strerror}", 2)


@taxes.command("exemptions")
def tax_exemptions(
    ending_before: Annotated[
        datetime | None, typer.Option(formats=_ISO, help="Those alone that end before that day.")
    ] = None,
) -> None:
    """Certificates that stand, those that end first at the top."""
    before: date | None = day(ending_before, "--ending-before")

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            lines = await tax_rows.list_exemptions(connection)
        show(
            "Exemptions",
            ["account", "name", "certificate", "taxes", "authorities", "classes", "share", "from", "until",
             "scan", "id"],
            [
                _exemption_cells(line)
                for line in lines
                if before is None or (line.exemption.valid_until or date.max) < before
            ],
        )  # fmt: skip

    in_house(body)


def _exemption_cells(line: tax_rows.ExemptionLine) -> list[Any]:
    one = line.exemption
    named = [", ".join(sorted(some)) or "all" for some in (one.taxes, one.authorities, one.tax_classes)]
    return [
        line.account_number, line.account_name, one.certificate, *named, format_ppm(one.share_ppm),
        one.valid_from, one.valid_until, line.has_scan, one.id,
    ]  # fmt: skip


@taxes.command("withdraw-exemption")
def tax_withdraw_exemption(
    exemption_id: Annotated[str, typer.Argument(help="Id from `tax exemptions`.")],
    reason: Annotated[str, typer.Option(help="Why.")],
) -> None:
    """Take back an exemption from now on."""

    in_transaction(lambda work, _: withdraw_exemption(work, exemption_id=exemption_id, reason=reason))
    say(f"exemption {exemption_id}: withdrawn")


@taxes.command("certificate")
def tax_certificate(
    exemption_id: Annotated[str, typer.Argument(help="Id from `tax exemptions`.")],
    output: Annotated[Path, typer.Option(help="Where to write its picture; -: standard output.")],
) -> None:
    """The picture of a certificate."""

    async def body(house: House) -> bytes:
        async with house.workplace.reading() as connection:
            found = await tax_rows.scan_of(connection, exemption_id)
        if found is None:
            raise Refused(Refusal("no_scan", f"no picture is kept for {exemption_id[:40]}", "exemption_id"))
        return found[1]

    write_file(output, in_house(body))


@taxes.command("engine")
def tax_engine() -> None:
    """Which tax engine outside is asked, if any."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            terms = await tax_engine_terms(connection)
        if terms is None or not terms.enabled:
            say("our own rules decide" + ("" if terms is None else f"; {terms.base_url} is not asked"))
        else:
            say(f"{terms.base_url} decides; it has {terms.timeout_s:g} s to answer")

    in_house(body)


@taxes.command("engine-set")
def tax_engine_set(
    base_url: Annotated[
        str, typer.Argument(help="Its https:// address; the contract is in docs/tax-engine.md.")
    ],
    token_file: Annotated[
        Path | None, typer.Option(help="File with its token (-: standard input); else typed unseen.")
    ] = None,
    timeout_s: Annotated[float, typer.Option(help="How long an answer may take.")] = 10.0,
) -> None:
    """Let a tax engine outside say all taxes; its token is sealed."""
    token = read_secret("token", token_file, again=False)

    in_transaction(
        lambda work, house: set_tax_engine(
            work, house.sealer, base_url=base_url, token=token, timeout_s=timeout_s
        )
    )
    say(f"taxes are said by {base_url} from now on")


@taxes.command("engine-leave")
def tax_engine_leave() -> None:
    """Let our own rules decide again."""

    in_transaction(lambda work, _: leave_tax_engine(work))
    say("our own rules decide from now on")
