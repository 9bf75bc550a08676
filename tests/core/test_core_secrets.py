"""Sealing: right key, right purpose, or nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.secrets import Sealer, SealError, Secret, load_or_create_sealer

KEY = bytes(range(32))


def test_a_sealed_secret_opens_only_for_its_purpose() -> None:
    sealer = Sealer({"k1": KEY})
    sealed = sealer.seal(Secret("s3cret"), "nas.secret")
    assert "s3cret" not in sealed
    assert sealer.open(sealed, "nas.secret").reveal() == "s3cret"
    with pytest.raises(SealError):
        sealer.open(sealed, "device.password")


def test_every_altered_character_is_noticed() -> None:
    sealer = Sealer({"k1": KEY})
    sealed = sealer.seal(Secret("s3cret"), "p")
    for index in range(len(sealed)):
        other = "A" if sealed[index] != "A" else "B"
        with pytest.raises(SealError):
            sealer.open(sealed[:index] + other + sealed[index + 1 :], "p")


def test_a_new_key_seals_and_the_old_one_still_opens() -> None:
    old = Sealer({"k1": KEY}).seal(Secret("a"), "p")
    both = Sealer({"k1": KEY, "k2": bytes(32)})
    assert both.open(old, "p").reveal() == "a"
    assert both.seal(Secret("b"), "p").startswith("k2:")
    assert both.derive_key("x") == Sealer({"k1": KEY}).derive_key("x")


def test_a_secret_never_shows_itself() -> None:
    secret = Secret("s3cret")
    assert "s3cret" not in f"{secret} {secret!r} {[secret]}"


def test_two_processes_at_first_start_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "sealing.key"
    code = (
        "import sys; from pathlib import Path; from core.secrets import load_or_create_sealer as f;"
        "print(f(Path(sys.argv[1])).derive_key('x').hex())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = {process.communicate()[0] for process in running}
    assert len(answers) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_sealer(path).derive_key("x").hex() == answers.pop().strip()
