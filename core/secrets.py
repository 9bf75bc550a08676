"""Sealing: credentials at rest are AES-256-GCM under a key that never leaves its file.

A sealed value is text: ``key id : base64(nonce + ciphertext)``. The purpose is bound in as associated
data, so a sealed SSH password cannot be moved into the place of a RADIUS secret.

Keys are text, in a file or in a credential of the service manager: a line for each key with its id, a space
and 64 hexadecimal digits. The greatest id seals. A first one is made in a shell by::

    printf 'k1 %s\\n' "$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \\n')"
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.files import write_first_durably

_KEY_SIZES = {16, 24, 32}  # AES takes each; 32 is what we make


class SealError(Exception):
    """A sealed value could not be opened: wrong key, wrong purpose, or damaged."""


class Secret:
    """A secret in memory: it never shows itself in a log, a repr or an f-string."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; call it at the wire and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and secrets.compare_digest(
            self._value.encode(), other._value.encode()
        )

    def __hash__(self) -> int:
        return hash(self._value)


class Sealer:
    """Seals and opens secrets under the newest key; older keys still open."""

    def __init__(self, keys: dict[str, bytes]) -> None:
        if not keys:
            raise ValueError("the sealing key file holds no key")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._newest = max(keys)
        self._derivation_key = keys[min(keys)]  # the oldest, so that adding a key changes no derived one

    def seal(self, secret: Secret, purpose: str) -> str:
        """Sealed text of ``secret``; ``purpose`` must be the same at opening."""
        nonce = os.urandom(12)
        ciphertext = self._ciphers[self._newest].encrypt(nonce, secret.reveal().encode(), purpose.encode())
        return f"{self._newest}:{base64.b64encode(nonce + ciphertext).decode()}"

    def derive_key(self, purpose: str) -> bytes:
        """A 32-octet key for one purpose (signing tokens), the same wherever the key file is held."""
        return hmac.digest(self._derivation_key, b"hilltop-derive:" + purpose.encode(), "sha256")

    def open(self, sealed: str, purpose: str) -> Secret:
        """The secret; raises ``SealError`` when key, purpose or text is not the right one."""
        key_id, _, body = sealed.partition(":")
        try:
            raw = base64.b64decode(body, validate=True)
            if base64.b64encode(raw).decode() != body:  # spare bits of the last digit must be zero
                raise SealError(f"a sealed {purpose} is damaged")
            plain = self._ciphers[key_id].decrypt(raw[:12], raw[12:], purpose.encode())
        except (KeyError, ValueError, InvalidTag):
            raise SealError(f"a sealed {purpose} cannot be opened with the keys at hand") from None
        return Secret(plain.decode())


def load_or_create_sealer(path: Path) -> Sealer:
    """The sealer over the key file at ``path``, made with mode 0600 if absent."""
    if not path.exists():
        write_first_durably(path, f"k1 {secrets.token_hex(32)}\n".encode(), 0o600)
    return Sealer(parse_keys(path.read_text()))


def parse_keys(text: str) -> dict[str, bytes]:
    """Keys by their ids, from lines of ``id hex``. Raises ``ValueError``, which never repeats the text."""
    keys = {}
    for line in text.splitlines():
        key_id, _, key = line.partition(" ")
        try:
            keys[key_id] = bytes.fromhex(key)
        except ValueError:
            raise ValueError("a line is not a key id, a space and hexadecimal digits") from None
        if not key_id or len(keys[key_id]) not in _KEY_SIZES:
            raise ValueError("a key is not 32 octets")
    return keys


def random_password(groups: int = 4) -> str:
    """A one-time password people can type: groups of four characters without look-alikes."""
    alphabet = "abcdefghjkmnpqrstvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(groups))
