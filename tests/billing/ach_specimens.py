"""ACH files as banks send them, typed from the public record layouts and not made by our writer."""

from __future__ import annotations

# Two debits of one file came back (R01, R03), each in a batch of its own, without filling nines.
RETURNS = """\
101 091400606 6910001341810170306A094101FIRST EXAMPLE BANK     HILL EXAMPLE            0000001
5200HILLTOP EXAMPLE                     1234567890WEBINTERNET        000101   1091000010000001
626091400606123456789        0000012354A-000017       EXAMPLE ONE           S 1091000017611242
799R01091400600000001      09140060                                            091000017611242
82000000020009140060000000012354000000000000 123456789                         091000010000001
5200HILLTOP EXAMPLE                     1234567890WEBINTERNET        000101   1021000020000002
626091400606867530999999     0000004565A-000018       EXAMPLE TWO           S 1021000029461242
799R03091400600000003      09140060NO SUCH ACCOUNT HERE                        021000029461242
82000000020009140060000000004565000000000000 123456789                         021000020000002
9000002000001000000040018280120000000016919000000000000
"""

# A notification of change: batch class COR, no amount, addenda type 98.
CHANGE = """\
101 23138010401210428821908291236A094101EXAMPLE CLEARING BANK  HILL EXAMPLE
5220HILLTOP EXAMPLE                     121042882 CORINTERNET        000000   1121042880000001
621231380104744-5678-99      0000000000A-000023       EXAMPLE THREE         S 1121042880000001
798C01121042880000001      12104288{corrected:<29}               091012980000088
82200000020023138010000000000000000000000000121042882                          121042880000001
9000001000001000000020023138010000000000000000000000000
"""


def answer_file(*answers: tuple[str, str, str, str, int], made: str = "2603190700") -> bytes:
    """A file with one batch of returns and notifications, with right counts and sums.

    Each answer is ``(code, original trace, return trace, data from column 36, cents)``; codes with R are
    returns, with C notifications. Written column by column here, apart from the product's writer.
    """
    rows, debits = [], 0
    for code, trace, back, told, cents in answers:
        kind = "99" if code.startswith("R") else "98"
        debits += cents
        rows += [
            "626"
            + "091400606"
            + "0000".ljust(17)
            + f"{cents:010d}"
            + "A".ljust(15)
            + "EXAMPLE".ljust(22)
            + "  1"
            + back,
            "7" + kind + code + trace + " " * 6 + "09140060" + told.ljust(44) + back,
        ]
    hashed = f"{9140060 * len(answers) % 10**10:010d}"
    count = 2 * len(answers)
    records = [
        "101 091400606 231380104" + made + "A094101" + "EXAMPLE BANK".ljust(23) + "HILLTOP EXAMPLE".ljust(23) + " " * 8,
        "5200" + "HILLTOP EXAMPLE".ljust(36) + "1234567890" + "PPD" + "INTERNET".ljust(10) + " " * 6 + "000000" + "   1" + "09100001" + "0000001",
        *rows,
        "8200" + f"{count:06d}" + hashed + f"{debits:012d}" + "0" * 12 + "1234567890" + " " * 25 + "09100001" + "0000001",
        "9000001" + f"{-(-(len(rows) + 4) // 10):06d}" + f"{count:08d}" + hashed + f"{debits:012d}" + "0" * 12 + " " * 39,
    ]  # fmt: skip
    assert all(len(one) == 94 for one in records), [len(one) for one in records]
    return ("\n".join(records) + "\n").encode()
