"""Take in a bank statement: each line once, whatever file tells of it; what is certain is recorded."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.domain.bank_csv import CsvMapping, read_mapping
from billing.domain.bank_file_fault import BankFileFault
from billing.domain.bank_matching import Match, Register
from billing.domain.bank_statement import (
    Statement,
    StatementLine,
    check_statement,
    line_keys,
    mask_account,
    plain,
)
from billing.payments.bank.read_statement import LARGEST_FILE, read_statements
from billing.payments.bank.record_part import record_part
from billing.store import account_rows, ach_rows, bank_rows
from core.refusal import Refusal, Refused, answering, granted, refuse
from core.secrets import Sealer
from core.work import Work

_MARK_PURPOSE = "billing.payer_mark"


@dataclass(frozen=True, slots=True)
class StatementTaken:
    """What a file changed. ``outcome``: taken, or exists when the same octets came before."""

    file_id: str
    outcome: str
    lines: int
    new_lines: int
    matched: int
    waiting: int


@dataclass(frozen=True, slots=True)
class PreviewedLine:
    """A line as it was read, whether it is known, and what would become of it."""

    line: StatementLine
    known: bool
    match: Match


@dataclass(frozen=True, slots=True)
class Preview:
    """What an import would do. Nothing is written."""

    format: str
    statements: tuple[Statement, ...]
    lines: tuple[PreviewedLine, ...]


def payer_mark(sealer: Sealer, line: StatementLine) -> str | None:
    """A keyed fingerprint of who paid: his account's number, else his name; None when neither is told."""
    told = f"account:{plain(line.payer_account)}" if plain(line.payer_account) else ""
    told = told or (f"name:{' '.join(line.payer_name.casefold().split())}" if line.payer_name else "")
    if not told:
        return None
    return hmac.digest(sealer.derive_key(_MARK_PURPOSE), told.encode(), "sha256").hex()


async def preview_statement(
    connection: AsyncConnection, sealer: Sealer, *, house_account: str, content: bytes
) -> Preview | Refusal:
    """Read a file and say what importing it would do."""
    home = await bank_rows.find_house_account(connection, house_account)
    if home is None:
        return _unknown(house_account)
    try:
        kind, statements = _read(home, content)
    except Refused as refused:
        return refused.refusal
    register = await _register(connection, home.currency)
    previewed = []
    for statement in statements:
        keys = line_keys(statement.lines)
        known = await bank_rows.known_keys(connection, home.id, keys)
        previewed += [
            PreviewedLine(line, key in known, register.match(line, payer_mark(sealer, line)))
            for line, key in zip(statement.lines, keys, strict=True)
        ]
    return Preview(kind, tuple(statements), tuple(previewed))


@answering
async def import_statement(
    work: Work, sealer: Sealer, *, house_account: str, content: bytes, name: str
) -> StatementTaken:
    """Import a file of the house's account (id or name). It is taken whole, or refused with line and field.

    The same file, one that overlaps, or an older one that comes late change nothing that is known.
    """
    home = await bank_rows.find_house_account(work.connection, house_account, lock=True)
    if home is None:
        raise Refused(_unknown(house_account))
    kind, statements = _read(home, content)
    digest = hashlib.sha256(home.id.encode() + b"\0" + content).hexdigest()
    file_id = work.ids.new("bkf")
    row: dict[str, Any] = {
        "id": file_id, "kind": kind, "sha256": digest, "name": name.strip()[:120] or "statement",
        "octets": len(content), "imported_at": work.now, "imported_by": work.actor, "summary": {},
    }  # fmt: skip
    if not await ach_rows.insert_file(work.connection, row):
        known = await ach_rows.file_of_hash(work.connection, kind, digest)
        if known is None:
            raise RuntimeError("a file is neither new nor there")
        return StatementTaken(known.id, "exists", **known.summary)
    taker = _Taker(work, sealer, home, await _register(work.connection, home.currency))
    for statement in statements:
        await taker.store(statement, file_id)
    summary = {
        "lines": sum(len(one.lines) for one in statements), "new_lines": len(taker.fresh),
        "matched": await taker.record_certain(), "waiting": 0,
    }  # fmt: skip
    summary["waiting"] = summary["new_lines"] - summary["matched"]
    await ach_rows.set_summary(work.connection, file_id, summary)
    await work.audit(
        "billing.statement_imported", home.id, file=row["name"], sha256=digest, format=kind, **summary
    )
    return StatementTaken(file_id, "taken", **summary)


