"""Realms and home servers in the panel."""

from __future__ import annotations

from sqlalchemy import select
from test_ui_acts import actions, rows
from ui_client import Panels
from ui_world import Provider

from aaa.store import tables as aaa


async def test_a_home_server_and_a_realm_are_made_changed_and_removed(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("network")
    made = await browser.submit(
        "/home-servers/new", "/home-servers/new", name="partner", address="192.0.2.9", secret="a long secret of theirs",
        signs_replies="yes", status_check="yes",
    )  # fmt: skip
    assert made.location == "/realms?notice=created"
    [server] = await rows(valley_panel, select(aaa.home_server))
    assert "a long secret" not in str(server)
    edit = f"/home-servers/{server.id}/edit"
    assert "a long secret" not in (await browser.get(edit)).text
    bad = await browser.submit(edit, edit, address="partner.example", enabled="yes")
    assert bad.status == 422
    saved = await browser.submit(edit, edit, accounting_port="", enabled="yes", signs_replies="yes")
    assert saved.location == "/realms?notice=saved"
    [changed] = await rows(valley_panel, select(aaa.home_server))
    assert (changed.accounting_port, changed.secret_sealed) == (None, server.secret_sealed)
    assert "Session-Timeout\n" in (await browser.get("/realms/new")).text  # what passes is proposed
    refused = await browser.submit("/realms/new", "/realms/new", name="other.example", servers="nobody")
    assert refused.status == 422
    new = await browser.submit(
        "/realms/new",
        "/realms/new",
        name="other.example",
        servers="partner",
        accounting="yes",
        passes="Session-Timeout",
    )
    assert new.location == "/realms?notice=created"
    [realm] = await rows(valley_panel, select(aaa.realm))
    assert "Session-Timeout" in realm.passes
    assert "other.example" in (await (await valley_panel.as_("viewer")).get("/realms")).text
    kept = await browser.submit(edit, f"/home-servers/{server.id}/remove")
    assert kept.status == 422
    assert "is asked by other.example" in kept.text
    page = f"/realms/{realm.id}/edit"
    await browser.submit(
        page, page, passes="Framed-IP-Address, Session-Timeout", enabled="yes", accounting=""
    )
    [realm] = await rows(valley_panel, select(aaa.realm))
    assert (realm.passes, realm.accounting) == (["Framed-IP-Address", "Session-Timeout"], False)
    await browser.submit(page, f"/realms/{realm.id}/remove")
    await browser.submit(edit, f"/home-servers/{server.id}/remove")
    assert not await rows(valley_panel, select(aaa.realm))
    assert not await rows(valley_panel, select(aaa.home_server))
    assert len(await actions(valley_panel, "realm.change")) == 1
    assert (await browser.get(page)).status == 404
    ours = await browser.submit("/realms/new", "/realms/new", name="EXAMPLE", servers="", accounting="yes")
    assert ours.location == "/realms?notice=created"
    assert "our own" in (await browser.get("/realms")).text
