"""The first boot: what is missing is made, again and again, whatever cuts it off."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from appliance_machine import NOBODY, Machine, give_away, make_machine
from sqlalchemy import delete, select, text, update

from aaa.store.tables import nas
from appliance.first_boot import make_certificate
from appliance.schema import newest_revision
from appliance.sealing_key import CREDENTIAL
from appliance.settings import load_settings
from appliance.wiring import open_house
from core.store.tables import audit
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


def add_nas(machine: Machine, name: str, address: str, **environment: str) -> None:
    words = ("nas", "add", name, address, "--secret-file", "-")
    machine.hilltop(*words, stdin="a-shared-secret-of-length\n", **environment)


def credential(folder: Path, key: str) -> dict[str, str]:
    """The environment of a unit whose credential holds this key."""
    folder.mkdir(exist_ok=True)
    (folder / CREDENTIAL).write_text(f"k1 {key * 32}\n")
    return {"CREDENTIALS_DIRECTORY": str(folder)}


def test_a_sealing_key_in_a_credential_is_enough(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    made = subprocess.run(
        ["sh", "-c", "printf 'k1 %s\\n' \"$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \\n')\""],
        capture_output=True, check=True,
    )  # fmt: skip
    (folder / CREDENTIAL).write_bytes(made.stdout)
    machine.hilltop("first-boot", CREDENTIALS_DIRECTORY=str(folder))
    assert not (machine.state / "keys").exists()
    for words in (["first-boot"], ["init"]):  # without the credential: no new key, no guess
        said = machine.hilltop(*words, code=2).stderr
        assert "the database holds what it sealed" in said and "hilltop init" not in said
        assert not (machine.state / "keys").exists()
    (folder / CREDENTIAL).write_text("k1 nonsense-that-is-secret\n")
    said = machine.hilltop("first-boot", code=2, CREDENTIALS_DIRECTORY=str(folder)).stderr
    assert "not a usable sealing key" in said and "nonsense" not in said


def test_a_key_file_goes_before_the_credential_of_a_new_machine(machine: Machine, tmp_path: Path) -> None:
    machine.hilltop("first-boot")
    add_nas(machine, "ridge", "192.0.2.2")
    own = credential(tmp_path / "credentials", "ab")
    machine.hilltop("first-boot", **own)
    add_nas(machine, "north", "192.0.2.3", **own)
    key = machine.state / "keys" / "sealing.key"
    restored = key.rename(tmp_path / "kept.key")
    said = machine.hilltop("first-boot", code=1, **own).stderr
    assert f"read from {tmp_path / 'credentials' / CREDENTIAL}" in said and f"at {key}" in said
    restored.rename(key)
    machine.hilltop("first-boot")


def test_a_foreign_key_is_noticed_before_anything_else_is_sealed(machine: Machine, tmp_path: Path) -> None:
    machine.hilltop("first-boot", **credential(tmp_path / "credentials", "ab"))
    said = machine.hilltop("first-boot", code=1, **credential(tmp_path / "credentials", "cd")).stderr
    assert "not the one that sealed this database" in said and not (machine.runtime / "ready").exists()
    key = machine.state / "keys" / "sealing.key"
    key.parent.mkdir()
    key.write_text(f"k1 {'ef' * 32}\n")
    said = machine.hilltop("first-boot", code=1).stderr
    assert f"read from {key}: replace it" in said


def test_a_new_key_beside_the_old_one_is_the_same_ring(machine: Machine) -> None:
    machine.hilltop("first-boot")
    key = machine.state / "keys" / "sealing.key"
    first, second = key.read_text(), f"k2 {'cd' * 32}\n"
    key.write_text(first + second)
    machine.hilltop("first-boot")
    add_nas(machine, "ridge", "192.0.2.2")
    machine.hilltop("first-boot")
    key.write_text(second)
    machine.hilltop("first-boot", code=1)
    key.write_text(first)
    machine.hilltop("first-boot")
    assert "nas.secret of ridge" in machine.hilltop("health", code=None).stdout


_NOT_ROOT = """
import os, pathlib, appliance.sealing_key as s
os.geteuid = lambda: 1000
class Shut(type(pathlib.Path())):
    def stat(self, **_): raise PermissionError(13, "Permission denied")
