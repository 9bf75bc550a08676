"""``hilltop radius test``: every method against FreeRADIUS and against our own server, and liars that answer."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyrad_nas import PyradNas
from radius_world import SECRET, World, free_port
from typer.testing import CliRunner

from appliance.command_line import app
from core.clock import SystemClock
from core.secrets import Secret
from radius.config import RadiusSettings
from radius.packet.shared_secret import SharedSecret
from radius.probing.probe import ProbeOrder, ProbeOutcome, ProbeTarget, carry_out
from radius.serving.role import RadiusServer

FREERADIUS = shutil.which("freeradius") or shutil.which("freeradius", path="/usr/sbin")
CONFIG = """
prefix = /usr
libdir = /usr/lib/freeradius
confdir = {folder}
logdir = {folder}
run_dir = {folder}
max_request_time = 10
cleanup_delay = 2
security {{ reject_delay = 0
  status_server = yes }}
thread pool {{ start_servers = 1
  max_servers = 2
  min_spare_servers = 1
  max_spare_servers = 2 }}
client four {{ ipaddr = 127.0.0.0/8
  secret = {secret} }}
client six {{ ipv6addr = ::1
  secret = {secret} }}
modules {{
  pap {{
  }}
  chap {{
  }}
  mschap {{ use_mppe = yes
  }}
  always ok {{ rcode = ok
  }}
  eap {{ default_eap_type = md5
    md5 {{
    }}
  }}
  files {{ filename = {folder}/users
    acctusersfile = {folder}/none
    preproxy_usersfile = {folder}/none }}
  detail {{ filename = {folder}/detail
    permissions = 0600 }}
}}
server default {{
  listen {{ type = auth
    ipaddr = 127.0.0.1
    port = {auth} }}
  listen {{ type = auth
    ipv6addr = ::1
    port = {auth} }}
  listen {{ type = acct
    ipaddr = 127.0.0.1
    port = {acct} }}
  listen {{ type = coa
    ipaddr = 127.0.0.1
    port = {coa}
    server = default }}
  authorize {{
    chap
    mschap
    eap
    files
    pap
  }}
  authenticate {{
    Auth-Type PAP {{
      pap
    }}
    Auth-Type CHAP {{
      chap
    }}
    Auth-Type MS-CHAP {{
      mschap
    }}
    eap
  }}
  accounting {{
    detail
  }}
  recv-coa {{
    ok
  }}
}}
"""
USERS = """
anna Cleartext-Password := "correct horse"
     Tunnel-Type:1 = VLAN,
     Tunnel-Private-Group-Id:1 = "100",
     Delegated-IPv6-Prefix = 2001:db8:7::/48,
     Mikrotik-Rate-Limit = "5M/25M"

