"""Bank to customer statements of ISO 20022: camt.053.001.02 to .08 (and later ones that kept the elements).

Every transaction of a batch booking is a line of its own when the bank tells the amounts. Namespaces are read
by the element's own name: the versions differ in them and in little else that matters here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from xml.etree.ElementTree import Element  # the type alone: the parser is defusedxml's

from billing.domain.bank_file_fault import BankFileFault
from billing.domain.bank_statement import Statement, StatementLine, clean_text, minor_of

LinesOf = dict[int, int]
"""Line of the file by ``id()`` of an element."""


def read_camt053(root: Element, lines: LinesOf) -> list[Statement]:
    """The statements in a parsed document. Raises ``BankFileFault`` naming line and element."""
    body = _child(root, "BkToCstmrStmt")
    if _name(root) != "Document" or body is None:
        raise BankFileFault(1, "Document", "this is no camt.053 statement (Document/BkToCstmrStmt)")
    return [_Reader(lines, one).statement() for one in _children(body, "Stmt")]


def _name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _children(element: Element | None, name: str) -> Iterator[Element]:
    return (one for one in ([] if element is None else list(element)) if _name(one) == name)


def _child(element: Element | None, *path: str) -> Element | None:
    for name in path:
        element = next(_children(element, name), None)
    return element


def _text(element: Element | None, *path: str) -> str:
    found = _child(element, *path)
    return "" if found is None else clean_text(found.text)


class _Reader:
    """Reads one ``Stmt``."""

    def __init__(self, lines: LinesOf, statement: Element) -> None:
        self._lines = lines
        self._statement = statement

    def _line(self, element: Element | None) -> int:
        return 0 if element is None else self._lines.get(id(element), 0)

    def statement(self) -> Statement:
        top = self._statement
        account = _text(top, "Acct", "Id", "IBAN") or _text(top, "Acct", "Id", "Othr", "Id")
        currency = _text(top, "Acct", "Ccy") or next(
            (one.get("Ccy", "") for balance in _children(top, "Bal") for one in _children(balance, "Amt")), ""
        )
        opening = self._balance(("OPBD", "PRCD"), currency)
        closing = self._balance(("CLBD",), currency)
        lines = [line for entry in _children(top, "Ntry") for line in self._entry(entry)]
        return Statement(
            account, _text(top, "Id"), currency or (lines[0].currency if lines else ""), tuple(lines),
            None if opening is None else opening[0], None if closing is None else closing[0],
            None if opening is None else opening[1], None if closing is None else closing[1],
        )  # fmt: skip

    def _balance(self, codes: tuple[str, ...], currency: str) -> tuple[int, date | None] | None:
        for code in codes:
            for one in _children(self._statement, "Bal"):
                if _text(one, "Tp", "CdOrPrtry", "Cd") == code:
                    amount, told = self._amount(one)
                    if currency and told != currency:
                        raise BankFileFault(self._line(one), "Bal/Amt", f"the balance is in {told}")
                    return amount * self._sign(one), self._date(_child(one, "Dt"), "Bal/Dt")
        return None

    def _amount(self, element: Element) -> tuple[int, str]:
        found = _child(element, "Amt")
        currency = "" if found is None else found.get("Ccy", "")
        if found is None or not currency:
            raise BankFileFault(self._line(element), "Amt", "the amount or its currency is missing")
        try:
            value = Decimal((found.text or "").strip())
        except InvalidOperation:
            raise BankFileFault(self._line(found), "Amt", "it is no number") from None
        amount = minor_of(value, currency, self._line(found), "Amt")
        if amount < 0:
            raise BankFileFault(self._line(found), "Amt", "an amount has no sign here; CdtDbtInd tells it")
        return amount, currency

    def _sign(self, element: Element) -> int:
        told = _text(element, "CdtDbtInd")
        if told not in {"CRDT", "DBIT"}:
            raise BankFileFault(self._line(element), "CdtDbtInd", "it must be CRDT or DBIT")
        return 1 if told == "CRDT" else -1

    def _date(self, element: Element | None, field: str) -> date | None:
        told = _text(element, "Dt") or _text(element, "DtTm")[:10]
        if not told:
            return None
        try:
            return date.fromisoformat(told[:10])
        except ValueError:
            raise BankFileFault(self._line(element), field, f"{told!r} is no date") from None

    def _entry(self, entry: Element) -> list[StatementLine]:
        status = _text(entry, "Sts", "Cd") or _text(entry, "Sts")
        if status != "BOOK":  # announced or for information: it comes again when it is booked
            return []
        amount, currency = self._amount(entry)
        sign = self._sign(entry)
        value_on = self._date(_child(entry, "ValDt"), "ValDt")
        booked_on = self._date(_child(entry, "BookgDt"), "BookgDt") or value_on
        if booked_on is None:
            raise BankFileFault(self._line(entry), "BookgDt", "the day of booking is missing")
        details = [one for group in _children(entry, "NtryDtls") for one in _children(group, "TxDtls")]
        parts = self._parts(details, amount, currency, sign)
        reversal = _text(entry, "RvslInd").lower() in {"true", "1"}
        reference = _text(entry, "AcctSvcrRef") or _text(entry, "NtryRef")
        return [
            self._made(entry, detail, StatementLine(
                self._line(detail if detail is not None else entry), booked_on, value_on, part, currency,
                reversal, reference,
            ))
            for detail, part in parts
        ]  # fmt: skip

    def _parts(
        self, details: list[Element], amount: int, currency: str, sign: int
    ) -> list[tuple[Element | None, int]]:
        """The transactions with signed amounts; the entry whole when the bank does not tell them apart."""
        if len(details) <= 1:
            return [(details[0] if details else None, sign * amount)]
        parts: list[tuple[Element | None, int]] = []
        for one in details:
            holder = one if _child(one, "Amt") is not None else _child(one, "AmtDtls", "TxAmt")
            if holder is None:
                return [(None, sign * amount)]
            part, told = self._amount(holder)
            if told != currency:
                return [(None, sign * amount)]
            own = self._sign(one) if _child(one, "CdtDbtInd") is not None else sign
            parts.append((one, own * part))
        if sum(part for _, part in parts) != sign * amount:
            message = "the transactions of the entry do not sum to its amount"
            raise BankFileFault(self._line(details[0]), "TxDtls/Amt", message)
        return parts

    def _made(self, entry: Element, detail: Element | None, line: StatementLine) -> StatementLine:
        came_in = (line.amount_minor > 0) != line.reversal  # in a reversal the parties keep their parts
        role = "Dbtr" if came_in else "Cdtr"
        parties = _child(detail, "RltdPties")
        name = _text(parties, role, "Pty", "Nm") or _text(parties, role, "Nm")
        other = _text(parties, f"{role}Acct", "Id", "IBAN") or _text(
            parties, f"{role}Acct", "Id", "Othr", "Id"
        )
        told = _child(detail, "RmtInf")
        texts = [clean_text(one.text) for one in _children(told, "Ustrd")]
        for one in _children(told, "Strd"):
            texts.append(_text(one, "CdtrRefInf", "Ref"))
            texts += [_text(info, "Nb") for info in _children(one, "RfrdDocInf")]
            texts += [clean_text(info.text) for info in _children(one, "AddtlRmtInf")]
        remittance = " ".join(one for one in texts if one)
        remittance = remittance or _text(detail, "AddtlTxInf") or _text(entry, "AddtlNtryInf")
        own = _text(detail, "Refs", "AcctSvcrRef") or _text(detail, "Refs", "TxId")
        end_to_end = _text(detail, "Refs", "EndToEndId")
        return StatementLine(
            line.line, line.booked_on, line.value_on, line.amount_minor, line.currency, line.reversal,
            own or line.bank_reference, "" if end_to_end == "NOTPROVIDED" else end_to_end,
            clean_text(remittance), clean_text(name, 140), clean_text(other, 40),
        )  # fmt: skip