s.ENCRYPTED = {0}({1!r})
"""


def test_no_key_is_made_or_proposed_beside_a_credential_that_is_roots(
    machine: Machine, tmp_path: Path
) -> None:
    encrypted = tmp_path / "sealing-key"
    encrypted.write_text("sealed for root")
    seen = _NOT_ROOT.format("pathlib.Path", str(encrypted))
    for words in (["status"], ["init"], ["first-boot"]):
        said = machine.hilltop(*words, before=seen, code=2).stderr
        assert "run it as root" in said and "hilltop init" not in said
        assert not (machine.state / "keys").exists()
    shut = _NOT_ROOT.format("Shut", str(encrypted))
    machine.hilltop("first-boot", **credential(tmp_path / "credentials", "ab"))
    for words in (["status"], ["init"]):
        said = machine.hilltop(*words, before=shut, code=2).stderr
        assert "run it as root" in said and "hilltop init" not in said
        assert not (machine.state / "keys").exists()


async def damage(machine: Machine, name: str) -> None:
    async with open_house(load_settings(machine.config)) as house, house.workplace.work("test") as work:
        await work.connection.execute(
            update(nas).where(nas.c.name == name).values(secret_sealed="k1:" + "A" * 64)
        )


async def forget_canary(machine: Machine) -> None:
    """As in a database of before there was one."""
    async with open_house(load_settings(machine.config)) as house, house.workplace.work("test") as work:
        await work.connection.execute(delete(audit).where(audit.c.subject == "sealing-key"))


@pytest.mark.parametrize("has_canary", [True, False])
async def test_a_damaged_secret_is_a_health_issue_and_the_machine_starts(
    machine: Machine, has_canary: bool
) -> None:
    machine.hilltop("first-boot")
    for number, name in enumerate(("ridge", "north")):
        add_nas(machine, name, f"192.0.2.{number + 2}")
    await damage(machine, "ridge")
    if not has_canary:
        await forget_canary(machine)
    machine.hilltop("first-boot")
    said = machine.hilltop("health", code=None).stdout
    assert "nas.secret of ridge" in said and "north" not in said
    words = ("nas", "change", "ridge", "--secret-file", "-")
    machine.hilltop(*words, stdin="a-shared-secret-of-length\n")
    machine.hilltop("first-boot")
    assert "ridge" not in machine.hilltop("health", code=None).stdout


async def test_without_a_canary_a_key_that_opens_nothing_is_refused(machine: Machine) -> None:
    machine.hilltop("first-boot")
    add_nas(machine, "ridge", "192.0.2.2")
    await damage(machine, "ridge")
    machine.hilltop("first-boot")  # the canary opens
    await forget_canary(machine)
    machine.hilltop("first-boot", code=1)


def test_a_certificate_elsewhere_or_one_that_cannot_be_made_does_not_stop_the_machine(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "letsencrypt"
    text = machine.config.read_text()
    machine.config.write_text(text.replace(str(machine.certificate.parent), str(elsewhere)))

    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "exists", denied)
        make_certificate(load_settings(machine.config), datetime(2026, 1, 1, tzinfo=UTC))
    machine.config.write_text(text)
    machine.certificate.parent.write_text("no folder")
    assert "certificate_not_made" in machine.hilltop("first-boot").stderr
    assert (machine.runtime / "ready").exists()


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
        wrong = f"is at {present}, this release wants {newest_revision()}"
        for words, code in ((["role", "worker"], 2), (["role", "web"], 2), (["database", "status"], 1)):
            said = machine.hilltop(*words, code=code).stderr
            assert wrong in said and remedy in said
        said = machine.hilltop("status").stdout
        assert wrong in said and remedy in said
    for words in (
        ["first-boot"],
        ["database", "migrate"],
        ["init"],
    ):  # 9999: nothing of it can be undone here
        said = machine.hilltop(*words, code=2).stderr
        assert wrong in said and remedy in said
