"""Passwords of which only a hash is kept: which hashes are read, what each can prove, and the check itself.

A hash is told by how it is written, with or without the scheme in braces that other systems put in front:
``$argon2id$…``, ``$2b$…``, ``{NT}…``, ``{SSHA}…``. What looks like a hash and is none that is read here is
refused by name: kept as if it were a password, it would lock its subscriber out.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from binascii import Error as NotBase64
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Final

from aaa.domain.nt_hash import nt_hash

_BRACED: Final = re.compile(r"\{([A-Za-z0-9.\-]{1,20})\}(.*)", re.DOTALL)
_ARGON2ID: Final = re.compile(r"\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_BCRYPT: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_NT: Final = re.compile(r"[0-9A-Fa-f]{32}")
_CRYPT: Final = re.compile(r"\$[0-9A-Za-z]{1,10}\$.+")
_SALTED: Final = {"ssha": ("sha1", 20), "ssha256": ("sha256", 32), "ssha512": ("sha512", 64)}
_CLEAR: Final = ("clear", "cleartext", "plain")
_WRAPPERS: Final = {
    "argon2": "argon2id", "argon2id": "argon2id", "bcrypt": "bcrypt", "blf-crypt": "bcrypt", "crypt": "",
    "nt": "nt", "nthash": "nt",
}  # fmt: skip
"""The scheme each word in braces promises; ``crypt`` promises none and leaves it to the hash."""

LARGEST_MEMORY_KIB: Final = 131_072
"""The memory an argon2id hash may ask for: every thread that checks needs it at once."""
_MOST_PASSES: Final = 16
_MOST_LANES: Final = 8
_HIGHEST_COST: Final = 14  # bcrypt: 2^14 rounds take about a second
_BCRYPT_OCTETS: Final = 72  # it has never looked at more, and the library refuses to be given more

_PASSES: Final = 2
_MEMORY_KIB: Final = 19_456
"""OWASP's first choice for argon2id: some 20 ms and 19 MiB."""

KEPT_AS: Final = ("argon2id", "nt")
"""What a known password can be turned into."""

METHODS: Final = {
    "cleartext": "PAP, CHAP, MS-CHAPv1, MS-CHAPv2 and EAP",
    "nt": "PAP, MS-CHAPv1, MS-CHAPv2 and EAP-MSCHAPv2; not CHAP",
    "argon2id": "PAP and EAP-TTLS with PAP inside; not CHAP or MS-CHAP",
    "bcrypt": "PAP and EAP-TTLS with PAP inside; not CHAP or MS-CHAP",
    "ssha": "PAP and EAP-TTLS with PAP inside; not CHAP or MS-CHAP",
}
"""By what is kept of a password: the methods that can be checked with it."""


@dataclass(frozen=True, slots=True)
class PasswordHash:
    """A hash that is read here. ``text`` is without the word in braces, except for ``{SSHA}`` and its kin."""

    scheme: str  # argon2id, bcrypt, nt, ssha
    text: str = field(repr=False)

    @property
    def is_slow(self) -> bool:
        """True when a check takes milliseconds, as it should to those who guess."""
        return self.scheme in {"argon2id", "bcrypt"}

    def proves(self, password: bytes) -> bool:
        """Whether the hash was made of this password. Takes as long as the hash was made to take."""
        try:
            return self._proves(password)
        except ValueError:
            return False

    def _proves(self, password: bytes) -> bool:
        match self.scheme:
            case "argon2id":
                return _argon2id_proves(self.text, password)
            case "bcrypt":
                import bcrypt  # these libraries are loaded where somebody's password is kept so

                return bcrypt.checkpw(password[:_BCRYPT_OCTETS], self.text.encode())
            case "nt":
                return compare_digest(nt_hash(password.decode()), bytes.fromhex(self.text))
            case _:
                return _salted_proves(self.text, password)


def _argon2id_proves(text: str, password: bytes) -> bool:
    from argon2 import low_level
    from argon2.exceptions import VerificationError

    try:
        return low_level.verify_secret(text.encode(), password, low_level.Type.ID)
    except VerificationError:
        return False


class NotUsable(ValueError):  # noqa: N818 - what it is
    """It looks like a hash, and cannot be checked here; the text says why and what to do."""


