"""Bulk import of accounts and services from CSV: faults by line, and nothing half-imported."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import date
from itertools import islice
from typing import Any

from aaa.domain.line import NotALine, line_name
from aaa.domain.password_hash import NotUsable, clear_text, read_hash
from aaa.set_addressing import set_addressing
from aaa.set_up import NewCredential
from appliance.add_subscriber import NewService, add_service
from appliance.import_conditions import CONDITION_COLUMNS, set_conditions
from appliance.lookup import currency_of_plan, find
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
ADDRESS_COLUMNS = ("netmask_bits", "ipv6_prefix", "delegated_prefix", "ipv6_address", "routes")
SERVICE_COLUMNS = (
    "plan",
    "start_date",
    "label",
    "username",
    "password",
    "password_hash",
    "mac",
    "circuit_id",
    "remote_id",
    "nas_port",
    "framed_ip",
    "device",
    *ADDRESS_COLUMNS,
    *CONDITION_COLUMNS,
)
SIGN_IN_COLUMNS = ("username", "mac", "circuit_id", "remote_id", "nas_port")
REQUIRED = ("account_number", "name", "plan")
_COLUMN_OF = {  # what the rooms call it: what the file calls it
    "number": "account_number",
    "anchor_day": "billing_day",
    "starts_on": "start_date",
    "plan_version_id": "plan",
    "device_id": "device",
}
MAX_LINES = 5_000
LONGEST_CELL = 254
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


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
            field = refused.refusal.field or "line"
            faults.append(ImportFault(line, _COLUMN_OF.get(field, field), refused.refusal.message))
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
    lines = _lines(text)
    try:
        _, first = next(lines, (1, []))
        header = [column.strip().lower() for column in first]
        faults = list(_header_faults(header))
        rows = [] if faults else list(islice(lines, MAX_LINES + 1))
    except _NotCsv as trouble:
        return [], [ImportFault(trouble.line, "line", f"this is not CSV: {trouble}")]
    if not faults and not rows:
        faults.append(ImportFault(1, "line", "the file has no line below its header"))
    if len(rows) > MAX_LINES:
        return [], [ImportFault(rows[-1][0], "line", f"more than {MAX_LINES} lines; split the file")]
    clean: list[tuple[int, dict[str, str]]] = []
    for line, cells in rows:
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        found = list(_row_faults(line, row, len(cells) - len(header)))
        faults += found
        if not found:
            clean.append((line, row))
    return clean, faults


class _NotCsv(Exception):  # noqa: N818 - what it is
    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each line that is not empty, with the number of its first line in the file. Raises ``_NotCsv``."""
    reader = csv.reader(io.StringIO(text.lstrip("\ufeff"), newline=""), strict=True)
    begins = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as trouble:
            raise _NotCsv(begins, str(trouble)) from None
        if any(cell.strip() for cell in cells):
            yield begins, cells
        begins = reader.line_num + 1


def _header_faults(header: list[str]) -> Iterator[ImportFault]:
    known = {*ACCOUNT_COLUMNS, *SERVICE_COLUMNS}
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        yield ImportFault(1, "line", "the columns are not separated by commas; save the file with commas")
        return
    for column in header:
        if column not in known:
            yield ImportFault(1, column or "(empty)", f"unknown column; known: {', '.join(sorted(known))}")
    for column in REQUIRED:
        if column not in header:
            yield ImportFault(1, column, "this column is required")
    if len(set(header)) != len(header):
        yield ImportFault(1, "line", "a column stands twice")


def _row_faults(line: int, row: dict[str, str], too_many: int) -> Iterator[ImportFault]:
    if too_many > 0:
        yield ImportFault(line, "line", "more cells than the header has columns; quote cells with commas")
    for column, cell in row.items():
        if _CONTROL.search(cell):
            yield ImportFault(line, column, "has a line break or control character in it")
        elif len(cell) > LONGEST_CELL:
            yield ImportFault(line, column, f"has {len(cell)} characters; at most {LONGEST_CELL}")
    for column in REQUIRED:
        if not row.get(column):
            yield ImportFault(line, column, "must not be empty")
    if not any(row.get(column) for column in SIGN_IN_COLUMNS):
        yield ImportFault(
            line, "username", "give a PPPoE username, a mac, a circuit_id, a remote_id or a nas_port"
        )


