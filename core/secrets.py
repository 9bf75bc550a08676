"""Sealing: credentials at rest are AES-256-GCM under a key that never leaves its file.

A sealed value is text: ``key id : base64(nonce + ciphertext)``. The purpose is bound in as associated
data, so a sealed SSH password cannot be moved into the place of a RADIUS secret.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


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
    """The sealer over the key file at ``path`` (lines of ``id hex``), made with mode 0600 if absent."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"k1 {secrets.token_hex(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # two processes at first start: one key wins
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    keys = {}
    for line in path.read_text().splitlines():
        key_id, _, key = line.partition(" ")
        keys[key_id] = bytes.fromhex(key.strip())
    return Sealer(keys)


def random_password(groups: int = 4) -> str:
    """A one-time password people can type: groups of four characters without look-alikes."""
    alphabet = "abcdefghjkmnpqrstvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(groups))
