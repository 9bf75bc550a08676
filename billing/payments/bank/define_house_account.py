"""A bank account of the house whose statements are imported, and how its bank writes CSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from billing.domain.bank_csv import mapping_as_json, read_mapping
from billing.domain.bank_statement import mask_account, plain
from billing.store import bank_rows
from core.currencies import refuse_currency
from core.refusal import Refused, answering, granted, refuse
from core.work import Work


@answering
async def define_house_account(
    work: Work, *, name: str, currency: str, identification: str = "",
    csv_mapping: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """Define a bank account, or tell anew of the one with that name; returns its id.

    ``identification``: IBAN or number as statements name it; a statement of another account is then refused.
    Without ``csv_mapping`` the one that stands stays.
    """
    name = name.strip()
    if not 1 <= len(name) <= 80 or not name.isprintable():
        refuse("bad_name", "give it a name of 1 to 80 characters", "name")
    refusal = refuse_currency(currency)
    if refusal is not None:
        raise Refused(refusal)
    if len(identification) > 60 or (identification and not plain(identification)):
        refuse("bad_identification", "it is the account's IBAN or number", "identification")
    mapping = None if csv_mapping is None else mapping_as_json(granted(read_mapping(csv_mapping)))
    found = await bank_rows.find_house_account(work.connection, name)
    if found is None:
        house_account_id = work.ids.new("hba")
        values = {
            "id": house_account_id, "name": name, "identification": identification.strip(),
            "currency": currency, "csv_mapping": mapping, "created_at": work.now,
        }  # fmt: skip
        if not await bank_rows.insert_house_account(work.connection, values):
            refuse("name_taken", f"there is a bank account {name} already", "name")
    else:
        house_account_id = str(found.id)
        if found.currency != currency:
            refuse("currency_fixed", f"its statements are in {found.currency}", "currency")
        await bank_rows.change_house_account(
            work.connection, house_account_id, identification=identification.strip(),
            csv_mapping=found.csv_mapping if mapping is None else mapping,
        )  # fmt: skip
    await work.audit(
        "billing.house_account_defined", house_account_id, name=name, currency=currency,
        identification=mask_account(identification) if identification else "",
    )  # fmt: skip
    return house_account_id
