"""The embedded authority: whom it lets in, what the directory learns of it, what it does by itself."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aaa_world import subscribe
from sqlalchemy import select

from aaa.authorize import Reject
from aaa.authorize_certificate import login_of_certificate
from aaa.directory import Directory
from aaa.directory_certificates import KnownCertificate, OutsideCertificate, Unacceptable
from aaa.issue_certificate import (
    Issued,
    Order,
    issue_client_certificate,
    issue_nas_certificate,
    issue_server_certificate,
    renew_certificate,
)
from aaa.keep_certificates import keep_certificates
from aaa.make_authority import (
    distrust_authority,
    make_authority,
    take_outside_crl,
    trust_authority,
)
from aaa.revoke_certificate import revoke_certificate
from aaa.set_up import change_nas, register_nas
from aaa.store import tables
from core import pki
from core.clock import FakeClock
from core.refusal import Refusal, granted
from core.secrets import Sealer, Secret
from core.store.tables import health_issue
from core.work import Workplace


class Office:
    """Somebody who issues certificates, one transaction each."""

    def __init__(self, workplace: Workplace, sealer: Sealer) -> None:
        self.workplace, self.sealer = workplace, sealer
        self.directory: Directory | None = None

    async def do(self, act: Any, *sealed: Sealer, **given: Any) -> Any:
        return granted(await self.refused(act, *sealed, **given))

    async def refused(self, act: Any, *sealed: Sealer, **given: Any) -> Any:
        async with self.workplace.work("operator:ann") as work:
            return await act(work, *sealed, **given)

    async def authority(self, **given: Any) -> str:
        return await self.do(make_authority, self.sealer, **{"name": "Example", "issuing": True} | given)

    async def client(self, service_id: str, **given: Any) -> Issued:
        return await self.do(issue_client_certificate, self.sealer, service_id=service_id, **given)

    async def known(self) -> Directory:
        """The directory as a RADIUS worker has it: loaded once, refreshed afterwards."""
        async with self.workplace.reading() as connection:
            if self.directory is None:
                self.directory = await Directory.load(connection, self.sealer)
            else:
                self.directory = await self.directory.refreshed(connection, self.sealer)
        return self.directory

    async def round(self) -> int:
        async with self.workplace.work("system:certificates") as work:
            return await keep_certificates(work, self.sealer)

    async def issues(self) -> dict[str, str]:
        async with self.workplace.reading() as connection:
            rows = await connection.execute(select(health_issue).where(health_issue.c.closed_at.is_(None)))
            return {row.key: row.severity for row in rows}

    async def authority_rows(self) -> list[Any]:
        async with self.workplace.reading() as connection:
            return list((await connection.execute(select(tables.authority))).all())


@pytest.fixture
def office(workplace: Workplace, sealer: Sealer) -> Office:
    return Office(workplace, sealer)


def der(issued: Issued) -> bytes:
    return pki.to_der(pki.read_certificates(issued.certificate.encode())[0])


async def test_a_client_is_known_by_its_certificate_until_it_is_revoked(
    any_workplace: Workplace, sealer: Sealer
) -> None:
    office = Office(any_workplace, sealer)
    await office.authority()
    service_id = await subscribe(any_workplace, sealer, "ann")
    issued = await office.client(service_id)
    directory = await office.known()
    login = login_of_certificate(directory, der(issued), b"anonymous")
    assert not isinstance(login, Reject)
    assert (login.credential.username, login.service.id) == ("ann", service_id)
    tls = directory.certificates.tls
    other = await office.client(service_id)
    await office.do(revoke_certificate, sealer, certificate=issued.id, reason="key_compromise")
    directory = await office.known()
    refused = login_of_certificate(directory, der(issued), b"anonymous")
    assert isinstance(refused, Reject)
    assert refused.rule == "certificate_revoked"
    assert not isinstance(login_of_certificate(directory, der(other), b""), Reject)
    assert directory.certificates.tls is tls  # no TLS context has to be made anew for a client
    again = await office.refused(revoke_certificate, sealer, certificate=issued.id)
    assert isinstance(again, Refusal)


async def test_openssl_agrees_on_the_whole_chain_and_its_crls(
    office: Office, sealer: Sealer, tmp_path: Path
) -> None:
    await office.authority()
    service_id = await subscribe(office.workplace, sealer, "ann@example.net")
    kept, gone = await office.client(service_id), await office.client(service_id)
    await office.round()
    await office.do(revoke_certificate, sealer, certificate=gone.id, reason="superseded")
    crls = b""
    for row in await office.authority_rows():
        crls += subprocess.run(
            ["openssl", "crl", "-inform", "DER"], input=row.crl, capture_output=True, check=True
        ).stdout
    (tmp_path / "crl").write_bytes(crls)
    (tmp_path / "ca").write_text(kept.chain)
    said = {}
    for name, one in (("kept", kept), ("gone", gone)):
        (tmp_path / name).write_text(one.certificate)
        now_s = str(int(office.workplace.clock.now().timestamp()) + 60)
        done = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-crl_check_all", "-attime", now_s, "-CAfile",
             tmp_path / "ca", "-CRLfile", tmp_path / "crl", tmp_path / name],
            capture_output=True, text=True,
        )  # fmt: skip
        said[name] = done.stdout + done.stderr
    assert said["kept"].endswith("OK\n")
    assert "certificate revoked" in said["gone"]
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName"],
        input=kept.certificate,
        capture_output=True,
        text=True,
    ).stdout
    assert "email:ann@example.net" in text


async def test_no_key_of_a_client_is_kept_and_ours_are_sealed(office: Office, sealer: Sealer) -> None:
    await office.authority()
    issued = await office.client(await subscribe(office.workplace, sealer, "ann"))
    await office.do(issue_server_certificate, sealer, names=["radius.example.net"])
    assert issued.key is not None
    assert "PRIVATE" not in repr(issued)
    async with office.workplace.reading() as connection:
        rows = (await connection.execute(select(tables.certificate))).all()
        authorities = (await connection.execute(select(tables.authority))).all()
    assert {row.purpose: row.key_sealed is None for row in rows} == {"client": True, "server": False}
    assert not any("PRIVATE" in str(row) for row in [*rows, *authorities])
    bundle = issued.bundle(Secret("open sesame"))
    assert len(bundle) > 500


async def test_a_name_of_its_own_becomes_a_login_nobody_has_a_password_for(
    office: Office, sealer: Sealer
) -> None:
    await office.authority()
    service_id = await subscribe(office.workplace, sealer, "ann")
    issued = await office.client(service_id, username="ann-roof")
    login = login_of_certificate(await office.known(), der(issued), b"")
    assert not isinstance(login, Reject)
    assert len(login.credential.password) >= 32
    await subscribe(office.workplace, sealer, "bob")
    taken = await office.refused(issue_client_certificate, sealer, service_id=service_id, username="bob")
    assert isinstance(taken, Refusal)
    assert taken.code == "username.taken"


async def test_a_server_shows_one_certificate_of_each_kind_of_key(office: Office, sealer: Sealer) -> None:
    await office.authority()
    old = await office.do(issue_server_certificate, sealer, names=["old.example.net"])
    rsa = await office.do(
        issue_server_certificate, sealer, names=["rsa.example.net", "192.0.2.7"], order=Order(key_type="rsa2048")
    )  # fmt: skip
    new = await office.do(issue_server_certificate, sealer, names=["new.example.net"])
    assert old.key is None
    servers = (await office.known()).certificates.tls.servers
    assert [(one.id, one.names) for one in servers] == [
        (new.id, ("new.example.net",)), (rsa.id, ("rsa.example.net", "192.0.2.7")),
    ]  # fmt: skip
    leaf, issuing = pki.read_certificates(servers[0].chain.encode())
    assert pki.issued(issuing, leaf)
    assert pki.key_from_pem(servers[0].key).public_key() == leaf.public_key()


async def test_a_nas_gets_a_certificate_for_its_radsec_identity(office: Office, sealer: Sealer) -> None:
    await office.authority()
    nas_id = await office.do(
        register_nas, sealer, name="north tower", network="10.0.0.1", secret=Secret("0123456789abcdef")
    )
    issued = await office.do(issue_nas_certificate, sealer, nas_id=nas_id)
    directory = await office.known()
    assert directory.nases[0].radsec_identity == "north-tower"
    known = directory.certificates.judge(der(issued), "nas")
    assert isinstance(known, KnownCertificate)
    assert known.nas_id == nas_id
    as_client = directory.certificates.judge(der(issued), "client")
    assert isinstance(as_client, Unacceptable)
    assert as_client.rule == "certificate_purpose"
    await office.refused(change_nas, sealer, nas_id=nas_id, radsec_identity="sha256:" + "AB:" * 31 + "AB")
    refused = await office.refused(issue_nas_certificate, sealer, nas_id=nas_id)
    assert isinstance(refused, Refusal)
    assert refused.field == "radsec_identity"


async def test_a_renewed_certificate_overlaps_with_the_one_before(
    office: Office, sealer: Sealer, clock: FakeClock
) -> None:
    await office.authority()
    first = await office.client(await subscribe(office.workplace, sealer, "ann"))
    second = await office.do(renew_certificate, sealer, certificate=first.id, overlap_days=10)
    await office.round()
    certificates = (await office.known()).certificates
    for one in (first, second):
        assert isinstance(certificates.judge(der(one), "client"), KnownCertificate)
    clock.advance(timedelta(days=11))
    await office.round()
    certificates = (await office.known()).certificates
    assert isinstance(certificates.judge(der(first), "client"), Unacceptable)
    assert isinstance(certificates.judge(der(second), "client"), KnownCertificate)
    serial = pki.read_certificates(first.certificate.encode())[0].serial_number
    issuing = next(row for row in await office.authority_rows() if row.issues)
    serials, _ = pki.read_crl(issuing.crl, pki.read_certificates(issuing.certificate.encode())[0])
    assert serials == {serial}
    refused = await office.refused(renew_certificate, sealer, certificate=first.id)
    assert isinstance(refused, Refusal)


async def test_crls_are_fresh_and_our_own_certificate_renews_itself(
    office: Office, sealer: Sealer, clock: FakeClock
) -> None:
    assert await office.round() == 0  # no authority, nothing to keep
    await office.authority()
    server = await office.do(
        issue_server_certificate, sealer, names=["radius.example.net"], order=Order(days=60)
    )
    assert await office.round() == 2  # the CRLs of root and issuing authority
    assert await office.round() == 0
    for _ in range(16):
        clock.advance(timedelta(days=1))
        await office.round()
        for row in await office.authority_rows():
            assert row.crl_due_at - clock.now() >= timedelta(days=6)
    (shown,) = (await office.known()).certificates.tls.servers
    assert shown.id != server.id
    assert shown.names == ("radius.example.net",)
    assert not await office.issues()


async def test_the_coming_end_of_certificates_is_told(
    office: Office, sealer: Sealer, clock: FakeClock
) -> None:
    await office.authority()
    service_id = await subscribe(office.workplace, sealer, "ann")
    await office.client(service_id, order=Order(days=60))
    seen = []
    for days in (29, 2, 21, 3):
        clock.advance(timedelta(days=days))
        await office.round()
        seen.append((await office.issues()).get("aaa.certificates_end:client"))
    assert seen == [None, "warning", "warning", "critical"]
    row = (await office.known()).certificates.known
    (one,) = row.values()
    await office.do(revoke_certificate, sealer, certificate=one.id)
    await office.round()
    assert not await office.issues()


async def test_an_outside_authority_is_trusted_for_what_it_was_told(
    office: Office, sealer: Sealer, clock: FakeClock
) -> None:
    await office.authority()
    service_id = await subscribe(office.workplace, sealer, "ann")
    key = pki.make_key("p256")
    theirs = pki.Issuer(pki.make_root("Other", key, clock.now(), 3000), key)
    text = pki.to_pem(theirs.certificate).encode()
    made = pki.issue(theirs, pki.Names("ann"), key.public_key(), use="client", now=clock.now(), days=30)
    shown = pki.to_der(made)
    certificates = (await office.known()).certificates
    assert isinstance(certificates.judge(shown, "client"), Unacceptable)
    await office.do(trust_authority, name="Other", certificate=text, uses=["client"])
    directory = await office.known()
    assert pki.to_pem(theirs.certificate) in directory.certificates.tls.anchors_for("client")
    assert pki.to_pem(theirs.certificate) not in directory.certificates.tls.anchors_for("nas")
    assert directory.certificates.judge(shown, "client") == OutsideCertificate(("ann",))
    assert isinstance(directory.certificates.judge(shown, "nas"), Unacceptable)
    login = login_of_certificate(directory, shown, b"")
    assert not isinstance(login, Reject)
    assert login.service.id == service_id
    crl = pki.sign_crl(
        theirs, 1, clock.now(), clock.now() + timedelta(days=7),
        [pki.Revocation(made.serial_number, clock.now(), "unspecified")],
    )  # fmt: skip
    assert await office.do(take_outside_crl, authority="Other", crl=crl) == 1
    assert isinstance((await office.known()).certificates.judge(shown, "client"), Unacceptable)
    clock.advance(timedelta(days=8))
    await office.round()
    assert [key for key in await office.issues() if key.startswith("aaa.outside_crl:")]
    await office.do(distrust_authority, authority="Other")
    assert pki.to_pem(theirs.certificate) not in (await office.known()).certificates.tls.anchors_for("client")


async def test_another_authority_takes_over_while_the_first_stays_trusted(
    office: Office, sealer: Sealer
) -> None:
    first = await office.authority()
    refused = await office.refused(make_authority, sealer, name="Second")
    assert isinstance(refused, Refusal)
    assert refused.code == "authority.present"
    service_id = await subscribe(office.workplace, sealer, "ann")
    old = await office.client(service_id)
    await office.authority(name="Second", replace=True, key_type="rsa2048", issuing=False)
    new = await office.client(service_id)
    certificates = (await office.known()).certificates
    for one in (old, new):
        assert isinstance(certificates.judge(der(one), "client"), KnownCertificate)
    assert certificates.tls.anchors_for("client").count("BEGIN") == 3
    refused = await office.refused(distrust_authority, authority="Second")
    assert isinstance(refused, Refusal)
    await office.do(distrust_authority, authority=first)
    assert (await office.known()).certificates.tls.anchors_for("client").count("BEGIN") == 2


@pytest.mark.parametrize(
    ("act", "given", "field"),
    [
        (make_authority, {"name": "", "replace": True}, "name"),
        (make_authority, {"name": "x", "replace": True, "key_type": "rsa512"}, "key_type"),
        (make_authority, {"name": "x", "replace": True, "crl_base": "https://x/pki"}, "crl_base"),
        (make_authority, {"name": "Example", "replace": True}, "name"),
        (issue_server_certificate, {"names": []}, "names"),
        (issue_server_certificate, {"names": ["no such_ host!"]}, "names"),
        (issue_server_certificate, {"names": ["a.example"], "order": Order(days=900)}, "days"),
        (issue_server_certificate, {"names": ["a.example"], "order": Order(request=b"x")}, "request"),
        (issue_nas_certificate, {"nas_id": "nas_9"}, "nas_id"),
        (issue_client_certificate, {"service_id": "svc_9"}, "service_id"),
        (renew_certificate, {"certificate": "77"}, "certificate"),
        (revoke_certificate, {"certificate": "77"}, "certificate"),
        (revoke_certificate, {"certificate": "77", "reason": "spite"}, "reason"),
    ],
)
async def test_what_cannot_be_is_refused_naming_the_field(
    office: Office, sealer: Sealer, act: Any, given: dict[str, Any], field: str
) -> None:
    await office.authority()
    refusal = await office.refused(act, sealer, **given)
    assert isinstance(refusal, Refusal)
    assert refusal.field == field


async def test_a_request_of_the_device_gets_a_certificate_and_no_key(
    office: Office, sealer: Sealer, tmp_path: Path
) -> None:
    await office.authority()
    subprocess.run(
        ["openssl", "req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-keyout", tmp_path / "key", "-out", tmp_path / "csr", "-subj", "/CN=somebody else"],
        capture_output=True, check=True,
    )  # fmt: skip
    order = Order(request=(tmp_path / "csr").read_bytes())
    issued = await office.client(await subscribe(office.workplace, sealer, "ann"), order=order)
    assert issued.key is None
    (made,) = pki.read_certificates(issued.certificate.encode())
    assert pki.names_in(made).common_name == "ann"  # what we say, not what was asked
    assert pki.key_from_pem(Secret((tmp_path / "key").read_text())).public_key() == made.public_key()
    with pytest.raises(pki.PkiError, match="where the request was made"):
        issued.bundle(Secret("x"))
