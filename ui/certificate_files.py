"""The panel's certificate and key as files: a pair that OpenSSL takes, replaced so that a cut can be mended.

The key is replaced first, and the one of before kept beside it. So a certificate always has its key: in place
or, when the replacing was cut off between the two, as the one of before.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from core.files import write_durably
from core.memory_files import in_memory

_IN_WORDS = {
    "KEY_VALUES_MISMATCH": "certificate and key do not belong together",
    "KEY_TYPE_MISMATCH": "certificate and key do not belong together",
    "NO_START_LINE": "one of the two is not in PEM form",
    "EE_KEY_TOO_SMALL": "its key is too small to be safe",
}


def new_context() -> ssl.SSLContext:
    """A server's context as the panel has it, without a certificate yet."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """What new connections are shown from now on. Raises ``OSError`` or ``ValueError``."""
    context.load_cert_chain(certificate, key, password=_no_passphrase)


def _no_passphrase() -> bytes:
    return b"-"  # OpenSSL would ask for one at a terminal


def fault_of(certificate: Path, key: Path) -> str | None:
    """Why the panel cannot show this pair, naming the files; None when it can."""
    for path in (certificate, key):
        try:
            with path.open("rb") as file:
                file.read(1)
        except OSError as trouble:
            return f"{path}: {trouble.strerror}"
    words = _refused(certificate, key)
    return None if words is None else f"{certificate} with {key}: {words}"


def fault_in(certificate: bytes, key: bytes) -> str | None:
    """Why the panel could not show this pair (PEM), asked before it is in its place."""
    with in_memory(certificate, key) as paths:
        return _refused(*paths)


def _refused(certificate: Path, key: Path) -> str | None:
    try:
        load(new_context(), certificate, key)
    except ssl.SSLError as trouble:
        usual = trouble.reason or "it is damaged, or its key has a passphrase"
        return _IN_WORDS.get(trouble.reason or "", usual)
    except (OSError, ValueError) as trouble:
        return str(trouble)
    return None


def before(path: Path) -> Path:
    """Where the file of before is kept."""
    return path.with_name(f"{path.name}.before")


def replace_pair(certificate: Path, key: Path, pem: bytes, key_pem: bytes) -> None:
    """Put a pair in place; one that could be used is kept beside it. Raises ``OSError``."""
    if put_key_back(certificate, key):
        write_durably(before(certificate), certificate.read_bytes(), 0o644)
        write_durably(before(key), key.read_bytes(), 0o600)
    write_durably(key, key_pem, 0o600)
    write_durably(certificate, pem, 0o644)


def put_key_back(certificate: Path, key: Path) -> bool:
    """Undo a replacing that was cut off after the key: the certificate's own is the one of before.

    True when the panel can show the pair as it stands afterwards. Raises ``OSError``.
    """
    if fault_of(certificate, key) is None:
        return True
    if fault_of(certificate, before(key)) is not None:
        return False
    write_durably(key, before(key).read_bytes(), 0o600)
    return True
