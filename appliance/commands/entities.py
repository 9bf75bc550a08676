"""Commands for legal entities and brands that invoice in a name of their own."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from appliance.commands.running import in_house, in_transaction, say, show
from appliance.wiring import House

entities = typer.Typer(help="Firms and brands that invoice in a name of their own.", no_args_is_help=True)
Prefix = Annotated[str | None, typer.Option(help="Of its invoices, like VF-; no digit at its end.")]
NotePrefix = Annotated[str | None, typer.Option(help="Of its credit notes, like VFC-.")]


@entities.command("list")
def entity_list() -> None:
    """Each with its prefixes, how many numbers it gave, and how many open accounts it has."""
    from ui.read.entities import entity_list as listed

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = await listed(connection)
        show(
            "Legal entities",
            ["id", "name", "invoices", "given", "credit notes", "given", "accounts"],
            [
                [one.id, one.name, one.invoice_prefix, one.invoices, one.credit_note_prefix, one.credit_notes,
                 one.accounts]
                for one in rows
            ],
            none="the house alone invoices",
        )  # fmt: skip

    in_house(body)


@entities.command("add")
def entity_add(
    entity: Annotated[str, typer.Argument(help="Short name for good, like valley-fiber.")],
    name: Annotated[str, typer.Argument(help="As it stands on its letterhead.")],
    invoices: Annotated[str, typer.Option(help="Prefix of its invoices, like VF-; no digit at its end.")],
    credit_notes: Annotated[str, typer.Option(help="Prefix of its credit notes, like VFC-.")],
    address: Annotated[list[str] | None, typer.Option(help="A line; may be repeated.")] = None,
    tax_number: Annotated[str | None, typer.Option(help="Tax number.")] = None,
    email: Annotated[str | None, typer.Option(help="E-mail.")] = None,
    phone: Annotated[str | None, typer.Option(help="Telephone.")] = None,
    website: Annotated[str | None, typer.Option(help="Website.")] = None,
    bank: Annotated[str | None, typer.Option(help="Bank.")] = None,
    iban: Annotated[str | None, typer.Option(help="Account for transfers.")] = None,
    bic: Annotated[str | None, typer.Option(help="BIC.")] = None,
    payment: Annotated[str | None, typer.Option(help="How to pay, in words.")] = None,
) -> None:
    """A new entity; it prints as the house does, under its own letterhead."""
    from billing.accounts.define_entity import define_entity

    head: dict[str, Any] = {
        "address": address, "tax_number": tax_number, "email": email, "phone": phone, "website": website,
        "bank": bank, "iban": iban, "bic": bic, "payment_instructions": payment,
    }  # fmt: skip

    made = in_transaction(
        lambda work, house: define_entity(
            work,
            house.settings.billing,
            entity_id=entity,
            name=name,
            invoice_prefix=invoices,
            credit_note_prefix=credit_notes,
            letterhead=head,
        )
    )
    say(f"entity {made.id}: invoices {made.invoice_prefix}…, credit notes {made.credit_note_prefix}…")


@entities.command("set")
def entity_set(
    entity: Annotated[str, typer.Argument(help="Its short name.")],
    name: Annotated[str | None, typer.Option(help="As it stands on its letterhead from now on.")] = None,
    invoices: Prefix = None,
    credit_notes: NotePrefix = None,
) -> None:
    """Another name, or other prefixes while nothing is numbered with them."""
    from billing.accounts.define_entity import change_entity

    made = in_transaction(
        lambda work, house: change_entity(
            work,
            house.settings.billing,
            entity_id=entity,
            name=name,
            invoice_prefix=invoices,
            credit_note_prefix=credit_notes,
        )
    )
    say(f"entity {made.id}, {made.name}: {made.invoice_prefix}…, {made.credit_note_prefix}…")