def read_hash(text: str) -> PasswordHash | None:
    """The hash that ``text`` is, or None when it looks like none. Raises ``NotUsable``.

    Thirty-two hex digits alone are a password like another: only ``{NT}`` in front makes them a hash.
    """
    braced = _BRACED.fullmatch(text)
    if braced is None:
        return _modular(text) if _CRYPT.fullmatch(text) else None
    word, rest = braced[1].lower(), braced[2]
    if word in _CLEAR:
        return None
    if word in _SALTED:
        return _salted(text, word, rest)
    if word not in _WRAPPERS:
        return None
    found = PasswordHash("nt", rest.lower()) if _NT.fullmatch(rest) else _modular(rest)
    if _WRAPPERS[word] not in {"", found.scheme}:
        raise NotUsable(f"{{{braced[1]}}} stands in front of a hash of another kind; export it again")
    return found


def must_read_hash(text: str) -> PasswordHash:
    """The hash that ``text`` has to be; thirty-two hex digits alone are an NT hash. Raises ``NotUsable``."""
    found = PasswordHash("nt", text.lower()) if _NT.fullmatch(text) else read_hash(text)
    if found is None:
        raise NotUsable(
            "this is no hash that is known here; give $argon2id$…, $2a$/$2b$/$2y$… (bcrypt), {NT} with 32 "
            "hex digits, or {SSHA}…"
        )
    return found


def clear_text(text: str) -> str:
    """A password without ``{CLEAR}`` in front, which says that what follows is no hash."""
    braced = _BRACED.fullmatch(text)
    return braced[2] if braced is not None and braced[1].lower() in _CLEAR else text


def hash_of(password: str, scheme: str) -> PasswordHash:
    """A new hash of a known password, for ``argon2id`` (slow) or ``nt``."""
    if scheme == "nt":
        return PasswordHash("nt", nt_hash(password).hex())
    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=1)
    return PasswordHash("argon2id", hasher.hash(password.encode()))


def _modular(text: str) -> PasswordHash:
    if _ARGON2ID.fullmatch(text):
        return _argon2id(text)
    cost = _BCRYPT.fullmatch(text)
    if cost is not None:
        if not 4 <= int(cost[1]) <= _HIGHEST_COST:
            raise NotUsable(
                f"the bcrypt cost is {int(cost[1])}; 4 to {_HIGHEST_COST} can be checked while a NAS waits"
            )
        return PasswordHash("bcrypt", text)
    scheme = text[1:].partition("$")[0]
    if scheme in {"argon2id", "2a", "2b", "2y"}:
        raise NotUsable(f"the ${scheme}$ hash is cut off or damaged; export it again, whole")
    name = {"1": "MD5", "5": "SHA-256", "6": "SHA-512", "y": "yescrypt"}.get(scheme, scheme)
    raise NotUsable(
        f"crypt hashes of kind ${scheme}$ ({name}) cannot be checked here; set a new password, or give the "
        "old one as cleartext, argon2id, bcrypt, {NT} or {SSHA} (a password that only looks like this: "
        "{CLEAR} in front)"
    )


def _argon2id(text: str) -> PasswordHash:
    from argon2 import extract_parameters
    from argon2.exceptions import InvalidHashError

    try:
        given = extract_parameters(text)
    except InvalidHashError:
        raise NotUsable("the $argon2id$ hash is cut off or damaged; export it again, whole") from None
    if given.memory_cost > LARGEST_MEMORY_KIB or given.time_cost > _MOST_PASSES:
        raise NotUsable(
            f"the argon2id hash asks for {given.memory_cost} KiB and {given.time_cost} passes; at most "
            f"{LARGEST_MEMORY_KIB} KiB and {_MOST_PASSES} can be checked while a NAS waits"
        )
    if not 1 <= given.parallelism <= _MOST_LANES:
        raise NotUsable(f"the argon2id hash asks for {given.parallelism} lanes; at most {_MOST_LANES}")
    return PasswordHash("argon2id", text)


def _salted(text: str, word: str, rest: str) -> PasswordHash:
    _, size = _SALTED[word]
    try:
        octets = b64decode(rest, validate=True)
    except NotBase64:
        octets = b""
    if not size < len(octets) <= size + 64:
        raise NotUsable(f"the {{{word.upper()}}} hash is cut off or damaged; export it again, whole")
    return PasswordHash("ssha", text)


def _salted_proves(text: str, password: bytes) -> bool:
    """LDAP's salted hashes: base64 of the digest of password and salt, and the salt."""
    word, _, rest = text[1:].partition("}")
    name, size = _SALTED[word.lower()]
    octets = b64decode(rest)
    made = hashlib.new(name, password + octets[size:], usedforsecurity=False).digest()
    return compare_digest(made, octets[:size])
