"""Where the sealing key comes from: a credential of the service manager, or the key file.

A unit with ``LoadCredentialEncrypted=hilltop.sealing-key`` finds it in ``$CREDENTIALS_DIRECTORY``. Root's
command line has no such folder and has the credential decrypted by ``systemd-creds``. The content is that
of the key file, see ``core.secrets``; a machine makes its own once, as root::

    printf 'k1 %s\\n' "$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \\n')" |
        systemd-creds encrypt --name=hilltop.sealing-key - /etc/credstore.encrypted/hilltop.sealing-key
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from appliance.settings import SettingsError
from core.secrets import Sealer, load_or_create_sealer, parse_keys

CREDENTIAL = "hilltop.sealing-key"
ENCRYPTED = Path("/etc/credstore.encrypted") / CREDENTIAL
_DECRYPTION_S = 30


def find_sealer(key_file: Path) -> Sealer | None:
    """The sealer over the keys at hand; None when there are none. Raises ``SettingsError``."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder, CREDENTIAL) if folder else None
    if credential is not None and credential.exists():
        return _read(credential)
    if _exists(key_file):
        return _read(key_file)
    if os.geteuid() == 0 and ENCRYPTED.exists():
        return _decrypted()
    return None


def make_sealer(key_file: Path) -> Sealer:
    """The sealer over a new key file. Raises ``SettingsError``."""
    try:
        return load_or_create_sealer(key_file)
    except OSError as trouble:
        raise SettingsError(f"{key_file} cannot be made: {trouble.strerror or trouble}") from None
    except ValueError as trouble:
        raise _unusable(key_file, str(trouble)) from None


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as trouble:
        raise _unusable(path, trouble.strerror or str(trouble)) from None
    return True


def _read(path: Path) -> Sealer:
    try:
        return Sealer(parse_keys(path.read_text()))
    except OSError as trouble:
        raise _unusable(path, trouble.strerror or str(trouble)) from None
    except ValueError as trouble:
        raise _unusable(path, str(trouble)) from None


def _unusable(path: Path, why: str) -> SettingsError:
    return SettingsError(f"{path} is not a usable sealing key file ({why}); restore it from the backup")


def _decrypted() -> Sealer:
    try:
        done = subprocess.run(  # noqa: S603 - nothing of it is anybody's input
            ["systemd-creds", "decrypt", f"--name={CREDENTIAL}", str(ENCRYPTED), "-"],  # noqa: S607
            capture_output=True,
            timeout=_DECRYPTION_S,
            check=True,
        )
        return Sealer(parse_keys(done.stdout.decode()))
    except subprocess.CalledProcessError as trouble:
        why = (
            trouble.stderr.decode(errors="replace").strip()
            or f"systemd-creds ended with {trouble.returncode}"
        )
    except (OSError, subprocess.TimeoutExpired) as trouble:
        why = f"systemd-creds: {trouble}"
    except ValueError as trouble:
        why = str(trouble)
    raise SettingsError(f"{ENCRYPTED} cannot be decrypted ({why}); was it made on this machine?")
