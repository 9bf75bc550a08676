"""The names of packet codes (RFC 2865 section 3, RFC 2866, RFC 5176 section 2.3, RFC 5997)."""

from __future__ import annotations

from typing import Final

CODES: Final = {
    1: "Access-Request", 2: "Access-Accept", 3: "Access-Reject", 4: "Accounting-Request",
    5: "Accounting-Response", 11: "Access-Challenge", 12: "Status-Server", 13: "Status-Client",
    40: "Disconnect-Request", 41: "Disconnect-ACK", 42: "Disconnect-NAK",
    43: "CoA-Request", 44: "CoA-ACK", 45: "CoA-NAK",
}  # fmt: skip


def code_name(code: int) -> str:
    """The name, or the number in words."""
    return CODES.get(code, f"code {code}")
