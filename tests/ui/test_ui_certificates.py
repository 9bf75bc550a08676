"""Certificates in the panel: made, issued into a file, renewed, revoked; and what devices fetch unasked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pem_marks
from aiohttp.test_utils import TestServer
from sqlalchemy import select
from test_ui_acts import actions, rows
from test_ui_api import program
from ui_client import Panels
from ui_world import Provider

from aaa.issue_certificate import issue_client_certificate
from aaa.make_authority import make_authority
from aaa.store import tables as aaa
from core.refusal import granted
from core.secrets import Sealer
from core.work import Workplace
from ui.config import UiSettings
from ui.portal import build_portal
from ui.web.render import Templates


def openssl(*words: str, fed: bytes = b"") -> str:
    done = subprocess.run(["openssl", *words], input=fed, capture_output=True)
    return (done.stdout + done.stderr).decode(errors="replace")


async def test_from_authority_to_revocation(valley: Provider, valley_panel: Panels, tmp_path: Path) -> None:
    browser = await valley_panel.as_("network")
    stranger = valley_panel.base.another()
    assert (await stranger.get("/pki/ca.pem")).status == 404
    early = await browser.submit(
        "/certificates/new", "/certificates/new", purpose="server", names="a.example"
    )
    assert early.status == 422
    refused = await browser.submit("/certificates", "/certificates/authority", name="X", crl_base="ftp://x")
    assert refused.status == 422
    made = await browser.submit("/certificates", "/certificates/authority", name="Valley CA")
    assert made.location == "/certificates?notice=created"
    own = await browser.submit(
        "/certificates/new", "/certificates/new", purpose="server", names="radius.example.net 192.0.2.1"
    )
    assert own.location == "/certificates?notice=created"
    [login, *_] = await rows(valley_panel, select(aaa.credential).where(aaa.credential.c.kind == "pppoe"))
    asked = {"purpose": "client", "service": login.username, "password": "open sesame"}
    short = await browser.submit("/certificates/new", "/certificates/new", **asked | {"password": "short"})
    assert short.status == 422
    assert "8 characters" in short.text
    nobody = await browser.submit(
        "/certificates/new", "/certificates/new", **asked | {"service": "nobody-here"}
    )
    assert nobody.status == 422
    issued = await browser.submit("/certificates/new", "/certificates/new", **asked)
    assert issued.status == 200
    assert issued.headers["Cache-Control"] == "no-store"
    (tmp_path / "p12").write_bytes(issued.body)
    pem = openssl("pkcs12", "-in", str(tmp_path / "p12"), "-nodes", "-passin", "pass:open sesame")
    assert pem.count("BEGIN CERTIFICATE") == 3
    assert pem.count(pem_marks.begin()) == 1
    [row] = await rows(valley_panel, select(aaa.certificate).where(aaa.certificate.c.purpose == "client"))
    assert row.issued_by.startswith("operator:")
    page = f"/certificates/{row.id}"
    assert login.username in (await browser.get(page)).text
    one = await browser.get(f"{page}/download")
    assert openssl("x509", "-noout", "-serial", fed=one.body).strip().endswith(row.serial.upper())
    renewed = await browser.submit(page, f"{page}/renew", form="pem", overlap_days="5")
    assert renewed.status == 200
    assert renewed.text.count(pem_marks.begin()) == 1
    gone = await browser.submit(page, f"{page}/revoke", reason="key_compromise")
    assert gone.location == f"{page}?notice=certificate_revoked"
    assert (await browser.post(f"{page}/revoke", {"csrf": "x"})).status == 403
    crl = await stranger.get("/pki/hilltop.crl")
    assert crl.headers["Content-Type"] == "application/pkix-crl"
    assert row.serial.upper() in openssl("crl", "-inform", "DER", "-noout", "-text", fed=crl.body)
    ca = await stranger.get("/pki/ca.pem")
    der = await stranger.get("/pki/ca.der")
    assert "Valley CA" in openssl("x509", "-noout", "-subject", fed=ca.body)
    assert "Valley CA" in openssl("x509", "-inform", "DER", "-noout", "-subject", fed=der.body)
    assert (await stranger.get("/pki/chain.pem")).text.count("BEGIN CERTIFICATE") == 2
    assert (await stranger.get("/pki/..%2fetc")).status == 404
    portal = TestServer(build_portal(valley.workplace, Templates(UiSettings(), valley.clock), UiSettings()))
    await portal.start_server()
    async with stranger.session.get(portal.make_url("/pki/hilltop.crl")) as plain:
        assert await plain.read() == crl.body
    await portal.close()
    told = [one.action for one in await actions(valley_panel, "certificate.issue")]
    assert len(told) >= 3


async def test_who_may_look_may_not_issue(
    valley: Provider, valley_panel: Panels, workplace: Workplace
) -> None:
    viewer = await valley_panel.as_("viewer")
    assert (await viewer.get("/certificates")).status == 200
    assert (await viewer.get("/certificates/new")).status == 403
    assert (await viewer.get("/certificates/crt_none")).status == 404


async def test_programs_list_and_revoke(valley: Provider, valley_panel: Panels, sealer: Sealer) -> None:
    script = await program(valley, valley_panel, "act")
    async with valley.workplace.work("operator:owner") as work:
        granted(await make_authority(work, sealer, name="Valley CA"))
        [login, *_] = await rows(valley_panel, select(aaa.credential).where(aaa.credential.c.kind == "pppoe"))
        issued = granted(await issue_client_certificate(work, sealer, service_id=login.service_id))
    told = await script.found("/certificates?purpose=client")
    assert [one["subject"] for one in told["certificates"]] == [login.username]
    assert [one["kind"] for one in told["authorities"]] == ["root"]
    assert "BEGIN" not in str(told)
    status, body = await script.ask(f"/certificates/{issued.id}/revoke?reason=spite", "POST")
    assert (status, body["error"]["field"]) == (422, "reason")
    status, body = await script.ask(f"/certificates/{issued.id}/revoke?reason=cessation", "POST")
    assert (status, body) == (200, {"revoked": issued.id})
    assert (await script.ask(f"/certificates/{issued.id}/revoke", "POST"))[0] == 422
    assert not (await script.found("/certificates?purpose=client"))["certificates"]
    [gone] = (await script.found("/certificates?purpose=client&state=all"))["certificates"]
    assert (gone["state"], gone["reason"]) == ("revoked", "cessation")
    assert await script.found("/realms") == {"realms": [], "home_servers": []}
