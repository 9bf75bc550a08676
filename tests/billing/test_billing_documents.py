"""What people read: the invoice as HTML and PDF, the explanation of a line, the preview of the next invoice."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from billing_story import GB, Town, utc

from billing.config import BillingSettings, IssuerSettings
from billing.documents.printed import print_invoice
from billing.documents.render import InvoiceView, invoice_html, invoice_pdf, invoice_view
from billing.invoicing.explain import Explanation, explain_line, format_explanation
from billing.invoicing.preview_invoice import preview_invoice
from core.refusal import Refusal, granted

HOUSE = BillingSettings(
    issuer=IssuerSettings(
        name="High Mesa Wireless",
        address=["18 Mesa Road", "Taos, NM 87571"],
        email="billing@highmesa.example",
    )
)
HOSTILE = '<script>alert("x")</script> #panic("typst") $x$ \\u{0} {{ 7*7 }} *bold* @ref'


async def _town_with_two_invoices(town: Town, name: str = "Marisol Ortega") -> str:
    await town.tax()
    account_id = await town.account(name, street="412 Camino del Medio", city="Taos", postal_code="87571")
    plan = await town.plan(
        overage_tiers=[
            {"up_to_octets": 20 * GB, "minor_per_gb": "50"},
            {"up_to_octets": None, "minor_per_gb": "12.5"},
        ]
    )
    await town.subscription(account_id, plan, "2026-03-01")
    await town.bill()
    town.meters.use("svc_1", utc("2026-03-12T08:00"), 10 * GB, 60 * GB)
    town.meters.use("svc_1", utc("2026-03-20T08:00"), 5 * GB, 75 * GB)
    await town.pay(account_id, 3229, method="cash")
    town.travel("2026-04-01")
    await town.bill()
    return account_id


async def _view(town: Town, number: str, settings: BillingSettings = HOUSE) -> InvoiceView:
    async with town.workplace.reading() as connection:
        return granted(await invoice_view(connection, number, settings, town.meters))


def _text_of(pdf: bytes, folder: Path) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler-utils) is not installed")
    (folder / "invoice.pdf").write_bytes(pdf)
    read = subprocess.run(
        ["pdftotext", "-layout", folder / "invoice.pdf", "-"], capture_output=True, check=True, text=True
    )
    return read.stdout


async def test_the_pdf_says_what_the_invoice_says(town: Town, tmp_path: Path) -> None:
    await _town_with_two_invoices(town)
    read = _text_of(invoice_pdf(await _view(town, "INV-000002")), tmp_path)
    for words in (
        "High Mesa Wireless", "Marisol Ortega", "412 Camino del Medio", "Taos, NM 87571", "INV-000002",
        "April 15, 2026", "Mar 1", "150.00 GB", "20.00 GB beyond it at $0.50 per GB",
        "30.00 GB beyond it at $0.125 per GB", "Gross receipts tax 7.625 %", "Please pay by April 15", "page 1 of 1",
    ):  # fmt: skip
        assert words in read, words
    # 30.00 recurring + 20 GB at 0.50 + 30 GB at 0.125, with 7.625 %
    assert "$43.75" in read
    assert "$47.09" in read


async def test_the_same_invoice_gives_the_same_pdf(town: Town) -> None:
    await _town_with_two_invoices(town)
    view = await _view(town, "INV-000002")
    assert invoice_pdf(view) == invoice_pdf(view)
    assert invoice_pdf(view).startswith(b"%PDF-")


async def test_hostile_names_are_text_in_the_pdf_and_in_html(town: Town, tmp_path: Path) -> None:
    await _town_with_two_invoices(town, HOSTILE)
    view = await _view(town, "INV-000001")
    read = " ".join(_text_of(invoice_pdf(view), tmp_path).split())
    assert '#panic("typst") $x$' in read
    page = invoice_html(view)
    assert "<script" not in page
    assert "{{ 7*7 }}" in page


async def test_a_paid_invoice_and_a_credit_note_say_so(town: Town) -> None:
    await _town_with_two_invoices(town)
    paid = print_invoice(await _view(town, "INV-000001"))
    assert (paid["heading"], paid["claim"]["label"]) == ("Invoice", "Nothing due")
    assert {"label": "Paid March 10, 2026, cash", "amount": "-$32.29", "strong": False} in paid["sums"]
    view = await _view(town, "INV-000001")
    credit = print_invoice(
        replace(view, net_minor=-3000, tax_minor=-229, total_minor=-3229, open_minor=0, paid=())
    )
    assert (credit["heading"], credit["claim"]["amount"]) == ("Credit note", "$32.29")


async def test_dates_and_amounts_follow_the_locale(town: Town) -> None:
    await _town_with_two_invoices(town)
    view = await _view(town, "INV-000002", HOUSE.model_copy(update={"locale": "de_DE"}))
    printed = print_invoice(view)
    assert printed["paper"] == "a4"
    assert {"label": "Datum", "value": "1. April 2026"} in printed["facts"]
    assert printed["claim"]["amount"] == "47,09\xa0$"
    json.dumps(printed)  # what typst reads


class _Outline(HTMLParser):
    """Collects tags and attributes that a strict content security policy or a printer would mind."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [name for name, _ in attrs]
        if tag not in {"meta", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def test_the_html_is_well_formed_and_has_no_style_attribute_or_script(town: Town) -> None:
    await _town_with_two_invoices(town)
    page = invoice_html(await _view(town, "INV-000002"))
    outline = _Outline()
    outline.feed(page)
    assert outline.open == []
    assert not [name for name in outline.attributes if name == "style" or name.startswith("on")]
    assert "@media print" in page


async def test_an_unknown_invoice_is_refused(town: Town) -> None:
    async with town.workplace.reading() as connection:
        refused = await invoice_view(connection, "INV-777")
    assert isinstance(refused, Refusal)


# Explanations


async def _explained(town: Town, number: str, position: int) -> Explanation:
    async with town.workplace.reading() as connection:
        return granted(await explain_line(connection, town.meters, number, position))


def _figures(explanation: Explanation) -> dict[str, str]:
    return dict(explanation.figures)


async def test_a_usage_line_is_explained_down_to_the_raw_counters(town: Town) -> None:
    await _town_with_two_invoices(town)
    line = await _explained(town, "INV-000002", 2)
    charge, closed = line.because
    assert _figures(line)["amount"] == "13.75 USD"
    assert _figures(charge)["beyond it"] == "50.00 GB (50000000000 octets)"
    assert [_figures(tier)["exact amount"] for tier in charge.because] == ["10.00 USD", "3.75 USD"]
    assert _figures(closed)["records"] == "2"
    assert [_figures(record)["octets_out"] for record in closed.because] == [str(60 * GB), str(75 * GB)]
    [reading] = closed.because[0].because
    assert _figures(reading)["decision"] == "advance"
    assert _figures(reading.because[0]) == {"Acct-Output-Octets": str(60 * GB)}
    used = sum(int(_figures(r)["octets_in"]) + int(_figures(r)["octets_out"]) for r in closed.because)
    assert _figures(charge)["used"].endswith(f"({used} octets)")


async def test_recurring_tax_and_adjustment_lines_explain_their_arithmetic(town: Town) -> None:
    from billing.set_up import end_subscription

    ann = await town.account()
    await town.tax()
    subscription_id = await town.subscription(ann, await town.plan(), "2026-03-10")
    await town.bill()
    async with town.workplace.work("operator:test") as work:
        granted(await end_subscription(work, subscription_id=subscription_id, ends_on=date(2026, 3, 20)))
    town.travel("2026-04-01")
    await town.bill()
    recurring = (await _explained(town, "INV-000001", 1)).because[0]
    assert _figures(recurring)["days"] == "22 of 31"
    tax = (await _explained(town, "INV-000001", 2)).because[0]
    assert _figures(tax)["base"] == "21.29 USD (lines 1)"
    difference = (await _explained(town, "INV-000002", 1)).because[0]
    assert _figures(difference) == {
        "owed": "9.68 USD",
        "invoiced before": "21.29 USD",
        "difference": "-11.61 USD",
    }
    assert _figures(difference.because[0])["days"] == "10 of 31"


async def test_explaining_what_is_not_there_is_refused(town: Town) -> None:
    await town.customer("Ann")
    await town.bill()
    async with town.workplace.reading() as connection:
        for number, position, code in (("INV-9", 1, "unknown_invoice"), ("INV-000001", 7, "unknown_line")):
            refused = await explain_line(connection, town.meters, number, position)
            assert isinstance(refused, Refusal)
            assert refused.code == code


def test_long_lists_are_shortened_in_the_middle_and_aligned() -> None:
    tree = Explanation("Closed", (("a", "1"), ("long", "2")), tuple(Explanation(f"r{n}") for n in range(30)))
    text = format_explanation(tree, ends_shown=2).splitlines()
    assert text == [
        "Closed",
        "   a     1",
        "   long  2",
        "   r0",
        "   r1",
        "   … 26 more between …",
        "   r28",
        "   r29",
    ]


@dataclass(frozen=True)
class _Reading:
    at: datetime
    octets: int


@dataclass(frozen=True)
class _Record:
    number: int
    readings: tuple[_Reading, ...]


async def test_evidence_may_come_as_dataclasses(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await _town_with_two_invoices(town)

    async def evidence(self: Any, connection: Any, close_id: str) -> list[_Record]:
        return [_Record(7, (_Reading(datetime(2026, 3, 1, tzinfo=UTC), 5),))]

    monkeypatch.setattr(type(town.meters), "evidence", evidence)
    [record] = (await _explained(town, "INV-000002", 2)).because[1].because
    assert record.because[0].figures == (("at", "2026-03-01T00:00:00+00:00"), ("octets", "5"))


# The preview


async def test_the_preview_is_the_next_invoice_before_it_exists(town: Town) -> None:
    account_id = await _town_with_two_invoices(town)
    town.meters.use("svc_1", utc("2026-04-05T08:00"), 0, 130 * GB)
    town.travel("2026-04-20")
    async with town.workplace.reading() as connection:
        draft = granted(await preview_invoice(connection, town.meters, account_id, town.clock.now()))
    assert draft is not None
    assert [line.kind for line in draft.lines] == ["recurring", "usage", "tax"]
    assert (await town.bill()).run_id is None
    town.travel("2026-05-01")
    await town.bill()
    issued = (await town.invoices(account_id))[-1]
    assert (issued.total_minor, issued.cycle_start) == (draft.total_minor, draft.cycle.start)
    assert [line.amount_minor for line in await town.lines(issued.number)] == [
        one.amount_minor for one in draft.lines
    ]


async def test_there_is_no_preview_where_nothing_is_to_be_billed(town: Town) -> None:
    account_id = await town.account()
    async with town.workplace.reading() as connection:
        assert await preview_invoice(connection, town.meters, account_id, town.clock.now()) is None
        refused = await preview_invoice(connection, town.meters, "acc_nobody", town.clock.now())
    assert isinstance(refused, Refusal)
