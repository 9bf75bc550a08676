"""What is done with a shared secret: authenticators, Message-Authenticators, hidden passwords, MPPE keys.

The MD5 states that begin with the secret are made once for each NAS and copied for each packet, which is
several times cheaper than starting from nothing. MD5 here is what the protocol prescribes; it protects
nothing else.
"""

from __future__ import annotations

from hmac import compare_digest
from itertools import count
from typing import Any, Final

from radius.packet.codec import MAX_PACKET_OCTETS, MalformedPacket

try:
    from _md5 import md5 as _builtin_md5  # type: ignore[import-not-found] # half the cost of OpenSSL's for short inputs

    md5: Any = _builtin_md5
except ImportError:  # a Python built without it
    from hashlib import md5 as _openssl_md5

    md5 = _openssl_md5

_salts = count()
_ZEROS: Final = bytes(16)
_PADDING: Final = bytes(15)
_BLOCK: Final = 64
_MA_HEADER: Final = b"\x50\x12"  # Message-Authenticator, 18 octets


def new_salt() -> bytes:
    """Two octets: the first bit is set, and no two of one packet are the same (RFC 2548 section 2.4.2)."""
    return (0x8000 | next(_salts) & 0x7FFF).to_bytes(2, "big")


class SharedSecret:
    """The secret between us and one NAS, prepared."""

    __slots__ = ("_inner", "_outer", "_prefix", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._prefix = md5(secret)
        key = md5(secret).digest() if len(secret) > _BLOCK else secret
        key = key.ljust(_BLOCK, b"\0")
        self._inner = md5(bytes(octet ^ 0x36 for octet in key))
        self._outer = md5(bytes(octet ^ 0x5C for octet in key))

    def __repr__(self) -> str:
        return "SharedSecret(…)"

    def _hmac(self, octets: bytes) -> bytes:
        inner = self._inner.copy()
        inner.update(octets)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()  # type: ignore[no-any-return]

    def access_is_signed(self, packet: bytes, at: int) -> bool:
        """Whether the Message-Authenticator at ``at`` of an Access-Request or Status-Server is right.

        RFC 3579 section 3.2: over the packet as it is, with zeros in its own place.
        """
        value = at + 2
        signed = packet[:value] + _ZEROS + packet[value + 16 :]
        return compare_digest(self._hmac(signed), packet[value : value + 16])

    def accounting_is_signed(self, packet: bytes, at: int) -> bool:
        """The same of an Accounting-Request: its authenticator, made last, counts as zeros too."""
        return self.access_is_signed(packet[:4] + _ZEROS + packet[20:], at)

    def request_is_right(self, packet: bytes) -> bool:
        """Whether the authenticator of an Accounting-Request is right (RFC 2866 section 3)."""
        expected = md5(packet[:4] + _ZEROS + packet[20:] + self._secret).digest()
        return compare_digest(expected, packet[4:20])

    def sign_request(self, header: bytes, attributes: bytes) -> bytes:
        """An Accounting-Request under its authenticator; ``header`` is the first four octets."""
        authenticator = md5(header + _ZEROS + attributes + self._secret).digest()
        return header + authenticator + attributes  # type: ignore[no-any-return]

    def reply(self, code: int, request: bytes, attributes: bytes) -> bytes:
        """A reply with a Message-Authenticator in front of ``attributes`` (CVE-2024-3596)."""
        length = 38 + len(attributes)
        if length > MAX_PACKET_OCTETS:
            raise MalformedPacket("the reply does not fit: too much Proxy-State")
        header = bytes((code, request[1], length >> 8, length & 255))
        authenticator = request[4:20]
        signature = self._hmac(header + authenticator + _MA_HEADER + _ZEROS + attributes)
        body = _MA_HEADER + signature + attributes
        response = md5(header + authenticator + body + self._secret).digest()
        return header + response + body  # type: ignore[no-any-return]

    def plain_reply(self, code: int, request: bytes, attributes: bytes) -> bytes:
        """A reply without a Message-Authenticator: an Accounting-Response (RFC 2866 section 4.2)."""
        length = 20 + len(attributes)
        header = bytes((code, request[1], length >> 8, length & 255))
        response = md5(header + request[4:20] + attributes + self._secret).digest()
        return header + response + attributes  # type: ignore[no-any-return]

    def access_request(self, header: bytes, authenticator: bytes, attributes: bytes) -> bytes:
        """An Access-Request or Status-Server of ours, its Message-Authenticator in front.

        RFC 3579 section 3.2. ``header``: the code and the identifier. Raises ``MalformedPacket`` when it does
        not fit.
        """
        length = 38 + len(attributes)
        if length > MAX_PACKET_OCTETS:
            raise MalformedPacket("the request does not fit: too many attributes")
        begin = header + bytes((length >> 8, length & 255)) + authenticator + _MA_HEADER
        return begin + self._hmac(begin + _ZEROS + attributes) + attributes

    def dynauth_request(self, header: bytes, attributes: bytes) -> bytes:
        """A CoA- or Disconnect-Request, signed (RFC 5176 section 2.3); ``header``: code and identifier."""
        signed = self.access_request(header, _ZEROS, attributes)
        return self.sign_request(signed[:4], signed[20:])

    def response_is_right(self, reply: bytes, request_authenticator: bytes) -> bool:
        """Whether a reply to our request was made with this secret (RFC 2865 section 3)."""
        expected = md5(reply[:4] + request_authenticator + reply[20:] + self._secret).digest()
        return compare_digest(expected, reply[4:20])

    def response_is_signed(self, reply: bytes, at: int, request_authenticator: bytes) -> bool:
        """Whether the Message-Authenticator at ``at`` of a reply to our request is right."""
        return self.access_is_signed(reply[:4] + request_authenticator + reply[20:], at)

    def show_password(self, hidden: bytes, authenticator: bytes) -> bytes:
        """A User-Password in clear, without its padding (RFC 2865 section 5.2)."""
        size = len(hidden)
        if size == 16:  # nearly every password
            return self._mask(hidden, authenticator).rstrip(b"\0")
        if size == 0:
            return b""
        if size % 16 or size > 128:
            raise MalformedPacket("a User-Password of an impossible length")
        previous, clear = authenticator, b""
        for at in range(0, size, 16):
            block = hidden[at : at + 16]
            clear += self._mask(block, previous)
            previous = block
        return clear.rstrip(b"\0")

    def hide_password(self, password: bytes, authenticator: bytes) -> bytes:
        """A User-Password as it travels (RFC 2865 section 5.2)."""
        padded = password + bytes(-len(password) % 16)
        previous, hidden = authenticator, b""
        for at in range(0, max(len(padded), 16), 16):
            previous = self._mask(padded[at : at + 16].ljust(16, b"\0"), previous)
            hidden += previous
        return hidden

    def hide_key(self, key: bytes, authenticator: bytes, salt: bytes) -> bytes:
        """A 16-octet MPPE key, hidden (RFC 2548 section 2.4.2). ``salt``: two octets, the first bit set."""
        first = self._mask(b"\x10" + key[:15], authenticator + salt)
        return salt + first + self._mask(key[15:] + _PADDING, first)

    def hide_long_key(self, key: bytes, authenticator: bytes, salt: bytes) -> bytes:
        """A key of another length, such as EAP's 32 octets, hidden in the same way."""
        clear = bytes((len(key),)) + key
        clear += bytes(-len(clear) % 16)
        previous, hidden = authenticator + salt, salt
        for at in range(0, len(clear), 16):
            previous = self._mask(clear[at : at + 16], previous)
            hidden += previous
        return hidden

    def show_key(self, hidden: bytes, authenticator: bytes) -> bytes:
        """The MPPE key in a hidden one: the inverse of ``hide_key``."""
        previous, clear = authenticator + hidden[:2], b""
        for at in range(2, len(hidden), 16):
            block = hidden[at : at + 16]
            clear += self._mask(block, previous)
            previous = block
        return clear[1 : 1 + clear[0]]

    def hide_salted(self, clear: bytes, authenticator: bytes, salt: bytes) -> bytes:
        """Any value, hidden with a salt (RFC 2868 section 3.5). ``salt``: two octets, the first bit set."""
        counted = bytes((len(clear),)) + clear
        previous, hidden = authenticator + salt, salt
        for at in range(0, len(counted), 16):
            previous = self._mask(counted[at : at + 16].ljust(16, b"\0"), previous)
            hidden += previous
        return hidden

    def _mask(self, block: bytes, previous: bytes) -> bytes:
        state = self._prefix.copy()
        state.update(previous)
        pad = int.from_bytes(state.digest(), "big") ^ int.from_bytes(block, "big")
        return pad.to_bytes(16, "big")
