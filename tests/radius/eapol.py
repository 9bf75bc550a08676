"""eapol_test (wpa_supplicant's supplicant without a radio) as the CPE, and certificates for it."""

from __future__ import annotations

import asyncio
import datetime
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from radius_world import SECRET

EAPOL_TEST = shutil.which("eapol_test")
needs_eapol_test = pytest.mark.skipif(EAPOL_TEST is None, reason="eapol_test is not installed (eapoltest)")
TLS12 = "tls_disable_tlsv1_3=1"
TLS13 = "tls_disable_tlsv1_3=0 tls_disable_tlsv1_2=1 tls_disable_tlsv1_1=1 tls_disable_tlsv1_0=1"
ETHERNET = "61:d:15"


@dataclass
class Outcome:
    """What eapol_test said."""

    code: int
    said: str

    @property
    def succeeded(self) -> bool:
        return self.code == 0 and self.said.rstrip().endswith("SUCCESS")

    @property
    def keys_match(self) -> bool:
        """Every round's MPPE keys were those that the supplicant derived."""
        return "MPPE keys OK: " in self.said and "mismatch: 0" in self.said.rsplit("MPPE keys OK: ", 1)[1]


@dataclass
class Eapol:
    """Runs eapol_test against one port."""

    folder: Path
    port: int
    secret: str = SECRET
    runs: int = field(default=0)

    async def run(self, network: dict[str, Any], *arguments: str, identity: str = "alice") -> Outcome:
        """``network`` is a wpa_supplicant network block; strings get their quotes here."""
        assert EAPOL_TEST is not None
        self.runs += 1
        block = {"key_mgmt": "IEEE8021X", "eapol_flags": 0, "identity": f'"{identity}"'} | network
        lines = "\n".join(f"  {key}={value}" for key, value in block.items())
        file = self.folder / f"eapol{self.runs}.conf"
        file.write_text(f"network={{\n{lines}\n}}\n")
        process = await asyncio.create_subprocess_exec(
            EAPOL_TEST, "-c", str(file), "-a", "127.0.0.1", "-p", str(self.port), "-s", self.secret,
            "-t", "8", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        return Outcome(await process.wait(), said.decode("utf-8", "replace"))


def quoted(text: object) -> str:
    return f'"{text}"'


@dataclass
class Authority:
    """A certificate authority of the test's own; ``folder`` gets the PEM files."""

    folder: Path
    name: str = "Fictional Root"
    key: Any = None
    certificate: Any = None
    parent: Authority | None = None

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        signer = self.parent or self
        issuer = _name(signer.name)
        self.certificate = (
            _builder(self.name, issuer, self.key.public_key(), 3650)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer.key, hashes.SHA256())
        )
        self.file = self.folder / f"{self.name.replace(' ', '-')}.pem"
        self.file.write_bytes(_pem(self.certificate))

    def issue(
        self, name: str, *, server: bool = False, rsa_bits: int = 0, days: int = 90, bulk: int = 0
    ) -> tuple[Path, Path]:
        """A certificate (with its chain) and a key, as files. ``bulk``: octets of ballast in it."""
        key: Any = (
            rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
        )
        use = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        names += [x509.DNSName(f"{at}." + "x" * 50 + ".example") for at in range(bulk // 60)]
        made = (
            _builder(name, _name(self.name), key.public_key(), days)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        stem = f"{name}-{made.serial_number % 10_000}"
        chain, secret = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        above = b"" if self.parent is None else _pem(self.certificate)
        chain.write_bytes(_pem(made) + above)
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return chain, secret


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(name: str, issuer: x509.Name, key: Any, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