def _unknown(house_account: str) -> Refusal:
    return Refusal("unknown_house_account", f"the house has no bank account {house_account}", "house_account")


def _read(home: Row[Any], content: bytes) -> tuple[str, list[Statement]]:
    if len(content) > LARGEST_FILE:
        refuse("too_large", f"the file is over {LARGEST_FILE // 2**20} MiB", "file")
    mapping: CsvMapping | None = None if home.csv_mapping is None else granted(read_mapping(home.csv_mapping))
    try:
        kind, statements = read_statements(content, mapping, home.currency)
        for one in statements:
            check_statement(
                one, home.currency, home.identification, line=one.lines[0].line if one.lines else 1
            )
    except BankFileFault as fault:
        refuse("bad_file", str(fault), "file")
    if not any(one.lines for one in statements):
        refuse("no_lines", "there is no booked movement in the file", "file")
    return kind, statements


async def _register(connection: AsyncConnection, currency: str) -> Register:
    return Register.of(
        await bank_rows.known_accounts(connection, currency),
        await bank_rows.known_invoices(connection, currency),
        await bank_rows.payer_accounts(connection),
    )


class _Taker:
    """Stores the lines of one file and records what is certain."""

    def __init__(self, work: Work, sealer: Sealer, home: Row[Any], register: Register) -> None:
        self._work = work
        self._sealer = sealer
        self._home = home
        self._register = register
        self.fresh: list[tuple[str, StatementLine, Match]] = []

    async def store(self, statement: Statement, file_id: str) -> None:
        """Write the statement, and those of its lines that are not known."""
        work = self._work
        statement_id = work.ids.new("bst")
        keys = line_keys(statement.lines)
        known = await bank_rows.known_keys(work.connection, self._home.id, keys)
        rows = []
        for line, key in zip(statement.lines, keys, strict=True):
            if key in known:
                continue
            mark = payer_mark(self._sealer, line)
            line_id = work.ids.new("bln")
            rows.append({
                "id": line_id, "house_account_id": self._home.id, "statement_id": statement_id,
                "line_key": key, "booked_on": line.booked_on, "value_on": line.value_on,
                "amount_minor": line.amount_minor, "currency": line.currency, "reversal": line.reversal,
                "bank_reference": line.bank_reference[:140], "end_to_end_id": line.end_to_end_id[:140],
                "remittance": line.remittance, "payer_name": line.payer_name[:140],
                "payer_shown": mask_account(line.payer_account) if line.payer_account else "",
                "payer_mark": mark, "state": "open", "recorded_at": work.now,
            })  # fmt: skip
            self.fresh.append((line_id, line, self._register.match(line, mark)))
        await bank_rows.insert_statement(
            work.connection,
            {
                "id": statement_id, "house_account_id": self._home.id, "bank_file_id": file_id,
                "reference": statement.reference[:60], "opened_on": statement.opened_on,
                "closed_on": statement.closed_on, "opening_minor": statement.opening_minor,
                "closing_minor": statement.closing_minor, "lines": len(statement.lines),
                "new_lines": len(rows), "recorded_at": work.now,
            },
        )  # fmt: skip
        await bank_rows.insert_lines(work.connection, rows)

    async def record_certain(self) -> int:
        """Record the payments of lines whose account is certain; how many."""
        certain = [
            (line_id, line, match.certain)
            for line_id, line, match in self.fresh
            if match.certain is not None and not line.reversal
        ]
        await account_rows.lock_accounts(
            self._work.connection, sorted({match.account_id for _, _, match in certain})
        )
        for line_id, line, match in certain:
            part = await record_part(
                self._work, line_id=line_id, attempt=0, number=1, account_id=match.account_id,
                amount_minor=line.amount_minor, currency=line.currency, booked_on=line.booked_on,
                reference=line.bank_reference or line.end_to_end_id, first=match.invoice_ids,
            )  # fmt: skip
            await bank_rows.set_line_state(self._work.connection, line_id, "assigned")
            await bank_rows.insert_decision(
                self._work.connection,
                {
                    "line_id": line_id, "kind": "matched", "because": match.because, "parts": [part],
                    "at": self._work.now, "by": self._work.actor,
                },
            )  # fmt: skip
        return len(certain)
