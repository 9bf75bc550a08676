"""What the machine says of itself, its clock and its certificate on the command line."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from appliance_machine import Machine, make_machine
from appliance_running import appliance, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from appliance.role_marks import absent_roles, forget_absent_roles, mark_ready, role_states
from appliance.roles import ROLES
from core.clock import FakeClock, SystemClock
from core.release import version
from ui.certificates import make_self_signed
from ui.tls import PanelTls

UNSYNCHRONISED = "import core.clock; core.clock.SystemClock.synchronised = lambda self: False"
SYNCHRONISED = "import core.clock; core.clock.SystemClock.synchronised = lambda self: True"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    one = make_machine(tmp_path)
    one.hilltop("first-boot")
    return one


def test_the_version_is_told_without_settings(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.hilltop("--version").stdout == f"hilltop {version()}\n"


def test_status_tells_what_the_console_tells(machine: Machine) -> None:
    said = machine.hilltop("status").stdout
    assert f"Hilltop        {version()}" in said and "https://127.0.0.1:8080/" in said
    assert str(machine.code()) in said
    told = json.loads(machine.hilltop("status", "--json").stdout)
    assert told["code"] == "valid" and set(told["roles"]) == set(ROLES)
    fingerprint = machine.hilltop("certificate", "show").stdout.split("fingerprint  ")[1].strip()
    assert told["certificate"] == fingerprint
    (machine.runtime / "admin-code").write_text("some-thing-else-here\n")
    assert json.loads(machine.hilltop("status", "--json").stdout)["code"] == "used"
    assert machine.code() is None


@pytest.mark.slow
async def test_roles_are_shown_as_they_come_and_go(tmp_path: Path) -> None:
    async with appliance(tmp_path) as one:
        state = one.settings.state.directory
        await one.start("worker")
        await until(lambda: role_states(state)["worker"] == "ready", "the worker to be shown as ready")
        # whether one is starting is seen by all processes of a machine, other tests' too
        assert role_states(state)["web"] != "ready" and not absent_roles(state)


def test_a_mark_counts_as_long_as_its_process_holds_it(tmp_path: Path) -> None:
    mark = mark_ready(tmp_path, "web")
    try:
        assert role_states(tmp_path)["web"] == "ready" and not absent_roles(tmp_path)
        forget_absent_roles(tmp_path)  # forgets none that is held
        assert role_states(tmp_path)["web"] == "ready"
    finally:
        os.close(mark)
    assert absent_roles(tmp_path) == {"web"}
    os.close(mark_ready(tmp_path, "web"))  # what is left is taken over by the next
    forget_absent_roles(tmp_path)
    assert not absent_roles(tmp_path)


def test_a_mark_that_is_a_link_is_followed_nowhere(tmp_path: Path) -> None:
    (tmp_path / "machine").mkdir()
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "machine" / "web.ready").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        mark_ready(tmp_path, "web")
    assert not elsewhere.exists() and not absent_roles(tmp_path)


@pytest.mark.slow
async def test_a_watcher_is_told_of_a_role_that_is_gone(tmp_path: Path) -> None:
    async with appliance(tmp_path) as one, aiohttp.ClientSession() as session:
        state, url = one.settings.state.directory, f"http://{one.settings.ui.listen}/healthz"

        async def told() -> tuple[int, list[str]]:
            async with session.get(url) as answer:
                return answer.status, (await answer.json()).get("roles", [])

        await one.start("worker", "web")
        await until(
            lambda: role_states(state)["web"] == role_states(state)["worker"] == "ready", "both roles"
        )
        assert await told() == (200, [])
        await one.kill("worker")

        async def missed() -> bool:
            return await told() == (503, ["worker"])

        async def back() -> bool:
            return await told() == (200, [])

        await until(missed, "the watcher to be told")
        await until(back, "the worker to be back")
        await one.end()
        await until(lambda: absent_roles(state) == {"worker", "web"}, "both to be gone")
        forget_absent_roles(state)  # as the next start does
        assert absent_roles(state) == frozenset()


def test_bills_wait_until_somebody_has_found_the_clock_right(machine: Machine) -> None:
    said = machine.hilltop("bill", "run", code=1, before=UNSYNCHRONISED).stderr
    assert "nobody has said yet that the clock is right" in said and "hilltop clock trust" in said
    assert machine.hilltop("dunning", "run", code=1, before=UNSYNCHRONISED)
    assert "Billing waits" in machine.hilltop("health", code=1, before=UNSYNCHRONISED).stdout
    assert "not yet" in machine.hilltop("clock", "status", code=1, before=UNSYNCHRONISED).stdout
    machine.hilltop("bill", "run", "--trust-clock", before=UNSYNCHRONISED)
    assert "said so" in machine.hilltop("clock", "status", before=UNSYNCHRONISED).stdout


def test_a_person_may_vouch_for_the_clock(machine: Machine) -> None:
    machine.hilltop("bill", "run", code=1, before=UNSYNCHRONISED)
    assert "trusted from now on" in machine.hilltop("clock", "trust", before=UNSYNCHRONISED).stdout
    assert "Billing waits" not in machine.hilltop("health", before=UNSYNCHRONISED).stdout
    machine.hilltop("bill", "run", before=UNSYNCHRONISED)
    said = machine.hilltop("clock", "status", before=UNSYNCHRONISED).stdout
    assert "said so" in said and "by no time server" in said
    assert "billing.clock_trusted" in machine.hilltop("audit").stdout
    early = "import core.clock, datetime as d; core.clock.SystemClock.now = lambda s: d.datetime(1999, 1, 1, tzinfo=d.UTC)"
    assert "before this software was made" in machine.hilltop("clock", "trust", before=early, code=1).stderr


def _on(day: str) -> str:
    """Python that makes it noon of that day, without a time server."""
    noon = f"d.datetime.fromisoformat('{day}T12:00+00:00')"
    return f"{UNSYNCHRONISED}\nimport datetime as d; core.clock.SystemClock.now = lambda self: {noon}"


@pytest.mark.parametrize("first", ["2026-01-02", "2031-05-01"])
def test_the_first_trust_holds_against_what_a_wrong_clock_wrote_before(tmp_path: Path, first: str) -> None:
    machine = make_machine(tmp_path)
    machine.hilltop("first-boot", before=_on(first))
    assert "2026-11-20 12:00:00" in machine.hilltop("clock", "trust", before=_on("2026-11-20")).stdout
    machine.hilltop("bill", "run", before=_on("2026-11-20"))
    said = machine.hilltop("bill", "run", code=1, before=_on(first)).stderr
    assert "say so: the panel's health page, hilltop clock trust, or the console" in said
    assert "doubt" in machine.hilltop("clock", "status", code=1, before=_on(first)).stdout
    machine.hilltop("bill", "run", before=_on("2026-11-21"))


def test_a_time_server_is_believed_and_remembered(machine: Machine) -> None:
    assert "from the next bill run" in machine.hilltop("clock", "status", before=SYNCHRONISED).stdout
    machine.hilltop("bill", "run", before=SYNCHRONISED)
    said = machine.hilltop("clock", "status", before=UNSYNCHRONISED).stdout  # after the next power cut
    assert "a time server had set it" in said
    machine.hilltop("bill", "run", before=UNSYNCHRONISED)


def test_the_kernel_is_asked_whether_the_clock_is_synchronised() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "from core.clock import _kernel_says_synchronised as k; print(k())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    shown = subprocess.run(
        ["timedatectl", "show", "-p", "NTPSynchronized", "--value"], capture_output=True, text=True
    )
    if shown.returncode == 0 and shown.stdout.strip():
        assert told == {"yes": "True", "no": "False"}[shown.stdout.strip()]
    assert told in {"True", "False"} and isinstance(SystemClock().synchronised(), bool)
    assert FakeClock(datetime(2026, 3, 10, tzinfo=UTC)).synchronised()


def test_a_certificate_is_taken_over_whole_or_not_at_all(machine: Machine, tmp_path: Path) -> None:
    good, other = make_self_signed(datetime(2026, 3, 10, tzinfo=UTC)), make_self_signed(datetime.now(UTC))
    before = machine.certificate.read_bytes(), machine.key.read_bytes()
    cert, key = tmp_path / "c", tmp_path / "k"

    def install(cert_pem: bytes, key_pem: bytes, code: int) -> str:
        cert.write_bytes(cert_pem)
        key.write_bytes(key_pem)
        done = machine.hilltop("certificate", "install", "--cert", str(cert), "--key", str(key), code=code)
        return done.stdout + done.stderr

    assert "do not belong together" in install(good[0], other[1], 1)
    assert "not in PEM form" in install(b"\xff" * 3000, good[1], 1)
    assert "not a private key" in install(good[0], good[0], 1)
    assert (machine.certificate.read_bytes(), machine.key.read_bytes()) == before
    assert "fingerprint" in install(*good, 0)
    assert (machine.certificate.read_bytes(), machine.key.read_bytes()) == good
    assert machine.key.stat().st_mode & 0o777 == 0o600
    future = "import core.clock, datetime as d; core.clock.SystemClock.now = lambda s: d.datetime(2099, 1, 1, tzinfo=d.UTC)"
    said = machine.hilltop(
        "certificate", "install", "--cert", str(cert), "--key", str(key), code=1, before=future
    )
    assert "it expired on 2036" in said.stderr
    machine.hilltop("certificate", "renew")
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(machine.certificate, machine.key)
    assert machine.certificate.read_bytes() != good[0]
    machine.key.write_bytes(good[1])
    assert "do not belong together" in machine.hilltop("certificate", "show", code=1).stderr


def test_a_certificate_that_openssl_refuses_is_not_taken_over(machine: Machine, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
    now = datetime.now(UTC)
    weak = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    form = serialization.PrivateFormat.PKCS8
    (tmp_path / "c").write_bytes(weak.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "k").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    before = machine.certificate.read_bytes(), machine.key.read_bytes()
    words = ("certificate", "install", "--cert", str(tmp_path / "c"), "--key", str(tmp_path / "k"))
    assert "refused: its key is too small to be safe" in machine.hilltop(*words, code=1).stderr
    assert (machine.certificate.read_bytes(), machine.key.read_bytes()) == before


_CUT = """
import os
from pathlib import Path
put, left = Path.replace, [{}]
def cut(self, target):
    if not left[0]:
        os.kill(os.getpid(), 9)
    left[0] -= 1
    return put(self, target)