02:00:00:00:00:0A Auth-Type := Accept
"""
PASSWORD = Secret("correct horse")


@dataclass(frozen=True)
class Witness:
    folder: Path
    auth: int
    acct: int
    coa: int


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    """FreeRADIUS, up and answering."""
    if FREERADIUS is None:
        pytest.skip("freeradius is not installed")
    folder = tmp_path_factory.mktemp("freeradius")
    found = Witness(folder, free_port(), free_port(), free_port())
    config = CONFIG.format(folder=folder, secret=SECRET, auth=found.auth, acct=found.acct, coa=found.coa)
    (folder / "radiusd.conf").write_text(config)
    (folder / "users").write_text(USERS)
    (folder / "none").write_text("")
    (folder / "dictionary").write_text("")
    output = folder / "output"
    with output.open("w") as written:
        process = subprocess.Popen(
            [FREERADIUS, "-f", "-d", str(folder), "-n", "radiusd", "-lstdout", "-xx"],
            stdout=written, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while "Ready to process requests" not in output.read_text():
            assert process.poll() is None and time.monotonic() < deadline, output.read_text()[-3000:]
            time.sleep(0.02)
        yield found
    finally:
        process.terminate()
        process.wait(timeout=10)


async def asked(port: int, method: str, username: str = "anna", password: Secret | None = PASSWORD, *,
                server: str = "127.0.0.1", secret: str = SECRET, timeout_s: float = 5.0, tries: int = 2,
                attributes: tuple[tuple[str, str], ...] = (), signed: bool = True) -> ProbeOutcome:  # fmt: skip
    order = ProbeOrder(method, username, password, attributes, signed=signed)
    return await carry_out(ProbeTarget(server, port, Secret(secret)), order, timeout_s=timeout_s, tries=tries)


@pytest.mark.parametrize("method", ["pap", "chap", "mschap", "mschapv2", "eap-md5"])
async def test_freeradius_accepts_the_right_and_rejects_the_wrong_password(
    witness: Witness, method: str
) -> None:
    right = await asked(witness.auth, method)
    assert (right.answer, right.accepted, right.exit_code) == ("Access-Accept", True, 0), str(right)
    shown = {one.label: one.text for one in right.attributes}
    assert shown["Tunnel-Type:1"] == "VLAN"
    assert shown["Delegated-IPv6-Prefix"] == "2001:db8:7::/48"
    assert shown["Mikrotik-Rate-Limit"] == "5M/25M"
    assert right.rounds == (2 if method == "eap-md5" else 1)
    assert right.server_proof is (True if method == "mschapv2" else None)
    wrong = await asked(witness.auth, method, password=Secret("battery staple"))
    assert (wrong.answer, wrong.accepted, wrong.exit_code) == ("Access-Reject", False, 1), str(wrong)
    assert "correct horse" not in str(right) + repr(right)


async def test_freeradius_over_ipv6_by_mac_and_status(witness: Witness) -> None:
    assert (await asked(witness.auth, "pap", server="::1")).accepted
    assert (await asked(witness.auth, "mac", "02:00:00:00:00:0A", None)).accepted
    status = await asked(witness.auth, "status", "")
    assert status.accepted and status.request.startswith("Status-Server")


async def test_freeradius_takes_accounting_with_what_the_command_line_adds(witness: Witness) -> None:
    more = (("Acct-Session-Id", "s-1"), ("Acct-Input-Octets", "77"), ("NAS-Port-Type", "Ethernet"),
            ("Cambium-ePMP-UserLevel", "Admin"))  # fmt: skip
    for method in ("start", "interim", "stop", "accounting-on"):
        outcome = await asked(witness.acct, method, "anna", None, attributes=more)
        assert outcome.answer == "Accounting-Response", str(outcome)
    record = (witness.folder / "detail").read_text()
    for line in ('Acct-Status-Type = Interim-Update', 'Acct-Session-Id = "s-1"', "Acct-Input-Octets = 77",
                 "NAS-Port-Type = Ethernet", "Cambium-ePMP-UserLevel = Admin", 'NAS-Identifier = "hilltop-test"'):  # fmt: skip
        assert line in record
    assert "Acct-Input-Octets = 0" not in record, "what the command line gives replaces ours"


async def test_freeradius_takes_orders(witness: Witness) -> None:
    more = (("Acct-Session-Id", "s-1"), ("Tunnel-Password:1", "hush"))
    for method, answer in (("coa", "CoA-ACK"), ("disconnect", "Disconnect-ACK")):
        outcome = await asked(
            witness.coa, method, "anna", None, attributes=more[: 2 if method == "coa" else 1]
        )
        assert outcome.answer == answer, str(outcome)
        assert "hush" not in str(outcome) + json.dumps(outcome.as_json())


async def test_an_order_refused_shows_its_error_cause() -> None:
    nas = PyradNas(SECRET.encode(), lambda _: 503)
    port = await nas.start()
    try:
        outcome = await asked(port, "disconnect", "anna", None)
    finally:
        nas.close()
    assert (outcome.answer, outcome.exit_code) == ("Disconnect-NAK", 1)
    assert [str(one) for one in outcome.attributes] == ["Error-Cause = Session-Context-Not-Found"]


@pytest.fixture
async def ours(world: World, tmp_path: Path) -> AsyncIterator[RadiusServer]:
    world.workplace.clock = SystemClock()
    await world.nas()
    await world.service("anna", "correct horse", mac="02:00:00:00:00:0a")
    settings = RadiusSettings(
        auth_listen=["127.0.0.1:0"], accounting_listen=["127.0.0.1:0"], reject_delay_s=0
    )
    server = RadiusServer(settings, world.workplace, world.sealer, tmp_path / "radius.sqlite3")
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(server.run(stop, ready))
    await asyncio.wait_for(ready.wait(), 20)
    yield server
    stop.set()
    await running


async def test_our_own_server_is_understood(ours: RadiusServer) -> None:
    auth, acct = ours.ports
    for method in ("pap", "chap", "mschap", "mschapv2", "eap-md5"):
        right = await asked(auth, method)
        assert right.accepted and right.signed and right.trusted, (method, str(right))
        assert (await asked(auth, method, password=Secret("battery staple"))).exit_code == 1
    assert (await asked(auth, "mac", "02:00:00:00:00:0a", None)).accepted
    assert (await asked(auth, "status", "")).accepted
    assert (await asked(acct, "status", "")).answer == "Accounting-Response"
    for method in ("start", "interim", "stop"):
        assert (await asked(acct, method, "anna", None)).answer == "Accounting-Response"
    unsigned = await asked(auth, "pap", signed=False, timeout_s=0.3, tries=1)
    assert unsigned.exit_code == 3, "a NAS that has signed must sign"


@contextmanager
def answering(answer: Callable[[bytes], list[bytes]]) -> Iterator[int]:
    """A server of our own making on loopback; ``answer`` gives what to send back to each datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)

        def serve() -> None:
            try:
                while (received := server.recvfrom(4096))[0] != b"end":
                    for reply in answer(received[0]):
                        server.sendto(reply, received[1])
            except OSError:
                return

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        try:
            yield port
        finally:
            server.sendto(b"end", ("127.0.0.1", port))
            thread.join()


