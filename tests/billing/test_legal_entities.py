"""Legal entities: numbers without a gap in each series, letterheads of their own, and books that stand alone."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from billing_story import Town
from sqlalchemy import func, select
from test_subscription_changes import act

from billing.accounts.change_account import change_account
from billing.accounts.define_entity import change_entity, define_entity
from billing.accounts.set_payer import set_payer
from billing.config import BillingSettings, IssuerSettings
from billing.documents.invoice_view import InvoiceView, invoice_view
from billing.dunning.write_off import write_off_invoice
from billing.invoicing.credit_note import issue_credit_note
from billing.payments.reverse_payment import reverse_payment
from billing.store.tables import ledger_entry, posting
from core.refusal import Refusal, granted


async def valley_fiber(town: Town, **asked: Any) -> Any:
    return await act(town, define_entity, settings=town.settings, **{
        "entity_id": "valley-fiber", "name": "Valley Fiber", "invoice_prefix": "VF-",
        "credit_note_prefix": "VFC-", "letterhead": {"tax_number": "85-123", "address": ["Main Street 1"]},
        **asked,
    })  # fmt: skip


async def numbers(town: Town) -> list[str]:
    return [one.number for one in await town.invoices()]


async def test_each_entity_numbers_its_own_series_and_prints_its_own_head(town: Town) -> None:
    issuer = IssuerSettings(name="House", tax_number="1", iban="DE89370400440532013000")
    town.settings = BillingSettings(issuer=issuer)
    granted(await valley_fiber(town))
    for name, entity in (("Ann", None), ("Bob", "valley-fiber"), ("Cyd", "valley-fiber"), ("Dee", None)):
        await town.customer(name, entity_id=entity)
    await town.bill()
    assert sorted(await numbers(town)) == ["INV-000001", "INV-000002", "VF-000001", "VF-000002"]
    async with town.workplace.reading() as connection:
        view = await invoice_view(connection, "VF-000001", town.settings)
    assert isinstance(view, InvoiceView)
    assert (view.issuer.name, view.issuer.tax_number, view.issuer.address, view.issuer.iban) == (
        "Valley Fiber", "85-123", ["Main Street 1"], None,
    )  # fmt: skip
    [first, *_] = [one for one in await town.invoices() if one.number == "VF-000001"]
    granted(await act(town, issue_credit_note, invoice=first.id, reason="goodwill", source="t"))
    assert "VFC-000001" in await numbers(town)
    await town.prove_books()
    taken = await act(
        town, change_entity, settings=town.settings, entity_id="valley-fiber", invoice_prefix="X-"
    )
    assert taken.code == "series_begun"
    town.clock.advance(timedelta(minutes=1))
    renamed = granted(
        await act(town, change_entity, settings=town.settings, entity_id="valley-fiber", name="Valley Net")
    )
    assert renamed.name == "Valley Net"
    async with town.workplace.reading() as connection:
        again = await invoice_view(connection, "VF-000001", town.settings)
    assert isinstance(again, InvoiceView)
    assert again.issuer.name == "Valley Fiber", "what was issued keeps its head"


async def test_the_books_of_an_entity_balance_by_themselves(any_town: Town) -> None:
    """Payments, their reversal and debts given up are booked where the invoice was."""
    town = any_town
    granted(await valley_fiber(town))
    await town.tax()
    bob = await town.customer("Bob", entity_id="valley-fiber")
    await town.customer("Ann")
    await town.bill()
    [invoice] = await town.invoices(bob)
    paid = await town.pay(bob, invoice.total_minor + 500)
    granted(
        await act(town, reverse_payment, payment_id=paid.payment_id, reason="nsf", settings=town.settings)
    )
    granted(await act(town, write_off_invoice, invoice=invoice.number, reason="gone"))
    await town.pay(bob, 1000)
    query = (
        select(ledger_entry.c.entity_id, ledger_entry.c.source_kind, func.count())
        .join(posting, posting.c.entry_id == ledger_entry.c.id)
        .where(posting.c.account_id == bob)
        .group_by(ledger_entry.c.entity_id, ledger_entry.c.source_kind)
    )
    async with town.workplace.reading() as connection:
        rows = (await connection.execute(query)).all()
        owed = select(posting.c.ledger_account, func.sum(posting.c.amount_minor)).join(
            ledger_entry, ledger_entry.c.id == posting.c.entry_id
        )
        owed = owed.where(ledger_entry.c.entity_id == "valley-fiber").group_by(posting.c.ledger_account)
        sums = {row[0]: row[1] for row in await connection.execute(owed)}
    assert {row[0] for row in rows} == {"valley-fiber"}
    assert len(Counter(row[1] for row in rows)) >= 4
    assert sum(sums.values()) == 0
    assert sums["receivable"] == 0, "what was owed to the entity is settled in its own books"
    await town.prove_books()


async def test_what_would_mix_up_numbers_or_books_is_refused_by_field(town: Town) -> None:
    granted(await valley_fiber(town))
    for field, value, code in (
        ("entity_id", "valley-fiber", "prefix_taken"), ("entity_id", "Valley", "bad_entity_id"),
        ("entity_id", "house", "bad_entity_id"), ("name", " ", "bad_name"), ("invoice_prefix", "VF1", "bad_prefix"),
        ("invoice_prefix", "INV-", "prefix_taken"), ("credit_note_prefix", "VF-", "prefix_taken"),
        ("invoice_prefix", "NN-", "prefix_taken"),
    ):  # fmt: skip
        asked = {"entity_id": "other", "invoice_prefix": "O-", "credit_note_prefix": "NN-", field: value}
        if field == "entity_id" and value == "valley-fiber":
            asked |= {"invoice_prefix": "VFC-"}
        refused = await valley_fiber(town, **asked)
        assert isinstance(refused, Refusal), (field, value)
        assert refused.code == code, (field, value, refused)
    assert (await valley_fiber(town, invoice_prefix="Q-", credit_note_prefix="QC-")).code == "entity_exists"
    ann, bob = await town.customer("Ann"), await town.account("Bob")
    changed = await act(town, change_account, account_id=bob, changes={"entity_id": "valley-fiber"})
    assert granted(changed) == ["entity_id"]
    assert (await act(town, set_payer, account_id=ann, payer_id=bob)).code == "other_entity"
    await town.bill()
    for entity, code in (("valley-fiber", "entity_in_use"), ("nowhere", "unknown_entity")):
        refused = await act(town, change_account, account_id=ann, changes={"entity_id": entity})
        assert refused.code == code
