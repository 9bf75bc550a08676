"""The look of documents: languages, letterhead, logo, templates, payment code, chart, and the other kinds."""

from __future__ import annotations

import ast
import io
import shutil
import struct
import subprocess
import zipfile
import zlib
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from billing_story import GB, Town, utc
from sqlalchemy import update

from billing.config import BillingSettings, IssuerSettings
from billing.documents.bulk import (
    Choice,
    chosen_invoices,
    print_parcel,
    print_sheaf,
    printed_invoices,
    zipped,
)
from billing.documents.deposit_slip import print_deposit_slip
from billing.documents.invoice_view import InvoiceView, LineView, as_issued, invoice_view
from billing.documents.keep_look import change_look, find_look, find_said, note_looks, set_logo, set_template
from billing.documents.letter import open_account_of, print_letter
from billing.documents.logo import check_logo
from billing.documents.look import EDITABLE, Look, LookTerms, built_in
from billing.documents.payment_code import payment_code
from billing.documents.printed import print_invoice
from billing.documents.receipt import print_receipt, receipt_of
from billing.documents.render import invoice_html, invoice_pdf, printed_html, printed_pdf
from billing.documents.sample import sample_documents, sample_invoice
from billing.documents.statement import print_statement, statement_of
from billing.documents.try_look import try_look
from billing.documents.typesetter import TemplateError, typesetter
from billing.documents.words import CATALOGUES, LANGUAGES, Words, catalogue
from billing.store.tables import account
from core.refusal import Refusal, granted
from core.work import Workplace

IBAN = "DE02120300000000202051"
ISSUER = IssuerSettings(
    name="High Mesa Wireless", address=["18 Mesa Road", "Taos"], iban=IBAN, bank="Mesa Bank"
)
HOUSE = BillingSettings(issuer=ISSUER)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><rect width="8" height="8" fill="#123456"/></svg>'


def _look(locale: str = "en_US", **terms: Any) -> Look:
    return Look(ISSUER, LookTerms(**terms), locale)


def _text(pdf: bytes, folder: Path) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler-utils) is not installed")
    (folder / "it.pdf").write_bytes(pdf)
    read = subprocess.run(["pdftotext", "-layout", folder / "it.pdf", "-"], capture_output=True, check=True)
    return read.stdout.decode()


# Languages


def _said_in_the_code() -> set[str]:
    """Every text that the code gives to ``Words.say``, and every text that looks like one: ``said = "…"``."""
    said: set[str] = set()
    for path in CATALOGUES.parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "say"
            ):
                said |= {one.value for one in ast.walk(node.args[0]) if isinstance(one, ast.Constant)}
    return {one for one in said if isinstance(one, str)}


@pytest.mark.parametrize("language", [one for one in LANGUAGES if one != "en"])
def test_every_word_of_the_code_is_in_every_language_with_its_values(language: str) -> None:
    found, said = catalogue(language), _said_in_the_code()
    assert len(said) > 40
    assert said <= found.keys(), said - found.keys()
    for english, other in found.items():
        names = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in (english, other)]
        assert names[0] == names[1], english
    assert len(set(found)) == len(catalogue("de"))


@pytest.mark.parametrize(
    ("locale", "currency", "written"),
    [
        ("en_US", "USD", "-$1,234,567.89"), ("de_DE", "EUR", "-1.234.567,89\xa0€"),
        ("en_GB", "JPY", "-JP¥123,456,789"), ("en_US", "KWD", "-KWD\xa0123,456.789"),
        ("fr_FR", "EUR", "-1\u202f234\u202f567,89\xa0€"), ("pt_BR", "BRL", "-R$\xa01.234.567,89"),
        ("es_CL", "CLP", "$-123.456.789"),
    ],
)  # fmt: skip
def test_amounts_have_the_digits_of_their_currency(locale: str, currency: str, written: str) -> None:
    assert Words(locale, currency).money(-123456789).replace("\u2212", "-") == written


def test_a_language_without_a_catalogue_speaks_english_with_its_own_figures() -> None:
    words = Words("it_IT", "EUR")
    assert words.say("Amount due") == "Amount due"
    assert words.money(123456) == "1.234,56\xa0€"