async def test_an_answer_under_another_secret_is_not_trusted_and_a_right_one_after_it_is() -> None:
    ours, theirs = SharedSecret(SECRET.encode()), SharedSecret(b"another")
    with answering(lambda packet: [theirs.reply(2, packet, b"")]) as port:
        outcome = await asked(port, "pap", timeout_s=0.2, tries=1)
        assert (outcome.answer, outcome.accepted, outcome.exit_code) == ("Access-Accept", False, 4)
        assert "NOT made with this secret" in str(outcome)
    with answering(
        lambda packet: [b"junk", theirs.reply(2, packet, b""), ours.reply(3, packet, b"")]
    ) as port:
        assert (await asked(port, "pap")).answer == "Access-Reject"


async def test_a_wrong_message_authenticator_under_a_right_authenticator_is_not_trusted() -> None:
    ours = SharedSecret(SECRET.encode())
    forged = bytes((80, 18)) + bytes(16)
    with answering(lambda packet: [ours.plain_reply(2, packet, forged)]) as port:
        assert (await asked(port, "pap", timeout_s=0.2, tries=1)).exit_code == 4


async def test_a_server_without_the_password_is_found_out() -> None:
    ours = SharedSecret(SECRET.encode())
    with answering(lambda packet: [ours.reply(2, packet, b"")]) as port:
        outcome = await asked(port, "mschapv2")
    assert (outcome.server_proof, outcome.exit_code) == (False, 4)


async def test_tries_are_the_same_octets_and_silence_says_what_to_look_at() -> None:
    heard: list[bytes] = []
    ours = SharedSecret(SECRET.encode())

    def third(packet: bytes) -> list[bytes]:
        heard.append(packet)
        return [ours.reply(2, packet, b"")] if len(heard) == 3 else []

    with answering(third) as port:
        outcome = await asked(port, "pap", timeout_s=0.1, tries=5)
    assert outcome.accepted and outcome.tries >= 3
    assert len(set(heard)) == 1
    with answering(lambda _: []) as port:
        silent = await asked(port, "pap", timeout_s=0.05, tries=2)
    assert (silent.code, silent.exit_code) == (None, 3)
    assert "is this address registered as a NAS" in silent.answer
    closed = await asked(free_port(), "pap", timeout_s=0.1, tries=1)
    assert "nobody listens" in closed.answer


def run(*words: str, stdin: str = "") -> Any:
    return CliRunner().invoke(
        app, ["-c", "/nonexistent/hilltop.toml", "radius", "test", *words], input=stdin or None
    )


def test_the_command(witness: Witness, tmp_path: Path) -> None:
    secret, password = tmp_path / "secret", tmp_path / "password"
    secret.write_text(SECRET)
    password.write_text("correct horse")
    files = ("--secret-file", str(secret), "--password-file", str(password))
    found = run(
        f"127.0.0.1:{witness.auth}", "anna", *files, "--attribute", "NAS-Port-Type=Ethernet", "--json"
    )
    assert found.exit_code == 0, found.output
    told = json.loads(found.output)
    assert told["answer"] == "Access-Accept" and told["tries"] == 1
    assert {"name": "Tunnel-Private-Group-Id", "tag": 1, "value": "100"} in told["attributes"]
    assert {"name": "NAS-Port-Type", "tag": None, "value": "Ethernet"} in told["sent"]
    assert {"name": "User-Password", "tag": None, "value": "(hidden)"} in told["sent"]
    six = run(f"[::1]:{witness.auth}", "anna", *files, "--method", "chap")
    assert six.exit_code == 0 and "Mikrotik-Rate-Limit = 5M/25M" in six.output
    for said in (found.output, six.output):
        assert SECRET not in said and "correct horse" not in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("127.0.0.1:1", "anna", "--attribute", "Servce-Type=1"), "is Service-Type"),
        (("127.0.0.1:1", "anna", "--attribute", "Service-Type"), "is not Name=value"),
        (("127.0.0.1:1", "anna", "--attribute", "Service-Type=Frmd"), "it has to be a number or one of"),
        (("127.0.0.1:1", "--method", "pap"), "USERNAME"),
        (("127.0.0.1:1", "anna", "--method", "magic"), "use one of pap"),
        (("[::1", "anna"), "is not host:port"),
        (("127.0.0.1:x", "anna"), "is not host:port"),
        ((":1812", "anna"), "is not host:port"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_sent(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    found = run(*words, "--secret-file", str(secret), "--password-file", str(secret))
    assert found.exit_code == 2, found.output
    assert says in found.output
    assert SECRET not in found.output
