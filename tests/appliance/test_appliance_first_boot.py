"""The first boot: what is missing is made, again and again, whatever cuts it off."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
from pathlib import Path

import pytest
from appliance_machine import NOBODY, Machine, give_away, make_machine
from sqlalchemy import select, text

from appliance.schema import newest_revision
from appliance.sealing_key import CREDENTIAL
from appliance.settings import load_settings
from appliance.wiring import open_house
from ui.operators import choose_password
from ui.passwords import Passwords
from ui.store import operator_rows
from ui.store.tables import operator

CODE = re.compile(r"([a-hjkmnp-z2-9]{4}-){3}[a-hjkmnp-z2-9]{4}")
CHOSEN = "four unrelated words"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return make_machine(tmp_path)


async def opens(machine: Machine, password: str | None, name: str = "owner") -> bool:
    async with open_house(load_settings(machine.config)) as house, house.workplace.reading() as connection:
        found = await operator_rows.operator_by_name(connection, name)
    return await Passwords().matches(password or "", found.password_hash if found else None)


async def choose(machine: Machine, current: str) -> None:
    async with open_house(load_settings(machine.config)) as house, house.workplace.work("test") as work:
        found = await operator_rows.operator_by_name(work.connection, "owner")
        assert found is not None
        assert (
            await choose_password(work, Passwords(), found, current=current, chosen=CHOSEN, again=CHOSEN)
            is None
        )


async def names(machine: Machine) -> list[str]:
    async with open_house(load_settings(machine.config)) as house, house.workplace.reading() as connection:
        return list((await connection.execute(select(operator.c.name))).scalars())


def is_whole(machine: Machine) -> None:
    """What a finished first boot leaves behind."""
    assert (machine.runtime / "ready").exists()
    assert machine.key.stat().st_mode & 0o777 == 0o600
    assert (machine.state / "keys" / "sealing.key").stat().st_mode & 0o777 == 0o600
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(machine.certificate, machine.key)
    left = [path for path in machine.folder.rglob("*") if path.name.endswith(".new")]
    assert left == []


async def test_each_boot_gives_a_new_code_until_the_owner_has_chosen(machine: Machine) -> None:
    assert "one-time password waits" in machine.hilltop("first-boot").stdout
    is_whole(machine)
    first, certificate = machine.code(), machine.certificate.read_bytes()
    assert first is not None and CODE.fullmatch(first)
    assert (machine.runtime / "admin-code").stat().st_mode & 0o777 == 0o600
    assert await opens(machine, first)

    machine.hilltop("first-boot")
    second = machine.code()
    assert second != first and await opens(machine, second) and not await opens(machine, first)
    assert machine.certificate.read_bytes() == certificate
    resting = [path for path in machine.state.rglob("*") if path.is_file()]
    assert not [path for path in resting if (second or "").encode() in path.read_bytes()]

    await choose(machine, second or "")
    machine.hilltop("first-boot")
    assert machine.code() is None and (machine.runtime / "ready").exists()
    assert await opens(machine, CHOSEN)

    machine.hilltop("operator", "reset", "owner")  # one who had chosen is not overtaken by the next boot
    machine.hilltop("first-boot")
    assert machine.code() is None
    assert await names(machine) == ["owner"]


async def test_a_machine_set_up_by_hand_keeps_its_own_first_owner(machine: Machine) -> None:
    machine.hilltop("init", "--operator", "ann")
    machine.hilltop("first-boot")
    assert await names(machine) == ["ann"] and machine.code() is None


_KILLED_AT = """
import os, pathlib, signal
calls = [0]
def dying(act):
    def call(*given, **named):
        calls[0] += 1
        if calls[0] == {at}: os.kill(os.getpid(), signal.SIGKILL)
        return act(*given, **named)
    return call