@pytest.mark.parametrize("locale", ["en_US", "de_DE", "es_MX", "fr_CA", "pt_BR"])
def test_every_kind_of_document_is_typeset_in_every_language(locale: str) -> None:
    look = _look(locale)
    pdf = printed_pdf(look, list(sample_documents(look).values()))
    assert pdf.count(b"/Type /Page\n") + pdf.count(b"/Type/Page/") >= 5 or len(pdf) > 20_000


async def test_an_account_reads_its_invoice_in_its_own_language(town: Town) -> None:
    view = await _second_invoice(town, locale="de_AT")
    printed = print_invoice(view)
    assert (printed["heading"], printed["language"]) == ("Rechnung", "de")
    assert printed["facts"][1] == {"label": "Datum", "value": "1. April 2026"}
    assert 'lang="de"' in invoice_html(view)


# What never changes


async def _second_invoice(
    town: Town, locale: str | None = None, settings: BillingSettings = HOUSE
) -> InvoiceView:
    account_id = await town.account("Marisol Ortega", street="412 Camino", city="Taos", postal_code="87571")
    if locale:
        async with town.workplace.work("operator:test") as work:
            await work.connection.execute(
                update(account).where(account.c.id == account_id).values(locale=locale)
            )
    await town.subscription(account_id, await town.plan(), "2026-03-01")
    await town.bill()
    town.meters.use("svc_1", utc("2026-03-12T08:00"), 10 * GB, 60 * GB)
    town.meters.use("svc_1", utc("2026-03-20T08:00"), 5 * GB, 75 * GB)
    town.travel("2026-04-01")
    await town.bill()
    return await _view(town, "INV-000002", settings)


async def _view(town: Town, number: str, settings: BillingSettings = HOUSE) -> InvoiceView:
    async with town.workplace.reading() as connection:
        return granted(await invoice_view(connection, number, settings, town.meters))


async def test_an_issued_invoice_is_the_same_octets_whatever_changes_afterwards(town: Town) -> None:
    async with town.workplace.work("system:worker") as work:
        assert await note_looks(work, HOUSE) == 1
        assert await note_looks(work, HOUSE) == 0
    view = await _second_invoice(town)
    issued = invoice_pdf(as_issued(view))
    town.clock.advance(timedelta(hours=1))
    await town.pay(view.account_id, 4000, method="cash")
    moved = BillingSettings(issuer=IssuerSettings(name="Another Name", address=["Elsewhere"]), locale="fr_FR")
    async with town.workplace.work("operator:test") as work:
        assert await note_looks(work, moved) == 1
        granted(
            await change_look(work, moved, {"accent": "#aa0000", "pay_url": "https://pay.example/{number}"})
        )
        granted(await set_logo(work, moved, SVG))
        granted(
            await set_template(work, moved, "invoice.typ", built_in("invoice.typ").replace("8pt", "30pt"))
        )
    again = await _view(town, "INV-000002", moved)
    assert invoice_pdf(as_issued(again)) == issued
    assert len(again.paid) == 1 + len(as_issued(again).paid)
    town.travel("2026-05-01")
    await town.bill()
    later = await _view(town, "INV-000003", moved)
    assert (later.issuer.name, later.look.terms.accent, later.locale) == ("Another Name", "#aa0000", "fr_FR")
    assert later.look.logo is not None


async def test_the_panel_sets_what_it_says_and_leaves_the_rest_to_the_file(workplace: Workplace) -> None:
    async with workplace.work("operator:test") as work:
        granted(
            await change_look(
                work, HOUSE, {"phone": "+1 575 555 0100", "iban": "gb82 west 1234 5698 7654 32"}
            )
        )
        for wrong, field in (({"iban": "DE03120300000000202051"}, "iban"), ({"accent": "red"}, "accent"),
                             ({"pay_url": "javascript:alert(1)"}, "pay_url"), ({"locale": "zz_ZZ"}, "locale")):  # fmt: skip
            refused = await change_look(work, HOUSE, wrong)
            assert isinstance(refused, Refusal)
            assert refused.field == field
        granted(await change_look(work, HOUSE, {"phone": None}))
    async with workplace.reading() as connection:
        look, said = await find_look(connection, HOUSE), await find_said(connection)
    assert (look.issuer.name, look.issuer.iban, look.issuer.phone) == (
        "High Mesa Wireless",
        "GB82WEST12345698765432",
        None,
    )
    assert said.model_dump(exclude_unset=True).keys() == {"iban"}


