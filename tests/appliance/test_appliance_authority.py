"""``hilltop ca`` as an operator types it; what it writes is read by openssl."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pem_marks
import pytest
from test_appliance_cli import LONG_SECRET, Terminal, settle


@pytest.fixture(scope="module")
def hilltop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("ca")
    run = settle(folder)
    run("init")
    (folder / "secret").write_text(LONG_SECRET + "\n")
    run("nas", "add", "ridge", "192.0.2.2", "--secret-file", str(folder / "secret"))
    run("profile", "add", "home", "--down", "25000000", "--up", "5000000")
    run("plan", "add", "home", "Home", "--price", "49.00", "--profile", "home")
    run("account", "add", "Fir", "--number", "A-1")
    run("service", "add", "A-1", "--plan", "home", "--pppoe", "fir", "--password-file", "-", stdin="fir-pw\n")
    run("ca", "issue", "client", "fir", "-o", "x.pem", code=1, says="hilltop ca init")
    run("ca", "export", "-o", "-", code=1, says="hilltop ca init")
    run("ca", "init", "Example Wireless", "--server", "radius.example.net",
        "--crl-base", "http://radius.example.net/pki", says="server certificate radius.example.net")  # fmt: skip
    yield run


def openssl(*words: object) -> str:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    return done.stdout + done.stderr


def verified(hilltop: Terminal, folder: Path, certificate: Path, *more: str) -> str:
    hilltop("ca", "export", "--chain", "-o", str(folder / "chain.pem"))
    crls = ""
    for name, root in (("own", []), ("root", ["--root"])):
        hilltop("ca", "crl", "-o", str(folder / f"{name}.crl"), *root)
        crls += openssl("crl", "-inform", "DER", "-in", folder / f"{name}.crl")
    (folder / "crls").write_text(crls)
    return openssl(
        "verify", "-x509_strict", "-crl_check_all", "-CAfile", folder / "chain.pem", "-CRLfile",
        folder / "crls", *more, certificate,
    )  # fmt: skip


def test_a_devices_certificate_from_issue_to_revocation(hilltop: Terminal, tmp_path: Path) -> None:
    out = tmp_path / "fir.pem"
    issued = json.loads(hilltop("ca", "issue", "client", "fir", "-o", str(out), "--json"))
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_text().count(pem_marks.begin()) == 1
    assert "PRIVATE" not in json.dumps(issued)
    assert verified(hilltop, tmp_path, out, "-purpose", "sslclient").endswith("OK\n")
    assert "http://radius.example.net/pki/hilltop.crl" in openssl("x509", "-in", out, "-noout", "-text")
    [shown] = json.loads(hilltop("ca", "list", "fir", "--json"))
    assert (shown["holder"], shown["state"], shown["username"]) == ("fir", "good", "fir")
    bundle = tmp_path / "fir.p12"
    again = ("ca", "renew", issued["id"], "--overlap", "7", "--password-file", "-", "-o", str(bundle))
    hilltop(*again, stdin="open sesame\n", says="certificate fir")
    told = openssl("pkcs12", "-in", bundle, "-info", "-nodes", "-passin", "pass:open sesame")
    assert told.count("BEGIN CERTIFICATE") == 3
    hilltop(*again, stdin="open sesame\n", code=1, says="has a successor")
    assert verified(hilltop, tmp_path, out).endswith("OK\n")  # both are good meanwhile
    hilltop("ca", "revoke", shown["serial"], "--reason", "key_compromise", says="revoked (key_compromise)")
    hilltop("ca", "revoke", shown["serial"], code=1, says="refused: certificate: it was revoked on")
    assert "certificate revoked" in verified(hilltop, tmp_path, out)
    states = {one["id"]: one["state"] for one in json.loads(hilltop("ca", "list", "--all", "--json"))}
    assert states[issued["id"]] == "revoked"
    audit = hilltop("audit")
    for action in ("ca.make", "certificate.issue", "certificate.renew", "certificate.revoke"):
        assert action in audit
    assert "PRIVATE" not in audit


def test_a_nas_sends_a_request_and_keeps_its_key(hilltop: Terminal, tmp_path: Path) -> None:
    csr = tmp_path / "nas.csr"
    openssl("req", "-new", "-nodes", "-newkey", "rsa:2048", "-keyout", tmp_path / "key", "-out", csr,
            "-subj", "/CN=anything")  # fmt: skip
    out = tmp_path / "nas.pem"
    hilltop("ca", "issue", "nas", "ridge", "--request", str(csr), "-o", str(out), says="certificate ridge")
    assert "PRIVATE" not in out.read_text()
    assert "DNS:ridge" in openssl("x509", "-in", out, "-noout", "-text")
    hilltop("nas", "change", "ridge", "--radsec-identity", "no name!", code=1, says="radsec_identity")
    hilltop("nas", "change", "ridge", "--radsec-identity", "ridge.example.net")


def test_an_outside_authority_is_trusted_and_distrusted(hilltop: Terminal, tmp_path: Path) -> None:
    openssl("req", "-x509", "-nodes", "-newkey", "rsa:2048", "-keyout", tmp_path / "key", "-out",
            tmp_path / "ca", "-subj", "/CN=Other CA", "-days", "90")  # fmt: skip
    hilltop("ca", "trust", "Other", str(tmp_path / "ca"), code=2, says="--clients")
    hilltop("ca", "trust", "Other", str(tmp_path / "key"), "--clients", code=1, says="not a certificate")
    hilltop("ca", "trust", "Other", str(tmp_path / "ca"), "--clients", says="authority Other")
    told = json.loads(hilltop("ca", "show", "--json"))
    assert [one["uses"] for one in told["authorities"] if one["name"] == "Other"] == [["client"]]
    assert [one["names"] for one in told["servers"]] == [["radius.example.net"]]
    hilltop("ca", "trust-crl", "Other", str(tmp_path / "ca"), code=1, says="not a CRL")
    hilltop("ca", "distrust", "Other", says="trusted no more")
    hilltop("ca", "distrust", "Example Wireless Issuing", code=1, says="put another in its place")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("issue", "client", "fir"), 2, "say where to write it"),
        (("issue", "client", "fir", "--password-file", "-"), 2, "let --output end in .p12"),
        (("issue", "client", "fir", "-o", "/dev/null/x.pem"), 1, "the certificate was not issued"),
        (("issue", "client", "nobody", "-o", "x.pem"), 1, "there is no service"),
        (("issue", "client", "fir", "--request", "/no/where", "-o", "x.pem"), 2, "/no/where: No such file"),
        (("issue", "server", "a b"), 1, "no host name"),
        (("revoke", "77"), 1, "there is no certificate"),
        (("init", "Second"), 1, "signs already"),
        (("export", "--der", "--chain", "-o", "x"), 2, "give one of them"),
    ],
)  # fmt: skip
def test_what_cannot_be_ends_in_one_line(
    hilltop: Terminal, words: tuple[str, ...], code: int, says: str
) -> None:
    before = len(json.loads(hilltop("ca", "list", "--all", "--json")))
    hilltop("ca", *words, code=code, says=says)
    assert len(json.loads(hilltop("ca", "list", "--all", "--json"))) == before
