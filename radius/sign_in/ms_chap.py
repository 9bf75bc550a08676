"""What an Access-Accept carries after MS-CHAP: the proof for the peer and the keys for the NAS (RFC 2548)."""

from __future__ import annotations

from typing import Final

from aaa.domain.mschap import mppe_keys
from radius.packet.codec import MICROSOFT, integer, vendor_attribute
from radius.packet.shared_secret import SharedSecret, new_salt

_MPPE_KEYS: Final = 12  # MS-CHAP-MPPE-Keys, of version 1
_ALLOWED: Final = vendor_attribute(MICROSOFT, 7, integer(1)) + vendor_attribute(MICROSOFT, 8, integer(6))
"""Encryption is allowed, with 40 or 128 bits (sections 2.4.4 and 2.4.5)."""
_SUCCESS_HEADER: Final = vendor_attribute(MICROSOFT, 26, bytes(43))[:8]  # MS-CHAP2-Success
_SEND_KEY_HEADER: Final = vendor_attribute(MICROSOFT, 16, bytes(34))[:8]  # MS-MPPE-Send-Key
_RECV_KEY_HEADER: Final = vendor_attribute(MICROSOFT, 17, bytes(34))[:8]  # MS-MPPE-Recv-Key


def keys_and_success(
    secret: SharedSecret, packet: bytes, nt_hash_hash: bytes, nt_response: bytes, success: bytes
) -> bytes:
    """Version 2 (sections 2.3.3 and 2.4). ``success``: the response's Ident and the 42 octets of ``S=…``."""
    authenticator = packet[4:20]
    send, receive = mppe_keys(nt_hash_hash, nt_response)
    return (
        _SUCCESS_HEADER + success
        + _SEND_KEY_HEADER + secret.hide_key(send, authenticator, new_salt())
        + _RECV_KEY_HEADER + secret.hide_key(receive, authenticator, new_salt())
        + _ALLOWED
    )  # fmt: skip


def keys_of_first_version(secret: SharedSecret, packet: bytes, nt_hash_hash: bytes) -> bytes:
    """Version 1 (section 2.4.1): no LAN Manager key, the NT key, hidden like a password."""
    keys = secret.hide_password(bytes(8) + nt_hash_hash, packet[4:20])
    return vendor_attribute(MICROSOFT, _MPPE_KEYS, keys) + _ALLOWED
