"""Proofs of a password, whatever wire they came by, and what a credential must be to pass them.

A proof is what the device showed; ``matches`` compares it with a login in constant time. An empty password
never passes for a login that has one, and a login without a password passes nothing but a MAC's own proof.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import md5
from hmac import compare_digest
from typing import NamedTuple

from aaa.domain import mschap
from aaa.domain.identity import normalise_mac
from aaa.domain.mac_convention import MacConvention
from aaa.domain.password_hash import PasswordHash


@dataclass(frozen=True, slots=True)
class Credential:
    """One way to sign in. ``password`` is empty for a MAC login and where only a hash is kept.

    The NT hashes are made when the directory loads; they are empty too where another hash alone is kept.
    """

    username: str
    kind: str  # pppoe, mac
    password: bytes = field(repr=False)
    nt_hash: bytes = field(repr=False)
    nt_hash_hash: bytes = field(repr=False)
    hashed: PasswordHash | None = None


class Pap(NamedTuple):
    """The password itself."""

    password: bytes

    def __repr__(self) -> str:
        return "Pap(…)"

    def matches(self, credential: Credential) -> bool:
        """True when the password is the credential's."""
        return compare_digest(self.password, credential.password)

    def shows_mac(self, username: bytes, macs: MacConvention) -> bool:
        """True when it is the password that this kind of NAS sends for a MAC login."""
        match macs.password:
            case "shared":
                return bool(macs.shared) and compare_digest(self.password, macs.shared)
            case "mac":
                return _same_mac(self.password, username)
            case "either":
                return not self.password or _same_mac(self.password, username)
            case how:
                return how == "any" or not self.password


class Chap(NamedTuple):
    """RFC 1994: MD5 of identifier, password and challenge."""

    identifier: int
    challenge: bytes
    response: bytes

    def matches(self, credential: Credential) -> bool:
        """True when the response was made with the credential's password."""
        return compare_digest(self.made_with(credential.password), self.response)

    def shows_mac(self, username: bytes, macs: MacConvention) -> bool:
        """True when it was made with what this kind of NAS sends; the MAC counts as it was sent."""
        match macs.password:
            case "shared":
                passwords = [macs.shared] if macs.shared else []
            case "mac":
                passwords = [username]
            case "either":
                passwords = [b"", username]
            case how:
                if how == "any":
                    return True
                passwords = [b""]
        return any(compare_digest(self.made_with(one), self.response) for one in passwords)

    def made_with(self, password: bytes) -> bytes:
        """The response this password makes to the challenge."""
        return md5(bytes((self.identifier,)) + password + self.challenge, usedforsecurity=False).digest()


class MsChap(NamedTuple):
    """RFC 2433, the NT response. The LAN Manager response is not accepted: it can be broken by hand."""

    challenge: bytes
    nt_response: bytes

    def matches(self, credential: Credential) -> bool:
        """True when the response was made with the credential's password."""
        return compare_digest(mschap.challenge_response(self.challenge, credential.nt_hash), self.nt_response)

    def shows_mac(self, username: bytes, macs: MacConvention) -> bool:
        """Devices do not send MAC logins this way."""
        return False


class MsChapV2(NamedTuple):
    """RFC 2759. ``challenge`` is the challenge hash; ``identifier`` returns in the success packet."""

    identifier: int
    challenge: bytes
    nt_response: bytes

    def matches(self, credential: Credential) -> bool:
        """True when the response was made with the credential's password."""
        expected = mschap.challenge_response(self.challenge, credential.nt_hash)
        return compare_digest(expected, self.nt_response)

    def shows_mac(self, username: bytes, macs: MacConvention) -> bool:
        """Devices do not send MAC logins this way."""
        return False

    def success(self, credential: Credential) -> bytes:
        """The authenticator response that proves us to the peer."""
        return mschap.authenticator_response(credential.nt_hash_hash, self.nt_response, self.challenge)


class Nothing(NamedTuple):
    """The request carried no proof at all."""

    def matches(self, credential: Credential) -> bool:
        """Nothing proves nothing."""
        return False

    def shows_mac(self, username: bytes, macs: MacConvention) -> bool:
        """Some access points send no password where others send an empty one."""
        return macs.password in {"empty", "either", "any"}


Proof = Pap | Chap | MsChap | MsChapV2 | Nothing


def looks_garbled(password: bytes) -> bool:
    """True when a decrypted password looks like noise: the sign of two different shared secrets.

    A typed password is UTF-8, or an old single-octet alphabet with few letters beyond ASCII.
    """
    try:
        password.decode()
    except UnicodeDecodeError:
        beyond_ascii = sum(octet >= 0x80 for octet in password)
        return any(octet < 0x20 for octet in password) or beyond_ascii * 4 >= len(password)
    return False


def _same_mac(password: bytes, username: bytes) -> bool:
    mac = normalise_mac(username.decode("utf-8", "replace"))
    return mac is not None and normalise_mac(password.decode("utf-8", "replace")) == mac