# Lines, names, charts


def test_steps_of_every_charge_model_are_said_in_a_line_or_left_out() -> None:
    steps = [
        {"from_octets": 0, "octets": 5 * GB, "minor_per_gb": "12.5"},
        {"class": "night", "octets": 2 * GB, "minor_per_gib": "100"}, {"octets": GB, "minor_per_block": "900"},
        {"bps": 42_500_000, "minor_per_mbits": "150"}, {"exact_minor": "7"},
    ]  # fmt: skip
    why = {"octets_in": 0, "octets_out": 7 * GB, "steps": steps}
    view = sample_invoice(_look())
    line = LineView(1, "usage", "Usage", "7 GB", view.cycle, 100, why)
    assert print_invoice(replace(view, lines=(line,)))["lines"][0]["details"] == [
        "7.00 GB down, 0 B up", "5.00 GB beyond it at $0.125 per GB", "night: 2.00 GB at $1.00 per GiB",
        "1.00 GB at $9.00 per block", "42.50 Mbit/s at $1.50 per Mbit/s",
    ]  # fmt: skip


def test_a_discount_says_what_it_is_taken_off_and_by_which_code() -> None:
    view = sample_invoice(_look())
    why = {"percent_ppm": 125_000, "base_minor": 4000, "promotion": "SPRING"}
    line = LineView(1, "discount", "Spring", None, view.cycle, -500, why)
    fixed = replace(line, explanation={"percent_ppm": None, "base_minor": 4000})
    printed = print_invoice(replace(view, lines=(line, fixed)))["lines"]
    assert [one["details"] for one in printed] == [["12.5 % of $40.00", "Code SPRING"], []]


def test_a_line_of_a_kind_nobody_knows_is_printed_all_the_same(tmp_path: Path) -> None:
    view = sample_invoice(_look())
    odd = (
        LineView(1, "something_new", "Mast lease", "3", view.cycle, 4200, {"days": "x", "tiers": 7}),
        LineView(2, "usage", "Metered otherwise", "95th percentile", view.cycle, 100, {"model": "p95"}),
        LineView(3, "recurring", "Old shape", None, None, 100, {"price": 1}),
    )
    read = _text(invoice_pdf(replace(view, lines=odd, usage=())), tmp_path)
    for words in ("Mast lease", "Apr 1", "$42.00", "Metered otherwise", "95th", "Old shape"):
        assert words in read, words


def test_names_of_any_length_stay_on_the_sheet(tmp_path: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler-utils) is not installed")
    endless, long = "W" * 120, "Rural Electric Cooperative of the Upper " * 3
    issuer = IssuerSettings(
        name=endless, address=[endless, long], email=f"{'e' * 100}@example.net", phone=long
    )
    look = Look(issuer, LookTerms(closing=endless), "en_US")
    view = sample_invoice(look, "KWD")
    lines = tuple(replace(one, description=endless, quantity=long[:60]) for one in view.lines)
    to = {**view.bill_to, "name": endless, "street": long, "city": endless[:100]}
    printed = print_invoice(
        replace(view, lines=lines, bill_to=to, number="INV-" + "9" * 36, account_number=endless[:40])
    )
    (tmp_path / "it.pdf").write_bytes(printed_pdf(look, [printed]))
    boxes = subprocess.run(
        ["pdftotext", "-bbox", tmp_path / "it.pdf", "-"], capture_output=True, check=True, text=True
    )
    edges = [float(part.split('"')[0]) for part in boxes.stdout.split('xMax="')[1:]]
    assert len(edges) > 100
    assert max(edges) <= 612 - 40  # letter paper, less a bit under the margin of 20 mm
    assert "<progress" in invoice_html(view)


