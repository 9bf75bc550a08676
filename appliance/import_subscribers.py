"""Bulk import of accounts and services from CSV: faults by line, and nothing half-imported."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date
from typing import Any

from aaa.set_up import NewCredential
from appliance.add_subscriber import NewService, add_service
from appliance.lookup import find
from billing.set_up import open_account
from core.refusal import Refusal, Refused, granted
from core.secrets import Sealer, Secret
from core.work import Work
from ui.ports import ImportFault, ImportReport

ACCOUNT_COLUMNS = (
    "account_number",
    "name",
    "email",
    "phone",
    "street",
    "city",
    "region",
    "postal_code",
    "country",
    "currency",
    "time_zone",
    "billing_day",
)
SERVICE_COLUMNS = ("plan", "start_date", "label", "username", "password", "mac", "framed_ip", "device")
REQUIRED = ("account_number", "name", "plan")
MAX_LINES = 20_000


async def import_subscribers(work: Work, sealer: Sealer, text: str) -> ImportReport:
    """Import the CSV ``text``: one service a line; lines of one account number share the account.

    All lines or none: with any fault the database stays as it was, and the report names every fault found.
    """
    rows, faults = _read(text)
    created = 0
    accounts: dict[str, str] = {}
    everything = await work.connection.begin_nested()
    for line, row in rows:
        one = await work.connection.begin_nested()
        try:
            await _import_line(work, sealer, row, accounts)
            await one.commit()
            created += 1
        except Refused as refused:
            await one.rollback()
            accounts.pop(row["account_number"], None)
            faults.append(ImportFault(line, refused.refusal.field or "line", refused.refusal.message))
        except ValueError as trouble:
            await one.rollback()
            accounts.pop(row["account_number"], None)
            faults.append(ImportFault(line, "line", str(trouble)))
    if faults:
        await everything.rollback()
        return ImportReport(0, sorted(faults, key=lambda fault: fault.line))
    await everything.commit()
    await work.audit("subscribers_imported", "import", services=created, accounts=len(accounts))
    return ImportReport(created, [])


def _read(text: str) -> tuple[list[tuple[int, dict[str, str]]], list[ImportFault]]:
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), restkey="_rest")
    try:
        header = [column.strip().lower() for column in reader.fieldnames or []]
        reader.fieldnames = header
        faults = list(_header_faults(header))
        rows = [] if faults else [(reader.line_num, row) for row in reader]
    except csv.Error as trouble:
        return [], [ImportFault(reader.line_num, "line", f"this is not CSV: {trouble}")]
    if not faults and not rows:
        faults.append(ImportFault(1, "line", "the file has no line below its header"))
    if len(rows) > MAX_LINES:
        faults.append(ImportFault(MAX_LINES + 2, "line", f"more than {MAX_LINES} lines; split the file"))
        return [], faults
    clean: list[tuple[int, dict[str, str]]] = []
    for line, row in rows:
        found = list(_row_faults(line, row))
        faults += found
        if not found:
            clean.append((line, {key: (value or "").strip() for key, value in row.items() if key != "_rest"}))
    return clean, faults


def _header_faults(header: list[str]) -> Iterator[ImportFault]:
    known = {*ACCOUNT_COLUMNS, *SERVICE_COLUMNS}
    for column in header:
        if column not in known:
            yield ImportFault(1, column or "(empty)", f"unknown column; known: {', '.join(sorted(known))}")
    for column in REQUIRED:
        if column not in header:
            yield ImportFault(1, column, "this column is required")
    if len(set(header)) != len(header):
        yield ImportFault(1, "line", "a column stands twice")


def _row_faults(line: int, row: dict[str, str]) -> Iterator[ImportFault]:
    if row.get("_rest"):
        yield ImportFault(line, "line", "more cells than the header has columns; quote cells with commas")
    for column in REQUIRED:
        if not (row.get(column) or "").strip():
            yield ImportFault(line, column, "must not be empty")
    if not (row.get("username") or "").strip() and not (row.get("mac") or "").strip():
        yield ImportFault(line, "username", "give a PPPoE username, or a mac for a MAC login")


async def _import_line(work: Work, sealer: Sealer, row: dict[str, str], accounts: dict[str, str]) -> None:
    number = row["account_number"]
    if number not in accounts:
        accounts[number] = granted(await open_account(work, **_account_fields(row)))
    new = NewService(
        plan=row["plan"],
        label=row.get("label") or row["name"],
        credentials=_credentials(row),
        framed_ip=row.get("framed_ip") or None,
        device_ids=[await find(work.connection, "device", row["device"])] if row.get("device") else [],
        starts_on=_date(row.get("start_date")),
    )
    granted(await add_service(work, sealer, accounts[number], new))


def _account_fields(row: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {"number": row["account_number"], "name": row["name"]}
    for column in ACCOUNT_COLUMNS[2:-1]:
        if row.get(column):
            fields[column] = row[column]
    day = row.get("billing_day")
    if day:
        if not day.isdecimal():
            raise Refused(Refusal("bad_number", f"{day!r} is not a day; write 1 to 31", "billing_day"))
        fields["anchor_day"] = int(day)
    return fields


def _credentials(row: dict[str, str]) -> list[NewCredential]:
    credentials = []
    if row.get("username"):
        password = row.get("password")
        if not password:
            raise Refused(Refusal("no_password", "a PPPoE username needs a password", "password"))
        credentials.append(NewCredential("pppoe", row["username"], Secret(password)))
    if row.get("mac"):
        credentials.append(NewCredential("mac", row["mac"], None))
    return credentials


def _date(text: str | None) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused(
            Refusal("bad_date", f"{text!r} is not a date; write 2026-03-31", "start_date")
        ) from None
