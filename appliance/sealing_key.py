"""Where the sealing key comes from: the key file, or a credential of the service manager.

Services and command line look in one order, so that they never seal with two keys. The key file goes first:
it is there only because somebody put it there, or because no credential could be made. A unit with
``LoadCredentialEncrypted=hilltop.sealing-key`` finds it in ``$CREDENTIALS_DIRECTORY``. Root's command line
has no such folder and has the credential decrypted by ``systemd-creds``. The content is that of the key file,
see ``core.secrets``; a machine makes its own once, as root::

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
    source = _find_source(key_file)
    if source is None:
        return None
    return _decrypted(key_file) if source == ENCRYPTED else _read(source)


def words_without_key(key_file: Path, *, has_sealed: bool = False) -> str:
    """What is said where no sealing key is at hand; a first one is proposed only where there was none yet.

    ``has_sealed``: the database is known to hold what a key sealed.
    """
    none = f"{key_file}: there is no sealing key"
    if has_sealed:
        none += ", and the database holds what it sealed"
    if _encrypted_is_there() is not False:
        return f"{none}; only root may use {ENCRYPTED}: run it as root"
    return f"{none}; restore it from the backup{'' if has_sealed else ', or make the first: hilltop init'}"


def words_with_foreign_key(key_file: Path) -> str:
    """How the key that sealed this database gets into use instead of the one that was read."""
    source = _find_source(key_file)
    if source != key_file:
        return f"the key was read from {source}: put the one that sealed it at {key_file}, which goes first"
    other = "" if _encrypted_is_there() is False else f", or remove it if {ENCRYPTED} did"
    return f"the key was read from {key_file}: replace it by the one that sealed it{other}"


def make_sealer(key_file: Path) -> Sealer:
    """The sealer over a new key file, never beside this machine's credential. Raises ``SettingsError``."""
    if _encrypted_is_there():
        raise SettingsError(words_without_key(key_file))
    try:
        return load_or_create_sealer(key_file)
    except OSError as trouble:
        raise SettingsError(f"{key_file} cannot be made: {trouble.strerror or trouble}") from None
    except ValueError as trouble:
        raise _unusable(key_file, str(trouble)) from None


def _find_source(key_file: Path) -> Path | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if _exists(key_file):
        return key_file
    if folder and _exists(Path(folder, CREDENTIAL)):
        return Path(folder, CREDENTIAL)
    return ENCRYPTED if os.geteuid() == 0 and _encrypted_is_there() else None


def _encrypted_is_there() -> bool | None:
    """None where only root may look."""
    try:
        ENCRYPTED.stat()
    except FileNotFoundError:
        return False
    except PermissionError:
        return None
    return True


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as trouble:
        raise _unreadable(path, trouble) from None
    return True


def _read(path: Path) -> Sealer:
    try:
        return Sealer(parse_keys(path.read_text()))
    except OSError as trouble:
        raise _unreadable(path, trouble) from None
    except ValueError as trouble:
        raise _unusable(path, str(trouble)) from None


def _unusable(path: Path, why: str) -> SettingsError:
    return SettingsError(f"{path} is not a usable sealing key file ({why}); restore it from the backup")


def _unreadable(path: Path, trouble: OSError) -> SettingsError:
    remedy = "run it as root" if isinstance(trouble, PermissionError) else "restore it from the backup"
    return SettingsError(f"{path} cannot be read ({trouble.strerror or trouble}); {remedy}")


def _decrypted(key_file: Path) -> Sealer:
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
    raise SettingsError(
        f"{ENCRYPTED} cannot be decrypted ({why}); only the machine that made it can: "
        f"put the key file that sealed this database at {key_file}, which goes first"
    )