async def test_the_chart_shows_each_day_and_only_what_is_closed(town: Town) -> None:
    view = await _second_invoice(town)
    [chart] = print_invoice(view)["charts"]
    used = {number: day for number, day in enumerate(chart["days"]) if day["down"] or day["up"]}
    assert used.keys() == {11, 19}
    assert (chart["top"], used[19]["down"], used[19]["up"]) == ("80.00 GB", 0.9375, 0.0625)
    assert chart["days"][0]["label"] == "Mar 1"
    assert "<rect" in invoice_html(view)
    off = replace(view, look=_look(usage_chart=False), usage=())
    assert print_invoice(off)["charts"] == []


# The payment code


def test_euro_by_transfer_is_an_epc_code_and_the_rest_a_link() -> None:
    from segno.helpers import make_epc_qr

    asked: dict[str, Any] = {
        "name": "High Mesa",
        "iban": IBAN,
        "bic": None,
        "amount_minor": 5944,
        "number": "INV-7",
    }
    epc = payment_code(**asked, pay_url="https://pay.example/{number}", currency="EUR")
    assert epc is not None
    assert epc.kind == "epc"
    drawn = io.BytesIO()
    make_epc_qr("High Mesa", IBAN, 59.44, text="INV-7", encoding="utf-8").save(
        drawn, kind="svg", xmldecl=False, svgclass=None, lineclass=None, omitsize=True, border=0, nl=False
    )
    assert epc.svg == drawn.getvalue().decode()
    link = payment_code(
        **{**asked, "number": "INV 7/2"}, pay_url="https://pay.example/{number}", currency="USD"
    )
    assert link is not None
    assert (link.kind, link.target) == ("link", "https://pay.example/INV%207%2F2")
    own = payment_code(**asked, pay_url="https://pay.example{link}", link="/pay/inv_1/abc", currency="USD")
    assert own is not None
    assert own.target == "https://pay.example/pay/inv_1/abc"
    assert payment_code(**asked, pay_url="https://pay.example{link}", currency="USD") is None
    assert payment_code(**asked, pay_url=None, currency="USD") is None
    assert payment_code(**{**asked, "amount_minor": 0}, pay_url="https://pay.example", currency="EUR") is None


# Logos


def _png(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = b"".join(b"\0" + b"\x12\x34\x56" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("content", [SVG, _png(6, 3)])
def test_a_logo_is_on_paper_and_on_the_page(content: bytes) -> None:
    logo = granted(check_logo(content))
    look = replace(_look(), logo=logo)
    plain, with_logo = invoice_pdf(sample_invoice(_look())), invoice_pdf(sample_invoice(look))
    assert with_logo != plain
    assert f'src="data:{logo.media_type};base64,' in invoice_html(sample_invoice(look))


_SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">%s</svg>'


@pytest.mark.parametrize(
    "content",
    [
        b"GIF89a", b"", b"\x89PNG\r\n\x1a\n" + b"x" * 80, _png(5000, 1), b"x" * (300 * 1024),
        *(
            (_SVG % inside).encode()
            for inside in (
                "<script>alert(1)</script>", '<rect onload="x()"/>', '<image href="https://evil.example/x.png"/>',
                '<use xlink:href="https://evil.example/x.svg#a"/>', '<foreignObject/>', "<text>hi</text>",
                '<rect fill="url(https://evil.example/#a)"/>', '<a href="javascript:alert(1)"/>',
                '<rect style="fill:url(https://evil.example/x)"/>', "<style>@import 'x'</style>",
            )
        ),
        b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
        b'<?xml version="1.0"?><?xml-stylesheet href="x"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        b"<html/>",
    ],
)  # fmt: skip
def test_what_acts_fetches_or_is_no_picture_is_refused(content: bytes) -> None:
    refused = check_logo(content)
    assert isinstance(refused, Refusal)
    assert refused.field == "logo"


# Templates of the operator's own


async def test_a_bad_template_is_refused_with_the_words_of_its_library() -> None:
    good = replace(_look(), templates={"invoice.typ": built_in("invoice.typ").replace("claim(doc)\n", "")})
    made = await try_look(good)
    assert isinstance(made, bytes)
    assert made.startswith(b"%PDF-")
    refused = await try_look(replace(_look(), templates={"invoice.typ": "#let sheet(doc) = [#doc.nonsense]"}))
    assert isinstance(refused, Refusal)
    assert "nonsense" in refused.message


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("style.typ", "#let oops = ("), ("receipt.typ", '#let sheet(doc) = read("/etc/passwd")'),
        ("letter.typ", "#let sheet(doc) = { let n = 0; while true { n += 1 } }"),
    ],
)  # fmt: skip
def test_templates_read_nothing_of_the_machine_and_come_to_an_end(name: str, source: str) -> None:
    look = replace(_look(), templates={name: source})
    with pytest.raises(TemplateError):
        typesetter().pdf(look, list(sample_documents(look).values()))


