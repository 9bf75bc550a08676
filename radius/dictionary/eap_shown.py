"""An EAP packet in a few words (RFC 3748 section 4): code, identifier, method, size; never its contents."""

from __future__ import annotations

from typing import Final

_CODES: Final = {1: "Request", 2: "Response", 3: "Success", 4: "Failure"}
_METHODS: Final = {
    1: "Identity", 2: "Notification", 3: "Nak", 4: "MD5-Challenge", 5: "OTP", 6: "GTC", 13: "TLS", 17: "LEAP",
    18: "SIM", 21: "TTLS", 23: "AKA", 25: "PEAP", 26: "MSCHAPv2", 43: "FAST", 50: "AKA'", 52: "PWD",
    55: "TEAP", 254: "expanded",
}  # fmt: skip


def shown_eap(octets: bytes) -> str:
    """What kind of packet it is."""
    if len(octets) < 4:
        return f"{len(octets)} octets of EAP"
    code = _CODES.get(octets[0], f"code {octets[0]}")
    method = ""
    if octets[0] in (1, 2) and len(octets) > 4:
        method = f" {_METHODS.get(octets[4], f'type {octets[4]}')}"
    return f"{code} {octets[1]}{method}, {len(octets)} octets"
