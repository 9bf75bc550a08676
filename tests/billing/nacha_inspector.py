"""A second opinion on an ACH file, from the record layouts alone: it shares no code with the product."""

from __future__ import annotations

import re
from datetime import date

_FIELDS = {  # (first column, last column, pattern) of every field that has a fixed form
    "1": [(1, 1, "1"), (2, 3, "01"), (4, 13, r"[ 0-9]\d{9}"), (14, 23, r"[ \w]{10}"), (24, 29, r"\d{6}"), (30, 33, r"\d{4}"),
          (34, 34, r"[A-Z0-9]"), (35, 37, "094"), (38, 39, "10"), (40, 40, "1")],
    "5": [(1, 1, "5"), (2, 4, "200|220|225"), (5, 20, r"\S.{15}"), (41, 50, r"\S.{9}"), (51, 53, "PPD|CCD|WEB"), (54, 63, r"\S.{9}"),
          (70, 75, r"\d{6}"), (76, 78, " {3}"), (79, 79, "1"), (80, 87, r"\d{8}"), (88, 94, r"\d{7}")],
    "6": [(1, 1, "6"), (2, 3, "2[2378]|3[2378]"), (4, 11, r"\d{8}"), (12, 12, r"\d"), (13, 29, r"\S.{16}"), (30, 39, r"\d{10}"),
          (55, 76, r"\S.{21}"), (79, 79, "[01]"), (80, 94, r"\d{15}")],
    "7": [(1, 1, "7"), (2, 3, "05"), (84, 87, r"\d{4}"), (88, 94, r"\d{7}")],
    "8": [(1, 1, "8"), (2, 4, "200|220|225"), (5, 10, r"\d{6}"), (11, 20, r"\d{10}"), (21, 32, r"\d{12}"), (33, 44, r"\d{12}"),
          (74, 79, " {6}"), (80, 87, r"\d{8}"), (88, 94, r"\d{7}")],
    "9": [(1, 1, "9"), (2, 7, r"\d{6}"), (8, 13, r"\d{6}"), (14, 21, r"\d{8}"), (22, 31, r"\d{10}"), (32, 43, r"\d{12}"), (44, 55, r"\d{12}"), (56, 94, " {39}")],
}  # fmt: skip


def _cut(record: str, first: int, last: int) -> str:
    return record[first - 1 : last]


def inspect(octets: bytes) -> list[str]:
    """Everything that is wrong with the file; an empty list for a good one."""
    text = octets.decode("ascii")
    records = text.split("\r\n")
    wrong = [] if records.pop() == "" else ["the last record is not ended"]
    wrong += [f"record {n} has {len(one)} columns" for n, one in enumerate(records, 1) if len(one) != 94]
    if len(records) % 10:
        wrong.append(f"{len(records)} records are no whole blocks")
    body = list(records)
    while body and body[-1] == "9" * 94:
        body.pop()
    for number, record in enumerate(body, 1):
        for first, last, form in _FIELDS.get(record[0], []):
            if not re.fullmatch(form, _cut(record, first, last)):
                wrong.append(f"record {number} columns {first}-{last}: {_cut(record, first, last)!r}")
    kinds = "".join(record[0] for record in body)
    if not re.fullmatch(r"1(5(67*)+8)+9", kinds):
        wrong.append(f"records in the order {kinds}")
        return wrong
    file_sums = [0, 0, 0, 0]
    traces: list[str] = []
    sums = [0, 0, 0, 0]  # entries and addenda, hash, debits, credits
    head = ""
    for record in body:
        if record[0] == "5":
            sums, head = [0, 0, 0, 0], record
        elif record[0] == "6":
            routing = _cut(record, 4, 12)
            if (3 * sum(int(routing[i]) for i in (0, 3, 6)) + 7 * sum(int(routing[i]) for i in (1, 4, 7)) + sum(int(routing[i]) for i in (2, 5, 8))) % 10:  # fmt: skip
                wrong.append(f"routing number {routing}")
            cents, code = int(_cut(record, 30, 39)), _cut(record, 2, 3)
            if (code[1] in "38") != (cents == 0):
                wrong.append(f"transaction code {code} with {cents} cents")
            sums[0] += 1
            sums[1] += int(routing[:8])
            sums[3 if code[1] in "23" else 2] += cents
            traces.append(_cut(record, 80, 94))
            if traces[-1][:8] != _cut(head, 80, 87):
                wrong.append("a trace number does not begin with the ODFI")
            if _cut(head, 51, 53) == "WEB" and _cut(record, 77, 78).strip() not in {"R", "S"}:
                wrong.append("a WEB entry without its payment type code")
        elif record[0] == "7":
            sums[0] += 1
        elif record[0] == "8":
            said = [int(_cut(record, *c)) for c in ((5, 10), (11, 20), (21, 32), (33, 44))]
            if said != [sums[0], sums[1] % 10**10, sums[2], sums[3]]:
                wrong.append(f"batch control {said}, found {sums}")
            expected = "200" if sums[2] and sums[3] else None
            if expected and _cut(record, 2, 4) != expected:
                wrong.append("service class of a mixed batch")
            if (_cut(record, 2, 4), _cut(record, 45, 54), _cut(record, 80, 94)) != (_cut(head, 2, 4), _cut(head, 41, 50), _cut(head, 80, 94)):  # fmt: skip
                wrong.append("batch control does not repeat its header")
            file_sums = [one + other for one, other in zip(file_sums, sums, strict=True)]
    control = body[-1]
    said = [int(_cut(control, *c)) for c in ((2, 7), (8, 13), (14, 21), (22, 31), (32, 43), (44, 55))]
    found = [kinds.count("5"), len(records) // 10, file_sums[0], file_sums[1] % 10**10, *file_sums[2:]]
    if said != found:
        wrong.append(f"file control {said}, found {found}")
    if traces != sorted(set(traces)):
        wrong.append("trace numbers do not ascend")
    for record in body:
        if record[0] == "5":
            day = _cut(record, 70, 75)
            if date(2000 + int(day[:2]), int(day[2:4]), int(day[4:])).weekday() > 4:
                wrong.append(f"effective entry date {day} is on a weekend")
    return wrong