@pytest.mark.parametrize(
    "source", ["{{ inv.nonsense }}", "{% for", "{{ ''.__class__.__mro__ }}", "{{ inv.update({}) }}"]
)
def test_html_templates_reach_only_what_they_are_given(source: str) -> None:
    look = replace(_look(), templates={"invoice.html.j2": source})
    with pytest.raises(TemplateError):
        printed_html(look, print_invoice(sample_invoice(look)), fall_back=False)


def test_a_template_that_fails_on_a_real_invoice_leaves_the_built_in_one() -> None:
    broken = replace(
        _look(),
        templates={"invoice.typ": "#let sheet(doc) = panic()", "invoice.html.j2": "{{ inv.none.such }}"},
    )
    assert invoice_pdf(sample_invoice(broken)) == invoice_pdf(sample_invoice(_look()))
    assert "<progress" in invoice_html(sample_invoice(broken))


async def test_templates_are_kept_named_and_taken_back(workplace: Workplace) -> None:
    async with workplace.work("operator:test") as work:
        granted(await set_template(work, HOUSE, "invoice.css", "p { color: red }"))
        refused = await set_template(work, HOUSE, "../../etc/passwd", "x")
        assert isinstance(refused, Refusal)
    async with workplace.reading() as connection:
        look = await find_look(connection, HOUSE)
    assert "color: red" in invoice_html(sample_invoice(look))
    async with workplace.work("operator:test") as work:
        granted(await set_template(work, HOUSE, "invoice.css", None))
    async with workplace.reading() as connection:
        assert (await find_look(connection, HOUSE)).templates == {}
    assert all(built_in(name) for name in EDITABLE)


# The other kinds


async def test_a_statement_carries_forward_moves_and_closes_as_the_ledger_says(
    town: Town, tmp_path: Path
) -> None:
    view = await _second_invoice(town)
    await town.pay(view.account_id, 4000, method="cash")
    async with town.workplace.reading() as connection:
        found = granted(
            await statement_of(connection, "A-000001", date(2026, 4, 1), date(2026, 4, 30), HOUSE)
        )
        before = granted(
            await statement_of(connection, "A-000001", date(2026, 3, 1), date(2026, 3, 31), HOUSE)
        )
        refused = await statement_of(connection, "A-000001", date(2026, 4, 2), date(2026, 4, 1), HOUSE)
        nobody = await statement_of(connection, "A-9", date(2026, 4, 1), date(2026, 4, 1), HOUSE)
    assert isinstance(refused, Refusal)
    assert isinstance(nobody, Refusal)
    assert before.closing_minor == found.opening_minor == 3000
    assert [one.amount_minor for one in found.movements] == [view.total_minor, -4000]
    assert found.closing_minor == found.opening_minor + sum(one.amount_minor for one in found.movements)
    assert sum(found.ages) - found.credit_minor == found.closing_minor
    assert before.ages[1] == 3000  # due on the 24th: a week late at the end of March
    read = _text(printed_pdf(found.look, [print_statement(found)]), tmp_path)
    for words in (
        "Statement of account",
        "Balance brought forward",
        "Invoice INV-000002",
        "Payment, cash",
        "-$40.00",
    ):
        assert words in read, words


