"""The directory's rows in a sealed file beside the journal: RADIUS starts from it without the database.

The file is one line of text that says what it is, one of JSON, and then a compressed SQLite image under
AES-256-GCM with a key of its own, both lines bound in. Passwords and secrets in it are sealed as they are in
the database. It is replaced whole; a file that is damaged, of another key or of another release is refused.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aaa.store import image_rows
from core.files import write_durably
from core.secrets import Sealer

MAGIC: Final = b"hilltop-directory 1\n"
PURPOSE: Final = "directory-snapshot"
_NONCE_OCTETS = 12
_HEADER_OCTETS = 1_000
_LARGEST_OCTETS = 1 << 30


class SnapshotRefused(Exception):  # noqa: N818 - what happened
    """The file cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """What a snapshot says of itself in clear: its layout, the change it is of, and when it was taken."""

    layout: str
    seq: int
    at: str

    @property
    def taken_at(self) -> datetime:
        """When the database was last seen."""
        return datetime.fromisoformat(self.at)


def snapshot_path(journal_directory: Path) -> Path:
    """Where the snapshot of this machine lies."""
    return journal_directory / "directory.snapshot"


def write_snapshot(path: Path, sealer: Sealer, header: SnapshotHeader, image: bytes) -> None:
    """Seal and replace the file; the old one stays until the new one is on the disk. Raises ``OSError``."""
    lines = MAGIC + json.dumps(asdict(header)).encode() + b"\n"
    nonce = os.urandom(_NONCE_OCTETS)
    sealed = AESGCM(sealer.derive_key(PURPOSE)).encrypt(nonce, zlib.compress(image, 1), lines)
    write_durably(path, lines + nonce + sealed, 0o600)


def read_header(path: Path) -> SnapshotHeader | None:
    """What the file says of itself, unproven; None when there is none that can be read."""
    try:
        with path.open("rb") as file:
            return _header(file.read(len(MAGIC) + _HEADER_OCTETS))[0]
    except (OSError, SnapshotRefused):
        return None


def read_snapshot(path: Path, sealer: Sealer) -> tuple[SnapshotHeader, bytes]:
    """The header and the image. Raises ``FileNotFoundError`` or ``SnapshotRefused``."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as trouble:
        raise SnapshotRefused(f"{path.name} cannot be read: {trouble.strerror or trouble}") from None
    header, length = _header(content)
    try:
        key = AESGCM(sealer.derive_key(PURPOSE))
        nonce_end = length + _NONCE_OCTETS
        packed = key.decrypt(content[length:nonce_end], content[nonce_end:], content[:length])
        unpacking = zlib.decompressobj()
        image = unpacking.decompress(packed, _LARGEST_OCTETS)
    except (InvalidTag, ValueError, zlib.error):
        raise SnapshotRefused(f"{path.name} is damaged or was sealed with another key") from None
    return header, image


def _header(content: bytes) -> tuple[SnapshotHeader, int]:
    """The header and where it ends."""
    if not content.startswith(MAGIC):
        raise SnapshotRefused("the file is no snapshot of a directory that this release knows")
    end = content.find(b"\n", len(MAGIC), len(MAGIC) + _HEADER_OCTETS)
    try:
        header = SnapshotHeader(**json.loads(content[len(MAGIC) : end]))
        sound = header.seq >= 0 and header.taken_at.tzinfo is not None
    except (TypeError, ValueError):
        sound = False
    if end < 0 or not sound:
        raise SnapshotRefused("the snapshot of the directory is damaged")
    if header.layout != image_rows.layout():
        raise SnapshotRefused("the snapshot of the directory was written by another release")
    return header, end + 1