Path.replace = cut
"""


@pytest.mark.parametrize("replaced", range(4))
def test_a_renewal_that_is_cut_off_leaves_a_pair_to_be_had(machine: Machine, replaced: int) -> None:
    before = machine.certificate.read_bytes(), machine.key.read_bytes()
    machine.hilltop("certificate", "renew", code=-9, before=_CUT.format(replaced))
    panel = PanelTls(machine.certificate, machine.key)
    panel.look()
    cut_between = replaced == 3
    found = panel.issue(datetime.now(UTC))
    assert (found is not None and "the one before" in found.title) == cut_between
    machine.hilltop("first-boot")
    assert (machine.certificate.read_bytes(), machine.key.read_bytes()) == before
    machine.hilltop("certificate", "show")


def test_who_replaced_the_certificate_is_on_record_and_the_old_one_is_kept(machine: Machine) -> None:
    before = machine.certificate.read_bytes(), machine.key.read_bytes()
    machine.hilltop("certificate", "renew")
    kept = [path.with_name(f"{path.name}.before") for path in (machine.certificate, machine.key)]
    assert tuple(path.read_bytes() for path in kept) == before and kept[1].stat().st_mode & 0o777 == 0o600
    machine.hilltop("certificate", "install", "--cert", str(kept[0]), "--key", str(kept[1]))
    assert (machine.certificate.read_bytes(), machine.key.read_bytes()) == before
    record = machine.hilltop("audit").stdout
    assert "certificate.renewed" in record and "certificate.installed" in record


def test_the_consoles_first_screen_loads_the_standard_library_alone() -> None:
    code = (
        "import sys\nfrom appliance.console.menu import console\n"
        "from appliance.console.screen import view\nfrom appliance.console.places import find_places\n"
        "view(find_places(), None)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert (
        loaded & {"typer", "pydantic", "sqlalchemy", "cryptography", "asyncio", "ssl", "ctypes", "aiohttp"}
        == set()
    )
    others = loaded - set(sys.stdlib_module_names) - {"appliance", "core", "__main__"}
    assert {name for name in others if not name.startswith(("_", "sphinxcontrib", "distutils"))} == set()
