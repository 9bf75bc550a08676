"""Where an amount comes from: from an invoice line down to the readings behind it, as a tree of data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.invoicing import format_ppm
from billing.domain.usage_parts import ClosedSpan, parse_closed
from billing.ports import UsageSource
from billing.store import invoice_rows
from core.money import format_money, minor_digits
from core.periods import Period
from core.quantities import format_octets
from core.refusal import Refusal

_ENDS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Explanation:
    """One step: a title, its figures in words, and the steps that it rests on."""

    title: str
    figures: tuple[tuple[str, str], ...] = ()
    because: tuple[Explanation, ...] = ()


async def explain_line(
    connection: AsyncConnection, usage: UsageSource, invoice_number: str, position: int
) -> Explanation | Refusal:
    """Line ``position`` of an invoice, its rated charge, closed usage, usage records and their readings."""
    invoice = await invoice_rows.find_invoice(connection, invoice_number)
    if invoice is None:
        return Refusal("unknown_invoice", f"there is no invoice {invoice_number}", "invoice")
    lines = await invoice_rows.lines_of(connection, invoice.id)
    line = next((one for one in lines if one.position == position), None)
    if line is None:
        message = f"invoice {invoice.number} has lines 1 to {len(lines)}, not {position}"
        return Refusal("unknown_line", message, "line")
    figures = [("kind", line.kind), ("description", line.description)]
    figures += [("quantity", line.quantity)] if line.quantity else []
    figures.append(("amount", format_money(line.amount_minor, invoice.currency)))
    figures += [("period", f"{line.period_start} up to {line.period_end} (end not included)")]
    return Explanation(
        f"Invoice {invoice.number}, line {position}",
        tuple(figures),
        tuple(await _reasons(connection, usage, line, invoice.currency)),
    )


async def _reasons(
    connection: AsyncConnection, usage: UsageSource, line: Row[Any], currency: str
) -> list[Explanation]:
    match line.kind:
        case "usage":
            charge = await invoice_rows.charge_of(connection, line.id)
            if charge is None:
                raise RuntimeError(f"usage line {line.id} has no rated charge")
            closed = await _closed(connection, usage, charge, line.explanation)
            return [_rated_charge(charge, line.explanation, currency), *closed]
        case "tax":
            return [_tax(line.explanation, currency)]
        case "surcharge":
            return [_tax(line.explanation, currency)]
        case "adjustment":
            charge = await invoice_rows.charge_of(connection, line.id)
            closed = [] if charge is None else await _closed(connection, usage, charge, line.explanation)
            return [_difference(line.explanation, currency), *closed]
        case "recurring" | "rental" if "rule" in line.explanation and "parts" not in line.explanation:
            return [_proration(line.explanation, currency)]
        case _:
            return [_tree("How it comes about", line.explanation)]


def _rated_charge(charge: Row[Any], why: Mapping[str, Any], currency: str) -> Explanation:
    figures = [("plan", f"{charge.code} version {charge.version} ({charge.name})")]
    figures += [
        ("counted", f"{why['metered']} of {_octets(why['octets_out'])} down, {_octets(why['octets_in'])} up")
    ]
    if "used_octets" in why:
        allowance, full = why["allowance_octets"], why.get("allowance_of_full_cycle_octets")
        included = "unlimited" if allowance is None else _octets(allowance)
        if allowance is not None and full is not None and allowance != full:
            included += f" (part of {_octets(full)} for a whole cycle)"
        figures += [
            ("used", _octets(why["used_octets"])), ("included", included),
            ("beyond it", _octets(why["overage_octets"])),
        ]  # fmt: skip
    figures += [
        (name.replace("_", " "), str(why[name]))
        for name in ("used_bps", "sample_seconds", "per", "zone", "rule")
        if name in why
    ]
    figures += [
        ("exact amount", _exact(why["exact_minor"], currency)),
        ("rounding", why["rounding"]),
        ("amount", format_money(charge.amount_minor, currency)),
    ]
    steps = [_step(number, one, currency) for number, one in enumerate(_steps(why), start=1)]
    steps += [_tree(f"Window {number}", one) for number, one in enumerate(why.get("windows", ()), start=1)]
    steps += [_tree(f"Class {one['class']}", one) for one in why.get("classes", ())]
    return Explanation(f"Rated charge {charge.id}, model {why['model']}", tuple(figures), tuple(steps))


def _steps(why: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    steps: Sequence[Mapping[str, Any]] = why.get("steps", why.get("tiers", ()))
    return steps


def _step(number: int, step: Mapping[str, Any], currency: str) -> Explanation:
    if {"octets", "from_octets", "minor_per_gb"} <= set(step):
        return Explanation(
            f"Tier {number}: {_octets(step['octets'])}, from {_octets(step['from_octets'])} of overage on",
            (
                ("price per GB", _exact(step["minor_per_gb"], currency)),
                ("exact amount", _exact(step["exact_minor"], currency)),
            ),
        )
    return _tree(f"Step {number}", step)


async def _closed(
    connection: AsyncConnection, usage: UsageSource, charge: Row[Any], why: Mapping[str, Any]
) -> list[Explanation]:
    return [
        _closed_usage(charge, one, await usage.evidence(connection, one.close_id))
        for one in _closes(charge, why)
    ]


def _closes(charge: Row[Any], why: Mapping[str, Any]) -> list[ClosedSpan]:
    if charge.closes is not None:
        return [parse_closed(one) for one in charge.closes]
    span = Period(charge.period_start, charge.period_end)
    return [
        ClosedSpan(
            charge.usage_close_id, span, charge.octets_in, charge.octets_out, why.get("usage_records"),
            why.get("usage_digest"),
        )
    ]  # fmt: skip


def _closed_usage(charge: Row[Any], close: ClosedSpan, evidence: Sequence[Any]) -> Explanation:
    figures = [
        ("service", charge.service_id),
        ("days", f"{close.span.start} up to {close.span.end} (end not included)"),
        ("from the subscriber", _octets(close.octets_in)),
        ("to the subscriber", _octets(close.octets_out)),
        ("records", str(len(evidence) if close.records is None else close.records)),
    ]
    figures += [("digest", close.digest)] if close.digest is not None else []
    records = tuple(_tree(f"Usage record {n}", one) for n, one in enumerate(evidence, start=1))
    return Explanation(f"Closed usage {close.close_id}", tuple(figures), records)


def _proration(why: Mapping[str, Any], currency: str) -> Explanation:
    return Explanation(
        f"Price of plan {why['plan']} version {why['plan_version']} by actual days",
        (
            ("price for a whole cycle", format_money(why["price_minor"], currency)),
            ("cycle", " up to ".join(why["cycle"])),
            ("charged", " up to ".join(why["part"])),
            ("days", f"{why['days']} of {why['of_days']}"),
            ("rule", why["rule"]),
            ("amount", format_money(why["amount_minor"], currency)),
        ),
    )


def _difference(why: Mapping[str, Any], currency: str) -> Explanation:
    return Explanation(
        "Difference between what is owed for the cycle and what was invoiced before",
        (
            ("owed", format_money(why["owed_minor"], currency)),
            ("invoiced before", format_money(why["already_invoiced_minor"], currency)),
            *_credited(why, currency),
            ("difference", format_money(why["amount_minor"], currency)),
        ),
        () if why["owed"] is None else (_owed(why, currency),),
    )


def _credited(why: Mapping[str, Any], currency: str) -> list[tuple[str, str]]:
    if "credited_minor" not in why:
        return []
    notes = ", ".join(why["credit_notes"])
    return [("given back before", f"{format_money(why['credited_minor'], currency)} by {notes}")]


def _owed(why: Mapping[str, Any], currency: str) -> Explanation:
    owed = {**why, **why["owed"]}
    is_prorated = "rule" in owed and "price_minor" in owed and "parts" not in owed
    return _proration(owed, currency) if is_prorated else _tree("Owed", why["owed"])


def _tax(why: Mapping[str, Any], currency: str) -> Explanation:
    return Explanation(
        f"{why['name']} of {why['jurisdiction']}",
        (
            ("rate", f"{why.get('rate') or format_ppm(why['rate_ppm'])}, valid from {why['valid_from']}"),
            ("class", why["tax_class"]),
            ("base", f"{format_money(why['base_minor'], currency)} (lines {_listed(why['lines'])})"),
            ("rule", why["rule"]),
            ("rounding", why["rounding"]),
            ("amount", format_money(why["amount_minor"], currency)),
        ),
    )


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _octets(octets: int) -> str:
    return f"{format_octets(octets)} ({octets} octets)"


def _exact(minor: str, currency: str) -> str:
    return f"{Decimal(minor).scaleb(-minor_digits(currency)):f} {currency}"


def _tree(title: str, evidence: Any) -> Explanation:
    """Evidence of another room, shown as it is: plain values become figures, what is nested becomes steps."""
    fields = asdict(evidence) if is_dataclass(evidence) and not isinstance(evidence, type) else dict(evidence)
    figures: list[tuple[str, str]] = []
    because: list[Explanation] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            because.append(_tree(name, value))
        elif isinstance(value, list | tuple) and all(_is_record(one) for one in value):
            because += [_tree(f"{name} {number}", one) for number, one in enumerate(value, start=1)]
        elif value is not None:
            figures.append((name, _plain(value)))
    return Explanation(title, tuple(figures), tuple(because))


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping) or is_dataclass(value)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def format_explanation(explanation: Explanation, *, ends_shown: int = _ENDS_SHOWN) -> str:
    """The tree as indented text. Of long lists the first and last ``ends_shown`` steps are written out."""
    return "\n".join(_lines(explanation, 0, ends_shown))


def _lines(explanation: Explanation, depth: int, ends_shown: int) -> Iterator[str]:
    indent = "   " * depth
    yield f"{indent}{explanation.title}"
    width = max((len(label) for label, _ in explanation.figures), default=0)
    for label, text in explanation.figures:
        yield f"{indent}   {label:<{width}}  {text}"
    steps = explanation.because
    hidden = len(steps) - 2 * ends_shown
    for number, step in enumerate(steps):
        if hidden > 0 and number == ends_shown:
            yield f"{indent}   … {hidden} more between …"
        if hidden <= 0 or number < ends_shown or number >= len(steps) - ends_shown:
            yield from _lines(step, depth + 1, ends_shown)
