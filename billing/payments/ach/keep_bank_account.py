"""A customer's bank account for ACH debits: its number sealed, its authorisation on record."""

from __future__ import annotations

import hmac
from datetime import date

from billing.domain.ach import CURRENCY, refuse_bank_account
from billing.store import account_rows, ach_rows
from core.periods import local_date
from core.refusal import Refused, answering, refuse
from core.secrets import Sealer, Secret
from core.work import Work

NUMBER_PURPOSE = "billing.bank_account"
_MARK_PURPOSE = "billing.bank_account_mark"


def mark_of(sealer: Sealer, routing_number: str, account_number: Secret) -> str:
    """A keyed fingerprint: the same account is found again, and nobody learns its number from it."""
    told = f"{routing_number}:{account_number.reveal()}".encode()
    return hmac.digest(sealer.derive_key(_MARK_PURPOSE), told, "sha256").hex()


@answering
async def keep_bank_account(
    work: Work, sealer: Sealer, *, account_id: str, holder_name: str, account_type: str, routing_number: str,
    account_number: Secret, sec_code: str, authorised_on: date, mandate: str, autopay: bool = True,
    prenote: bool = False,
) -> str:  # fmt: skip
    """Keep a bank account; returns its id, that of the one kept before when it is the same.

    ``mandate`` says where the customer's authorisation is kept; ``prenote`` sends an entry of nothing first
    and waits three banking days. Autopay is moved to the newest account that has it.
    """
    number = Secret(account_number.reveal().replace(" ", ""))
    routing_number = routing_number.replace(" ", "")
    refusal = refuse_bank_account(holder_name, account_type, routing_number, number.reveal(), sec_code)
    if refusal is not None:
        raise Refused(refusal)
    if not 1 <= len(mandate.strip()) <= 200:
        refuse("mandate_missing", "say where the signed or recorded authorisation is kept", "mandate")
    account = await account_rows.lock_account(work.connection, account_id)
    if account is None:
        refuse("unknown_account", f"there is no account {account_id}", "account_id")
    if account.currency != CURRENCY:
        refuse(
            "wrong_currency", f"ACH moves {CURRENCY}; the account pays in {account.currency}", "account_id"
        )
    today = local_date(work.now, account.time_zone)
    if authorised_on > today:
        refuse("authorised_in_future", "the customer cannot have authorised it yet", "authorised_on")
    mark = mark_of(sealer, routing_number, number)
    kept = await ach_rows.bank_accounts_of(work.connection, account_id)
    same = next((one for one in kept if one.mark == mark), None)
    if same is not None:
        return str(same.id)
    for one in kept:
        if autopay and one.autopay:
            await ach_rows.set_autopay(work.connection, one.id, False)
    bank_account_id = work.ids.new("bac")
    await ach_rows.insert_bank_account(
        work.connection,
        {
            "id": bank_account_id, "account_id": account_id, "holder_name": holder_name.strip(),
            "account_type": account_type, "routing_number": routing_number,
            "number_sealed": sealer.seal(number, NUMBER_PURPOSE), "last_four": number.reveal()[-4:],
            "mark": mark, "sec_code": sec_code, "authorised_on": authorised_on, "mandate": mandate.strip(),
            "autopay": autopay, "usable_from": None if prenote else today, "recorded_at": work.now,
            "recorded_by": work.actor,
        },
    )  # fmt: skip
    await work.audit(
        "billing.bank_account_kept", account_id, bank_account=bank_account_id, ending=number.reveal()[-4:],
        sec_code=sec_code, authorised_on=str(authorised_on), autopay=autopay, prenote=prenote,
    )  # fmt: skip
    return bank_account_id


@answering
async def end_bank_account(work: Work, *, bank_account_id: str, reason: str) -> None:
    """No further debit: the customer withdrew his authorisation, or the account is closed."""
    if not reason.strip():
        refuse("reason_missing", "say why", "reason")
    found = await ach_rows.find_bank_account(work.connection, bank_account_id)
    if found is None:
        refuse("unknown_bank_account", f"there is no bank account {bank_account_id}", "bank_account_id")
    await account_rows.lock_account(work.connection, found.account_id)
    await ach_rows.end_bank_account(work.connection, bank_account_id, work.now, reason.strip())
    await work.audit(
        "billing.bank_account_ended", found.account_id, bank_account=bank_account_id, reason=reason.strip()
    )


@answering
async def set_bank_autopay(work: Work, *, bank_account_id: str, on: bool) -> None:
    """Whether due invoices go into the next batch by themselves."""
    found = await ach_rows.find_bank_account(work.connection, bank_account_id)
    if found is None or found.ended_at is not None:
        refuse("unknown_bank_account", f"there is no bank account {bank_account_id}", "bank_account_id")
    await account_rows.lock_account(work.connection, found.account_id)
    for one in await ach_rows.bank_accounts_of(work.connection, found.account_id):
        if one.autopay and on:
            await ach_rows.set_autopay(work.connection, one.id, False)
    await ach_rows.set_autopay(work.connection, bank_account_id, on)
    await work.audit("billing.bank_autopay_set", found.account_id, bank_account=bank_account_id, on=on)