async def _import_line(work: Work, sealer: Sealer, row: dict[str, str], accounts: dict[str, str]) -> None:
    number = row["account_number"]
    if number not in accounts:
        fields = _account_fields(row)
        if "currency" not in fields:
            fields["currency"] = await currency_of_plan(work.connection, row["plan"])
        accounts[number] = granted(await open_account(work, **fields))
    credentials = _credentials(row)
    new = NewService(
        plan=row["plan"],
        label=row.get("label") or row["name"],
        credentials=credentials,
        framed_ip=row.get("framed_ip") or None,
        device_ids=[await find(work.connection, "device", row["device"])] if row.get("device") else [],
        starts_on=_date(row.get("start_date")),
    )
    service_id = granted(await add_service(work, sealer, accounts[number], new))
    if any(row.get(column) for column in ADDRESS_COLUMNS):
        granted(await set_addressing(work, service_id, **_addressing(row)))
    await set_conditions(work, service_id, credentials, row)


def _addressing(row: dict[str, str]) -> dict[str, Any]:
    """Prefixes and routes of the service's own; several routes stand with semicolons between them."""
    fields: dict[str, Any] = {column: row.get(column) or None for column in ADDRESS_COLUMNS[1:-1]}
    bits = row.get("netmask_bits")
    if bits:
        if not (bits.isascii() and bits.isdecimal()):
            raise Refused(Refusal("bad_number", f"{bits!r} is no netmask; write 29", "netmask_bits"))
        fields["netmask_bits"] = int(bits)
    fields["routes"] = [one.strip() for one in row.get("routes", "").split(";") if one.strip()]
    return fields


def _account_fields(row: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {"number": row["account_number"], "name": row["name"]}
    for column in ACCOUNT_COLUMNS[2:-1]:
        if row.get(column):
            fields[column] = row[column]
    day = row.get("billing_day")
    if day == "":  # a column that says nothing; a file without it has everybody turn on the first
        begins = _date(row.get("start_date"))
        fields["anchor_day"] = None if begins is None else begins.day
    elif day:
        if not day.isdecimal():
            raise Refused(Refusal("bad_number", f"{day!r} is not a day; write 1 to 31", "billing_day"))
        fields["anchor_day"] = int(day)
    return fields


def _credentials(row: dict[str, str]) -> list[NewCredential]:
    credentials = []
    if row.get("username"):
        credentials.append(_pppoe(row))
    if row.get("mac"):
        credentials.append(NewCredential("mac", row["mac"], None))
    if row.get("circuit_id") or row.get("remote_id"):
        try:
            line = line_name(row.get("circuit_id"), row.get("remote_id"))
        except NotALine as trouble:
            raise Refused(Refusal("line.malformed", str(trouble), "circuit_id")) from None
        credentials.append(NewCredential("circuit", line))
    if row.get("nas_port"):
        credentials.append(NewCredential("port", row["nas_port"]))
    return credentials


def _pppoe(row: dict[str, str]) -> NewCredential:
    """A password in clear, or a hash: in its own column, or told by how it is written."""
    password, hashed = row.get("password"), row.get("password_hash")
    if password and hashed:
        raise Refused(Refusal("two_passwords", "give the password or its hash, not both", "password_hash"))
    if hashed:
        return NewCredential("pppoe", row["username"], password_hash=Secret(hashed))
    if not password:
        raise Refused(Refusal("no_password", "a PPPoE username needs a password", "password"))
    try:
        is_hash = read_hash(password) is not None
    except NotUsable as trouble:
        raise Refused(Refusal("password_hash.unusable", str(trouble), "password")) from None
    if is_hash:
        return NewCredential("pppoe", row["username"], password_hash=Secret(password))
    return NewCredential("pppoe", row["username"], Secret(clear_text(password)))


def _date(text: str | None) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused(
            Refusal("bad_date", f"{text!r} is not a date; write 2026-03-31", "start_date")
        ) from None
