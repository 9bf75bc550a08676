"""International bank account numbers (ISO 13616)."""

from __future__ import annotations


def check_iban(text: str) -> str:
    """The IBAN without blanks, in capitals. Raises ``ValueError``: its rest by 97 must be 1 (ISO 13616)."""
    iban = "".join(text.split()).upper()
    if not (15 <= len(iban) <= 34 and iban.isascii() and iban.isalnum() and iban[:2].isalpha()):
        raise ValueError("this is no IBAN; write it like DE02 1203 0000 0000 2020 51")
    if int("".join(str(int(one, 36)) for one in iban[4:] + iban[:4])) % 97 != 1:
        raise ValueError("the check digits of this IBAN are wrong; compare it with the bank's letter")
    return iban