for name in ("fsync", "link"): setattr(os, name, dying(getattr(os, name)))
for name in ("replace", "unlink"): setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name)))
"""


@pytest.mark.slow
async def test_killed_at_any_step_it_is_finished_by_the_next_run(tmp_path: Path) -> None:
    at, killed = 0, 0
    while True:
        at += 1
        folder = tmp_path / str(at)
        folder.mkdir()
        machine = make_machine(folder)
        done = machine.hilltop("first-boot", code=None, before=_KILLED_AT.format(at=at))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
        machine.hilltop("first-boot")
        is_whole(machine)
        assert await opens(machine, machine.code())
    assert killed > 10


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_does_on_a_machine_belongs_to_the_user_of_the_roles(machine: Machine) -> None:
    give_away(machine)
    machine.hilltop("first-boot")
    machine.hilltop("operator", "add", "ann")
    machine.hilltop("certificate", "renew")
    others = [path for path in machine.state.rglob("*") if path.stat().st_uid != NOBODY]
    assert others == []
    machine.hilltop("first-boot", user=NOBODY)
    machine.hilltop("operator", "add", "bob", user=NOBODY)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_folders_of_somebody_else_are_named_with_what_is_wrong(machine: Machine) -> None:
    give_away(machine)
    os.chown(machine.state, 0, 0)
    said = machine.hilltop("first-boot", user=NOBODY, code=2).stderr
    assert f"{machine.state}: Permission denied" in said
    assert not (machine.runtime / "ready").exists()
    os.chown(machine.state, NOBODY, NOBODY)
    os.chown(machine.runtime, 0, 0)
    said = machine.hilltop("first-boot", user=NOBODY, code=1).stderr
    assert str(machine.runtime) in said and "Permission denied" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_full_disk_is_said_and_room_finishes_it(machine: Machine) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(machine.state)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting is not possible here")
    try:
        said = machine.hilltop("first-boot", code=1).stderr
        assert "disk is full" in said
        assert not (machine.runtime / "ready").exists()
        subprocess.run(["mount", "-o", "remount,size=30m", str(machine.state)], check=True)
        machine.hilltop("first-boot")
        is_whole(machine)
    finally:
        subprocess.run(["umount", str(machine.state)], check=True)


def test_a_sealing_key_in_a_credential_goes_before_the_file(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    made = subprocess.run(
        ["sh", "-c", "printf 'k1 %s\\n' \"$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \\n')\""],
        capture_output=True, check=True,
    )  # fmt: skip
    (folder / CREDENTIAL).write_bytes(made.stdout)
    machine.hilltop("first-boot", CREDENTIALS_DIRECTORY=str(folder))
    assert not (machine.state / "keys").exists()
    secret = tmp_path / "secret"
    secret.write_text("a-shared-secret\n")
    machine.hilltop(
        "nas", "add", "ridge", "192.0.2.2", "--secret-file", str(secret), CREDENTIALS_DIRECTORY=str(folder)
    )
    said = machine.hilltop("first-boot", code=2).stderr  # without the credential: no new key, no guess
    assert "the database holds what it sealed" in said and not (machine.state / "keys").exists()
    (folder / CREDENTIAL).write_text("k1 nonsense-that-is-secret\n")
    said = machine.hilltop("first-boot", code=2, CREDENTIALS_DIRECTORY=str(folder)).stderr
    assert "not a usable sealing key" in said and "nonsense" not in said


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("systemd-creds"), reason="needs root and systemd-creds"
)
def test_root_has_an_encrypted_credential_decrypted(machine: Machine, tmp_path: Path) -> None:
    encrypted = tmp_path / "sealing-key"
    made = subprocess.run(
        ["systemd-creds", "encrypt", f"--name={CREDENTIAL}", "-", str(encrypted)],
        input=f"k1 {'ab' * 32}\n", capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"systemd-creds cannot encrypt here: {made.stderr.strip()}")
    at = f"import pathlib, appliance.sealing_key as s;s.ENCRYPTED = pathlib.Path({str(encrypted)!r})"
    machine.hilltop("first-boot", before=at)
    assert not (machine.state / "keys").exists()
    encrypted.write_text("not a credential")
    said = machine.hilltop("operator", "list", before=at, code=2).stderr
    assert "cannot be decrypted" in said


def test_the_key_file_is_read_strictly(machine: Machine) -> None:
    machine.hilltop("first-boot")
    key = machine.state / "keys" / "sealing.key"
    for content in ("", "k1", "k1 abcd\n", f"{'ab' * 32}\n", "k1 " + "zz" * 32):
        key.write_text(content)
        assert "not a usable sealing key" in machine.hilltop("operator", "list", code=2).stderr


async def test_a_role_refuses_the_tables_of_another_release(machine: Machine) -> None:
    machine.hilltop("first-boot")
    for present, remedy in (("0000", "hilltop database migrate"), ("9999", "newer release")):
        async with open_house(load_settings(machine.config)) as house, house.workplace.work("test") as work:
            await work.connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": present})
        for role in ("worker", "web"):
            said = machine.hilltop("role", role, code=2).stderr
            assert f"is at {present}, this release wants {newest_revision()}" in said and remedy in said
