"""Certificates are judged by openssl, another implementation than the one that makes them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pem_marks
import pytest

from core import pki
from core.secrets import Secret

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
WEEK = timedelta(days=7)


def openssl(*words: str, fed: bytes = b"") -> str:
    done = subprocess.run(["openssl", *words], input=fed, capture_output=True)
    return (done.stdout + done.stderr).decode(errors="replace")


class House:
    """A root and an issuing authority of one kind of key."""

    def __init__(self, key_type: str = "p256") -> None:
        root_key, key = pki.make_key(key_type), pki.make_key(key_type)
        self.root = pki.Issuer(pki.make_root("Example Root", root_key, NOW, 7300), root_key)
        issuing = pki.issue_authority(
            self.root, "Example Issuing", key.public_key(), now=NOW, days=3650,
            crl_url="http://pki.example.net/root.crl",
        )  # fmt: skip
        self.issuing = pki.Issuer(issuing, key)

    def client(self, name: str = "ann", days: int = 365, key_type: str = "p256") -> tuple[object, object]:
        key = pki.make_key(key_type)
        made = pki.issue(
            self.issuing, pki.Names(name), key.public_key(), use="client", now=NOW, days=days,
            crl_url="http://pki.example.net/hilltop.crl",
        )  # fmt: skip
        return made, key

    def crls(self, *revoked: pki.Revocation) -> bytes:
        own = pki.sign_crl(self.issuing, 2, NOW, NOW + WEEK, revoked)
        root = pki.sign_crl(self.root, 1, NOW, NOW + WEEK, [])
        return b"".join(
            subprocess.run(
                ["openssl", "crl", "-inform", "DER"], input=one, capture_output=True, check=True
            ).stdout
            for one in (own, root)
        )


def verify(folder: Path, house: House, made: object, crls: bytes, *more: str) -> str:
    files = {
        "root": pki.to_pem(house.root.certificate).encode(), "crl": crls,
        "issuing": pki.to_pem(house.issuing.certificate).encode(), "leaf": pki.to_pem(made).encode(),
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return openssl(
        "verify", "-x509_strict", "-crl_check_all", "-attime", str(int(NOW.timestamp()) + 60), "-CAfile",
        str(folder / "root"), "-untrusted", str(folder / "issuing"), "-CRLfile", str(folder / "crl"), *more,
        str(folder / "leaf"),
    )  # fmt: skip


@pytest.mark.parametrize("key_type", pki.KEY_TYPES)
def test_openssl_believes_what_is_issued_until_it_is_revoked(tmp_path: Path, key_type: str) -> None:
    house = House(key_type)
    made, _ = house.client(key_type=key_type)
    assert verify(tmp_path, house, made, house.crls(), "-purpose", "sslclient").endswith("OK\n")
    assert "unsuitable certificate purpose" in verify(
        tmp_path, house, made, house.crls(), "-purpose", "sslserver"
    )
    crls = house.crls(pki.Revocation(made.serial_number, NOW, "key_compromise"))
    assert "certificate revoked" in verify(tmp_path, house, made, crls)
    assert "Key Compromise" in openssl("crl", "-noout", "-text", fed=crls)


def test_a_servers_names_stand_where_clients_look() -> None:
    house = House()
    key = pki.make_key("rsa2048")
    names = pki.Names("radius.example.net", ("radius.example.net", "*.example.org"), (), ("op@example.net",))
    made = pki.issue(house.issuing, names, key.public_key(), use="server", now=NOW, days=730)
    text = openssl("x509", "-noout", "-text", fed=pki.to_pem(made).encode())
    assert "DNS:radius.example.net, DNS:*.example.org, email:op@example.net" in text
    assert "TLS Web Server Authentication" in text
    assert "Digital Signature, Key Encipherment" in text
    assert pki.names_in(made) == names


def test_nothing_outlives_its_issuer() -> None:
    house = House()
    made, _ = house.client(days=9999)
    assert made.not_valid_after_utc == house.issuing.certificate.not_valid_after_utc


@pytest.mark.parametrize("old", [False, True])
def test_a_bundle_opens_with_its_password_alone(tmp_path: Path, old: bool) -> None:
    house = House()
    made, key = house.client()
    chain = [made, house.issuing.certificate, house.root.certificate]
    (tmp_path / "p12").write_bytes(pki.bundle("ann", key, chain, Secret("open sesame"), old=old))
    told = openssl("pkcs12", "-in", str(tmp_path / "p12"), "-info", "-nodes", "-passin", "pass:open sesame")
    assert told.count("BEGIN CERTIFICATE") == 3
    assert pem_marks.begin() in told
    assert ("3-KeyTripleDES" in told) == old
    assert "invalid password" in openssl(
        "pkcs12", "-in", str(tmp_path / "p12"), "-nodes", "-passin", "pass:x"
    )


def test_a_request_made_by_openssl_is_read_and_a_bad_one_refused(tmp_path: Path) -> None:
    key, asked = tmp_path / "key", tmp_path / "csr"
    new = ["req", "-new", "-nodes", "-keyout", str(key), "-out", str(asked), "-subj", "/CN=tower-7"]
    openssl(
        *new,
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-addext",
        "subjectAltName=DNS:t7.example.net",
    )
    read = pki.read_request(asked.read_bytes())
    assert read.names == pki.Names("tower-7", ("t7.example.net",))
    assert pki.key_from_pem(Secret(key.read_text())).public_key() == read.public_key
    openssl(*new, "-newkey", "rsa:1024")
    with pytest.raises(pki.PkiError, match="1024 bits"):
        pki.read_request(asked.read_bytes())
    openssl(*new, "-newkey", "ed25519")
    with pytest.raises(pki.PkiError, match="neither RSA nor"):
        pki.read_request(asked.read_bytes())
    openssl(*new, "-newkey", "rsa:2048")
    der = bytearray(
        subprocess.run(["openssl", "req", "-in", str(asked), "-outform", "DER"], capture_output=True).stdout
    )
    der[-1] ^= 1
    with pytest.raises(pki.PkiError, match="signature"):
        pki.read_request(bytes(der))
    with pytest.raises(pki.PkiError, match="request in PEM"):
        pki.read_request(b"-----BEGIN nonsense")


def test_a_crl_of_another_authority_is_refused() -> None:
    house, other = House(), House()
    crl = pki.sign_crl(house.issuing, 1, NOW, NOW + WEEK, [pki.Revocation(77, NOW, "unspecified")])
    serials, due = pki.read_crl(crl, house.issuing.certificate)
    assert (serials, due) == (frozenset({77}), NOW + WEEK)
    with pytest.raises(pki.PkiError, match="not signed by"):
        pki.read_crl(crl, other.issuing.certificate)


def test_a_key_never_shows_in_an_error() -> None:
    text = Secret(f"{pem_marks.begin()}\nhush\n{pem_marks.end()}\n")
    with pytest.raises(pki.PkiError) as caught:
        pki.key_from_pem(text)
    assert "hush" not in str(caught.value)