async def test_a_receipt_says_what_was_paid_and_none_is_for_money_taken_back(
    town: Town, tmp_path: Path
) -> None:
    account_id = await town.customer("Ann", "2026-03-01")
    await town.bill()
    receipt = await town.pay(account_id, 5000, method="card")
    async with town.workplace.reading() as connection:
        found = granted(await receipt_of(connection, receipt.payment_id, HOUSE))
    assert (found.paid, found.credit_minor) == ((("INV-000001", 3000),), 2000)
    read = _text(printed_pdf(found.look, [print_receipt(found)]), tmp_path)
    for words in (
        "Receipt",
        "Thank you for your payment.",
        "Invoice INV-000001",
        "Credit for your next invoices",
        "$50.00",
    ):
        assert words in read, words
    from billing.payments.reverse_payment import reverse_payment

    async with town.workplace.work("operator:test") as work:
        granted(await reverse_payment(work, payment_id=receipt.payment_id, reason="typed twice"))
    async with town.workplace.reading() as connection:
        assert isinstance(await receipt_of(connection, receipt.payment_id, HOUSE), Refusal)


async def test_a_letter_lists_what_is_open_and_a_deposit_slip_what_is_carried(
    town: Town, tmp_path: Path
) -> None:
    ann, bob = await town.customer("Ann", "2026-03-01"), await town.customer("Bob", "2026-03-01")
    await town.bill()
    await town.pay(ann, 1000, method="cheque", note="No. 4711")
    await town.pay(bob, 700, method="cash")
    await town.pay(bob, 600, method="card")
    async with town.workplace.reading() as connection:
        debtor = granted(await open_account_of(connection, ann, date(2026, 4, 30), HOUSE))
        look, slip = granted(
            await print_deposit_slip(connection, date(2026, 3, 1), date(2026, 3, 31), "USD", HOUSE)
        )
    assert (debtor.open_minor, debtor.overdue_minor) == (2000, 2000)
    read = _text(
        printed_pdf(debtor.look, [print_letter(debtor, "A reminder", ["Please <pay> #now."])]), tmp_path
    )
    assert "Please <pay> #now." in read
    assert "INV-000001" in read
    read = _text(printed_pdf(look, [slip]), tmp_path)
    for words in ("Deposit slip", "No. 4711", "A-000002 Bob", "$17.00"):
        assert words in read, words
    assert "$6.00" not in read


# In bulk


async def test_a_run_is_printed_in_order_as_archive_or_sheaf(town: Town) -> None:
    for name in ("Ann", "Bob", "Cyd"):
        await town.customer(name, "2026-03-01")
    run = await town.bill()
    async with town.workplace.reading() as connection:
        ids = granted(await chosen_invoices(connection, Choice(bill_run_id=run.run_id)))
        assert await chosen_invoices(connection, Choice(from_on=date(2026, 3, 1), delivery="email")) == ids
        assert isinstance(await chosen_invoices(connection, Choice(from_on=date(2026, 3, 11))), Refusal)
        assert isinstance(await chosen_invoices(connection, Choice(delivery="paper")), Refusal)
    told: list[tuple[int, int]] = []
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:  # the processes are the benchmark's to try
        files = printed_invoices(
            town.workplace, HOUSE, town.meters, None, ids, pool, progress=lambda *at: told.append(at)
        )
        archive = b"".join([part async for part in zipped(files)])
        sheaves = [
            one async for one in printed_invoices(town.workplace, HOUSE, None, None, ids, pool, form="print")
        ]
    with zipfile.ZipFile(io.BytesIO(archive)) as read:
        assert read.namelist() == ["INV-000001.pdf", "INV-000002.pdf", "INV-000003.pdf"]
        view = await _view(town, "INV-000002")
        assert read.read("INV-000002.pdf") == invoice_pdf(as_issued(view))
        assert read.testzip() is None
    assert told == [(3, 3)]
    assert [name for name, _ in sheaves] == ["INV-000001-INV-000003.pdf"]


def test_a_sheaf_counts_the_pages_of_each_invoice_alone(tmp_path: Path) -> None:
    view = sample_invoice(_look())
    long = replace(view, number="INV-2", lines=view.lines * 9)
    [(name, pdf)] = print_sheaf([replace(view, number="INV-1"), long, replace(view, number="INV-3")])
    read = " ".join(_text(pdf, tmp_path).split())
    assert name == "INV-1-INV-3.pdf"
    for words in ("INV-1 · page 1 of 1", "INV-2 · page 1 of 3", "INV-2 · page 3 of 3", "INV-3 · page 1 of 1"):
        assert words in read, words
    assert [file for file, _ in print_parcel([view])] == ["INV-000042.pdf"]
