"""What a network operator does every day: NASes, devices, SNMP targets; and who may do what."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select
from test_ui_acts import actions, count, rows, twice
from test_ui_pages import rows_of
from ui_client import Browser, Panels
from ui_world import Provider

from aaa.lockouts import HeldSighting, write_held
from aaa.store import tables as aaa
from billing.store import tables as billing
from core.secrets import Sealer
from provisioning.store import tables as provisioning
from snmp.store import tables as snmp


async def test_a_nas_is_changed_and_gets_another_secret(
    valley: Provider, valley_panel: Panels, sealer: Sealer
) -> None:
    browser = await valley_panel.as_("network")
    nas = valley.nases[0]
    edit = f"/nases/{nas}/edit"
    untouched = (await browser.get(edit)).form(edit)
    assert "secret" not in untouched
    first, second = await twice(browser, edit, edit, name="quail-core", network="10.99.0.0/24", enabled="yes")
    assert first.location == second.location == "/nases?notice=saved"
    [row] = await rows(valley_panel, select(aaa.nas).where(aaa.nas.c.id == nas))
    assert (row.name, row.network, row.enabled, row.site_id) == (
        "quail-core", "10.99.0.0/24", True, valley.sites[0],
    )  # fmt: skip
    assert sealer.open(row.secret_sealed, "nas.secret").reveal() == "a long radius secret"
    taken = await browser.submit(edit, edit, network="10.21.0.1")
    assert taken.status == 422
    assert "already belongs to" in taken.text
    elsewhere = await browser.submit(edit, edit, site_id="site_nowhere")
    assert elsewhere.status == 422
    short = await browser.submit(edit, f"/nases/{nas}/secret", secret="short")
    assert short.status == 422
    assert 'value="quail-core"' in short.text  # the other form of the page still shows what stands
    assert 'value="short"' not in short.text
    done = await browser.submit(edit, f"/nases/{nas}/secret", secret="another long radius secret")
    assert done.location == "/nases?notice=nas_secret"
    [row] = await rows(valley_panel, select(aaa.nas).where(aaa.nas.c.id == nas))
    assert sealer.open(row.secret_sealed, "nas.secret").reveal() == "another long radius secret"
    assert "another long" not in str([one.detail for one in await actions(valley_panel, "nas.change")])


async def test_a_secret_is_rotated_shown_once_and_the_old_one_ended(
    valley: Provider, valley_panel: Panels, sealer: Sealer
) -> None:
    browser = await valley_panel.as_("network")
    nas = valley.nases[0]
    edit, rotate = f"/nases/{nas}/edit", f"/nases/{nas}/rotate"
    assert (await browser.submit(edit, rotate, keep_old="9999")).status == 422
    made = await browser.submit(edit, rotate, keep_old="24")
    [row] = await rows(valley_panel, select(aaa.nas).where(aaa.nas.c.id == nas))
    new = sealer.open(row.secret_sealed, "nas.secret").reveal()
    assert made.status == 200
    assert new in made.text
    assert sealer.open(row.old_secret_sealed, "nas.secret").reveal() == "a long radius secret"
    again = await browser.get(edit)
    assert new not in again.text
    assert "has not been heard" in again.text
    assert new not in str([one.detail for one in await actions(valley_panel, "nas.rotate_secret")])
    ended = await browser.submit(edit, f"/nases/{nas}/retire")
    assert ended.location == f"{edit}?notice=saved"
    [row] = await rows(valley_panel, select(aaa.nas).where(aaa.nas.c.id == nas))
    assert row.old_secret_sealed is None
    assert sealer.open(row.secret_sealed, "nas.secret").reveal() == new


async def test_a_login_that_is_held_back_is_shown_and_let_go(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    nas, now = valley.nases[0], valley.workplace.clock.now()
    async with valley.workplace.work("system:radius") as work:
        held = HeldSighting(nas, "<b>otis", "02005e000001", None, 7, now, now + timedelta(seconds=200))
        await write_held(work, [held])
    page = await browser.get("/rejects")
    assert "&lt;b&gt;otis" in page.text
    assert "02:00:5E:00:00:01" in page.text
    done = await browser.submit("/rejects", "/rejects/let-go", identity="<b>otis", nas_id=nas)
    assert done.location == "/rejects?notice=let_go"
    assert "02:00:5E:00:00:01" not in (await browser.get("/rejects")).text
    [row] = await rows(valley_panel, select(aaa.lockout))
    assert row.let_go_by == "operator:billing"
    assert [one.subject for one in await actions(valley_panel, "lockout.let_go")] == ["<b>otis"]


async def test_a_device_is_changed_and_its_host_key_forgotten(
    valley: Provider, valley_panel: Panels, sealer: Sealer
) -> None:
    browser = await valley_panel.as_("network")
    device = valley.devices[0]
    edit, table = f"/devices/{device}/edit", provisioning.device
    page = await browser.get(edit)
    assert "tower words" not in page.text
    assert "ssh-" in page.text  # the pinned key
    saved = await browser.submit(edit, edit, address="192.0.2.9", enabled="yes", options='{"list": "late"}')
    assert saved.location == f"/towers/{valley.sites[0]}?notice=saved"
    [row] = await rows(valley_panel, select(table).where(table.c.id == device))
    assert (row.address, row.enabled, row.options) == ("192.0.2.9", True, {"list": "late"})
    assert (
        sealer.open(row.password_sealed, "device.password").reveal() == "tower words"
    )  # left empty, it stays
    assert row.host_key is not None
    changed = await browser.submit(edit, edit, password="other words", enabled="yes")
    assert changed.status == 303
    [row] = await rows(valley_panel, select(table).where(table.c.id == device))
    assert sealer.open(row.password_sealed, "device.password").reveal() == "other words"
    first, second = await twice(browser, edit, f"/devices/{device}/forget-key")
    assert first.location == second.location == f"/towers/{valley.sites[0]}?notice=key_forgotten"
    [row] = await rows(valley_panel, select(table).where(table.c.id == device))
    assert row.host_key is None
    assert "None is pinned" in (await browser.get(edit)).text
    for wrong in (
        {"options": "[1]"},
        {"options": "[" * 1900},
        {"address": "not an address"},
        {"site_id": "x"},
    ):
        assert (await browser.submit(edit, edit, **wrong)).status == 422, wrong


async def snmp_target(browser: Browser) -> str:
    made = await browser.submit(
        "/snmp/new", "/snmp/new", name="quail-ap", address="192.0.2.20", community="valley words"
    )
    assert made.status == 303, made.text
    return made.location.split("?")[0]


async def test_an_snmp_target_from_first_to_last(
    valley: Provider, valley_panel: Panels, sealer: Sealer
) -> None:
    browser = await valley_panel.as_("network")
    page = await snmp_target(browser)
    mine = select(snmp.target).where(snmp.target.c.name == "quail-ap")
    again = await browser.submit(
        "/snmp/new", "/snmp/new", name="quail-ap", address="192.0.2.20", community="valley words"
    )
    assert again.status == 422
    assert "valley words" not in again.text
    [row] = await rows(valley_panel, mine)
    assert sealer.open(row.community_sealed, "snmp.community").reveal() == "valley words"
    moved = await browser.submit(page, f"{page}/edit", address="192.0.2.21", poll_interval_s="60")
    assert moved.location == f"{page}?notice=saved"
    weak = await browser.submit(page, f"{page}/credentials", version="3", username="reader", auth="short")
    assert weak.status == 422
    assert "at least 8" in weak.text
    done = await browser.submit(
        page, f"{page}/credentials", version="3", username="reader", auth="long enough", community="filled in"
    )
    assert done.location == f"{page}?notice=saved"
    [row] = await rows(valley_panel, mine)
    assert (row.address, row.poll_interval_s, row.version, row.community_sealed) == (
        "192.0.2.21",
        60,
        "3",
        None,
    )
    assert (await browser.submit(page, f"{page}/enabled")).location == f"{page}?notice=saved"
    assert "Switched off" in (await browser.get(page)).text
    assert (await browser.submit(page, f"{page}/enabled")).location == f"{page}?notice=saved"
    assert [one["name"] for one in rows_of(await browser.get("/snmp?format=csv"))] == [
        "mill-bend-backhaul",
        "quail-ap",
    ]


async def test_an_interface_is_bound_to_a_service_by_what_people_know(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("network")
    page = await snmp_target(browser)
    for whose in ("nobody", "", "02:00:5e:00:00:77"):
        nobody = await browser.submit(page, f"{page}/bind", if_name="ath0", service=whose)
        assert nobody.status == 422, whose
        assert "is nobody" in nobody.text or "is missing" in nobody.text
    metered = await browser.submit(
        page, f"{page}/bind", if_name="ath0", service="otis@valley.example", bills="yes"
    )
    assert metered.status == 422  # RADIUS bills him
    assert "RADIUS accounting meters" in metered.text
    first, second = await twice(
        browser, page, f"{page}/bind", if_name="ath0", service="otis@valley.example", bills=""
    )
    assert first.location == f"{page}?notice=bound"
    assert second.status == 422
    assert await count(valley_panel, snmp.binding) == 2
    text = (await browser.get(page)).text
    assert "Otis Marsh" in text
    assert "Checking" in text
    assert "ath0" in (await browser.get(f"/services/{valley.services['Otis Marsh']}/change")).text
    gone, missing = await twice(browser, page, f"{page}/unbind")
    assert gone.location == f"{page}?notice=unbound"
    assert missing.status == 422
    assert await count(valley_panel, snmp.binding) == 1


async def test_how_a_nas_sends_macs(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    nas = valley.nases[0]
    edit = f"/nases/{nas}/edit"
    saved = await browser.submit(edit, edit, mac_preset="ubiquiti")
    assert saved.location == "/nases?notice=saved"
    assert (await browser.get(edit)).form(edit)["mac_password"] == "mac"
    lacking = await browser.submit(edit, edit, mac_format="hyphen", mac_case="upper", mac_password="shared")
    assert lacking.status == 422
    assert "give that password" in lacking.text
    given = {"mac_format": "hyphen", "mac_case": "upper", "mac_password": "shared"}
    saved = await browser.submit(edit, edit, **given, mac_shared_password="all the same")
    assert saved.status == 303
    page = await browser.get(edit)
    assert page.form(edit) | given == page.form(edit)
    assert "all the same" not in page.text
    [row] = await rows(valley_panel, select(aaa.nas).where(aaa.nas.c.id == nas))
    assert valley.sealer.open(row.mac_password_sealed, "nas.mac_password").reveal() == "all the same"
    new = (await browser.get("/nases/new")).form("/nases/new")
    assert (new["mac_format"], new["mac_preset"]) == ("none", "")


# -- who may


ACTS = {
    "/services/{service}/plan": {"billing", "network"},
    "/services/{service}/end": {"billing", "network"},
    "/services/{service}/password": {"billing", "network"},
    "/services/{service}/enforce": {"billing", "network"},
    "/subscribers/{account}/promise": {"billing"},
    "/subscribers/{account}/immunity": {"billing"},
    "/payments/{payment}/reverse": {"billing"},
    "/ledger/close": {"billing"},
    "/ledger/lock": {"billing"},
    "/ledger/reopen": set(),
    "/ledger/accounts": {"billing"},
    "/nases/{nas}/secret": {"network"},
    "/rejects/let-go": {"billing", "network"},
    "/nases/{nas}/rotate": {"network"},
    "/nases/{nas}/retire": {"network"},
    "/devices/{device}/forget-key": {"network"},
    "/snmp/unknown/unbind": {"network"},
}


@pytest.mark.parametrize("role", ["viewer", "billing", "network"])
async def test_each_act_is_refused_to_the_wrong_role(
    valley: Provider, valley_panel: Panels, role: str
) -> None:
    browser = await valley_panel.as_(role)
    token = (await browser.get("/password")).form("/password")["csrf"]
    [paid, *_] = await rows(valley_panel, select(billing.payment.c.id))
    ids = {
        "service": valley.services["Otis Marsh"], "account": valley.accounts["Otis Marsh"],
        "payment": paid.id, "nas": valley.nases[0], "device": valley.devices[0],
    }  # fmt: skip
    for pattern, may in ACTS.items():
        if role in may:
            continue
        page = await browser.post(pattern.format(**ids), {"csrf": token, "reason": "x", "sure": "yes"})
        assert page.status == 403, pattern
    text = (await browser.get(f"/subscribers/{ids['account']}")).text
    assert ('/enforce"' in text) == (role != "viewer")
    assert ("/promise" in text) == (role == "billing")
