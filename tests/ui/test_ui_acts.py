"""What an operator does every day: each act once, twice, by the wrong role, and with what it must refuse."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import func, select
from ui_client import Browser, Page, Panels
from ui_world import Provider

from aaa.entitlements import entitlement_of
from aaa.store import tables as aaa
from billing.store import tables as billing
from core.secrets import Sealer
from core.store.tables import audit
from provisioning.store import tables as provisioning
from ui.passwords import new_nonce, repeatable_password


async def rows(panel: Panels, query: Any) -> list[Any]:
    async with panel.workplace.reading() as connection:
        return list((await connection.execute(query)).all())


async def count(panel: Panels, table: Any) -> int:
    return int((await rows(panel, select(func.count()).select_from(table)))[0][0])


async def actions(panel: Panels, action: str) -> list[Any]:
    """Who did it, as the audit trail has it."""
    return await rows(panel, select(audit).where(audit.c.action == action))


def secret_shown(page: Page) -> str:
    found = re.search(r'class="secret">([^<]+)<', page.text)
    assert found is not None, page.text[:400]
    return found[1]


async def twice(browser: Browser, shown_on: str, action: str, **typed: str) -> tuple[Page, Page]:
    """The same form, sent twice, as an impatient finger does."""
    fields = (await browser.get(shown_on)).form(action) | typed
    return await browser.post(action, fields), await browser.post(action, fields)


# -- services


async def test_one_more_service_and_its_password_shown_once(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    account = valley.accounts["Willa Thornbury"]
    action = f"/subscribers/{account}/services/new"
    before = await count(valley_panel, aaa.service)
    first, second = await twice(
        browser, action, action, label="Barn", plan="home-100", username="barn@valley.example"
    )
    password = secret_shown(first)
    assert second.status == 422  # the name signs in already
    assert "already signs in" in second.text
    assert await count(valley_panel, aaa.service) == before + 1
    page = (await browser.get(f"/subscribers/{account}")).text
    assert "Barn" in page
    assert password not in page
    [sealed] = await rows(
        valley_panel, select(aaa.credential).where(aaa.credential.c.username == "barn@valley.example")
    )
    assert valley.sealer.open(sealed.password_sealed, "credential.password").reveal() == password
    [subscribed] = await rows(
        valley_panel,
        select(billing.subscription).where(billing.subscription.c.service_id == sealed.service_id),
    )
    assert subscribed.account_id == account


async def test_a_service_is_refused_whole(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    action = f"/subscribers/{valley.accounts['Willa Thornbury']}/services/new"
    before = await count(valley_panel, aaa.service)
    for wrong, words in (
        ({"plan": "no-such"}, "is not one of the choices"),
        ({"framed_ip": "not an address"}, "framed_ip"),
        ({"device_id": "dev_nothing"}, "there is no device"),
        ({"starts_on": "2025-01-01"}, "days ago"),
        ({"username": ""}, "is missing"),
    ):
        typed = {"label": "Barn", "plan": "home-25", "username": "barn", "password": "cpe words"} | wrong
        refused = await browser.submit(action, action, **typed)
        assert refused.status == 422, wrong
        assert words in refused.text or "Framed ip" in refused.text, wrong
    assert await count(valley_panel, aaa.service) == before
    debtor = f"/subscribers/{valley.accounts['Hester Quill']}/services/new"
    typed = {"label": "Barn", "plan": "home-25", "username": "barn", "password": "cpe words"}
    assert "record its payment" in (await browser.submit(debtor, debtor, **typed)).text
    assert await count(valley_panel, aaa.service) == before


async def test_plan_profile_and_address_of_a_service(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    service = valley.services["Willa Thornbury"]
    change = f"/services/{service}/change"
    first, second = await twice(browser, change, f"/services/{service}/plan", plan="home-100")
    assert first.location == f"{change}?notice=plan"
    assert second.location == f"{change}?notice=as_before"
    changes = await rows(
        valley_panel,
        select(billing.subscription_change)
        .join(billing.subscription)
        .where(billing.subscription.c.service_id == service),
    )
    assert [one.kind for one in changes].count("plan") == 1
    assert "Home 100 v1" in (await browser.get(change)).text
    [stands] = await rows(valley_panel, select(aaa.service).where(aaa.service.c.id == service))
    assert stands.profile_id == valley.plans["home-100"][1]
    farm = valley.plans["farm-50"][1]
    done = await browser.submit(change, f"/services/{service}/profile", profile_id=farm)
    assert done.location == f"{change}?notice=profile"
    fixed = await browser.submit(change, f"/services/{service}/address", framed_ip="100.64.9.9")
    assert fixed.location == f"{change}?notice=address"
    [stands] = await rows(valley_panel, select(aaa.service).where(aaa.service.c.id == service))
    assert (stands.profile_id, stands.framed_ip) == (farm, "100.64.9.9")
    wrong = await browser.submit(change, f"/services/{service}/address", framed_ip="127.0.0.1")
    assert wrong.status == 422
    assert "cannot be a subscriber" in wrong.text
    assert {one.actor for one in await actions(valley_panel, "service.profile")} >= {"operator:billing"}


async def test_a_pppoe_password_is_replaced_and_shown_once(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    service = valley.services["Otis Marsh"]
    change, action = f"/services/{service}/change", f"/services/{service}/password"
    first, second = await twice(browser, change, action, login="otis@valley.example")
    assert secret_shown(first) == secret_shown(second)  # the one on the screen is the one in force
    [sealed] = await rows(
        valley_panel, select(aaa.credential).where(aaa.credential.c.username == "otis@valley.example")
    )
    assert valley.sealer.open(sealed.password_sealed, "credential.password").reveal() == secret_shown(second)
    another = await browser.submit(change, action, login="otis@valley.example")
    assert secret_shown(another) != secret_shown(first)
    typed = await browser.submit(change, action, login="otis@valley.example", new_password="typed by hand")
    assert typed.location == f"{change}?notice=pppoe_password"
    foreign = await browser.submit(change, action, login="hester@valley.example")
    assert foreign.status == 422  # not a name of this service
    assert first.headers["Cache-Control"] == "no-store"
    trail = str([one.detail for one in await actions(valley_panel, "credential.password")])
    assert secret_shown(first) not in trail
    assert "typed by hand" not in trail


async def test_a_password_is_given_as_a_hash_or_kept_as_one(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    service = valley.services["Otis Marsh"]
    change = f"/services/{service}/change"
    name = "otis@valley.example"
    for _ in range(2):
        kept = await browser.post(
            f"/services/{service}/hash-only",
            {"csrf": (await browser.get(change)).form(f"/services/{service}/end")["csrf"],
             "hash_login": name, "scheme": "nt"},
        )  # fmt: skip
        assert kept.status in {303, 422}  # the second time there is no password to forget
    [row] = await rows(valley_panel, select(aaa.credential).where(aaa.credential.c.username == name))
    assert (row.hash_scheme, row.password_sealed) == ("nt", None)
    assert "nt hash only" in (await browser.get(change)).text
    action = f"/services/{service}/password"
    refused = await browser.submit(change, action, login=name, new_password="$6$a$bcdef", new_is_hash="yes")
    assert refused.status == 422
    assert "SHA-512" in refused.text
    given = "{NT}8846F7EAEE8FB117AD06BDD830B7586C"
    await browser.submit(change, action, login=name, new_password=given, new_is_hash="yes")
    [row] = await rows(valley_panel, select(aaa.credential).where(aaa.credential.c.username == name))
    assert valley.sealer.open(row.hash_sealed, "credential.hash").reveal() == given[4:].lower()


async def test_a_cpe_is_bound_swapped_and_released(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    service, name = valley.services["Otis Marsh"], "otis@valley.example"
    page = f"/services/{service}/sign-ins"

    async def credential() -> Any:
        return (await rows(valley_panel, select(aaa.credential).where(aaa.credential.c.username == name)))[0]

    none = await browser.submit(page, f"{page}/swap", swap_login=name)
    assert none.status == 422
    assert "bound to no CPE" in none.text
    saved = await browser.submit(page, f"{page}/binding", binding_login=name, binding="learn")
    assert saved.location == f"{page}?notice=saved"
    wrong = await browser.submit(page, f"{page}/bind", bind_login=name, mac="zz")
    assert wrong.status == 422
    await browser.submit(page, f"{page}/bind", bind_login=name, mac="AA:BB:CC:00:11:22")
    opened = await browser.submit(page, f"{page}/swap", swap_login=name, hours="8")
    assert opened.location == f"{page}?notice=swap"
    assert (await credential()).replace_until is not None
    text = (await browser.get(page)).text
    assert "swap open" in text
    assert "AA:BB:CC:00:11:22" in text
    swapping = (await browser.get(f"/explain?user={name}&cpe=02:00:00:00:00:09")).text
    assert "Accepted" in swapping
    assert "another CPE, once" in swapping
    csrf = (await browser.get(page)).form(f"{page}/swap")["csrf"]
    await browser.post(f"{page}/no-swap", {"csrf": csrf, "swap_login": name})
    assert (await credential()).replace_until is None
    bound = await browser.submit(
        page, f"{page}/port", port_login=name, nas_id=valley.nases[0], port="ether3:200"
    )
    assert bound.status == 303
    assert (await credential()).port_pattern == "ether3:200"
    await browser.submit(page, f"{page}/devices", devices="2", when_crowded="oldest")
    [row] = await rows(valley_panel, select(aaa.service).where(aaa.service.c.id == service))
    assert (row.devices, row.when_crowded) == (2, "oldest")
    foreign = await browser.submit(
        page, f"{page}/bind", bind_login="hester@valley.example", mac="02:00:00:00:00:01"
    )
    assert foreign.status == 422
    released = await browser.submit(page, f"{page}/release", release_login=name, release_mac="aabb.cc00.1122")
    assert released.status == 303
    assert "released by" in (await browser.get(page)).text
    export = await browser.get(f"{page}?format=csv")
    assert "aabbcc001122" in export.text
    assert [one.detail["mac"] for one in await actions(valley_panel, "cpe.bind")] == ["aabbcc001122"]


async def test_a_line_and_a_port_sign_in(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    service = valley.services["Otis Marsh"]
    change = f"/services/{service}/change"
    action = f"/services/{service}/credentials"
    for kind, typed in (("circuit", "circuit:olt 1/7,remote:0x0102"), ("port", "nowhere ether3")):
        answer = await browser.submit(change, action, kind=kind, username=typed)
        assert answer.status == (303 if kind == "circuit" else 422), typed
    text = (await browser.get(change)).text
    assert "circuit:olt 1/7,remote:0x0102" in text
    port = await browser.submit(change, action, kind="port", username="quail-ridge-nas ether3:200")
    assert port.status == 303
    for page in (change, f"/services/{service}/sign-ins", f"/subscribers/{valley.accounts['Otis Marsh']}"):
        shown = (await browser.get(page)).text
        assert ">quail-ridge-nas ether3:200<" in shown, "a NAS is called by its name"


def test_a_repeatable_password_depends_on_form_name_and_key(sealer: Sealer) -> None:
    nonce, other = new_nonce(), Sealer({"k1": bytes(32)})
    made = {
        repeatable_password(one, text, name).reveal()
        for one in (sealer, other)
        for text in (nonce, new_nonce())
        for name in ("a", "b")
    }
    assert len(made) == 8
    assert all(re.fullmatch(r"([a-hj-kmnp-z2-9]{4}-){2}[a-hj-kmnp-z2-9]{4}", one) for one in made)
    assert (
        repeatable_password(sealer, nonce, "a").reveal() == repeatable_password(sealer, nonce, "a").reveal()
    )


async def test_more_sign_ins_and_points(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    service = valley.services["Otis Marsh"]
    change = f"/services/{service}/change"
    first, second = await twice(
        browser, change, f"/services/{service}/credentials", kind="mac", username="02-00-5E-00-0A-01"
    )
    assert first.location == f"{change}?notice=created"
    assert second.status == 422
    for _ in range(2):
        added = await browser.post(
            f"/services/{service}/points",
            {
                "csrf": (await browser.get(change)).form(f"/services/{service}/end")["csrf"],
                "device_id": valley.devices[1],
            },
        )
        assert added.location == f"{change}?notice=point"
    points = await rows(
        valley_panel,
        select(provisioning.enforcement_point).where(
            provisioning.enforcement_point.c.service_id == service,
            provisioning.enforcement_point.c.device_id == valley.devices[1],
        ),
    )
    assert len(points) == 1


async def test_a_service_ends_once_and_only_when_meant(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    service, account = valley.services["Otis Marsh"], valley.accounts["Otis Marsh"]
    change, action = f"/services/{service}/change", f"/services/{service}/end"
    careless = await browser.submit(change, action, end_reason="moved away")
    assert careless.status == 422
    assert "not ticked" in careless.text
    nameless = await browser.submit(change, action, end_reason=" ", sure="yes")
    assert nameless.status == 422
    first, second = await twice(browser, change, action, end_reason="moved away", sure="yes")
    assert first.location == second.location == f"/subscribers/{account}?notice=ended"
    assert len(await actions(valley_panel, "service.end")) == 1
    async with valley_panel.workplace.reading() as connection:
        held = await entitlement_of(connection, service)
    assert held is not None
    assert held.effect == "ended"
    text = (await browser.get(change)).text
    assert "does not come back" in text
    assert "<form class=" not in text
    late = await browser.post(
        f"/services/{service}/address", {"csrf": first_csrf(text), "framed_ip": "100.64.9.9"}
    )
    assert late.status == 422
    assert "has ended" in late.text


def first_csrf(text: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', text)
    assert found is not None
    return found[1]


async def test_enforcing_again_asks_each_point_once(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    service, account = valley.services["Ada Whitlock"], valley.accounts["Ada Whitlock"]
    waiting = select(provisioning.task).where(
        provisioning.task.c.service_id == service, provisioning.task.c.status == "waiting"
    )
    assert await rows(valley_panel, waiting) == []
    first, second = await twice(browser, f"/subscribers/{account}", f"/services/{service}/enforce")
    assert first.location == second.location == f"/subscribers/{account}?notice=enforce"
    tasks = await rows(valley_panel, waiting)
    assert len(tasks) == 2  # the device and the live session
    assert {one.cause for one in tasks} == {"asked for by network"}
    assert {one.actor for one in await actions(valley_panel, "provisioning.enforced_again")} == {
        "operator:network"
    }


# -- money


async def stage(panel: Panels, account_id: str) -> Any:
    query = select(billing.dunning_state).where(billing.dunning_state.c.account_id == account_id)
    return (await rows(panel, query))[0]


async def test_a_promise_is_noted_and_forgotten(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    account = valley.accounts["Barnaby Pike"]
    page, action = f"/subscribers/{account}", f"/subscribers/{account}/promise"
    first, second = await twice(browser, page, action, until="2026-03-31")
    assert first.location == second.location == f"{page}?notice=promise"
    assert str((await stage(valley_panel, account)).promise_until) == "2026-03-31"
    assert "Promised to pay by Mar 31, 2026" in (await browser.get(page)).text
    for wrong in ("2026-03-01", "", "soon"):
        refused = await browser.submit(page, action, until=wrong)
        assert refused.status == 422, wrong
        assert 'aria-invalid="true"' in refused.text
    assert str((await stage(valley_panel, account)).promise_until) == "2026-03-31"
    gone = await browser.submit(page, f"{action}/forget")
    assert gone.location == f"{page}?notice=promise_gone"
    assert (await stage(valley_panel, account)).promise_until is None


async def test_immunity_frees_at_once_and_ends_at_once(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    account = valley.accounts["Hester Quill"]
    page, action = f"/subscribers/{account}", f"/subscribers/{account}/immunity"
    assert (await stage(valley_panel, account)).stage == "suspended"
    first, second = await twice(browser, page, action)
    assert first.location == second.location == f"{page}?notice=immune"
    state = await stage(valley_panel, account)
    assert (state.immune, state.stage) == (True, "clear")
    assert "Dunning leaves this account alone." in (await browser.get(page)).text
    assert (await browser.submit(page, action)).location == f"{page}?notice=immune_no_more"
    state = await stage(valley_panel, account)
    assert (state.immune, state.stage) == (False, "suspended")


async def test_a_payment_is_taken_back_once_with_its_reason(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    account = valley.accounts["Ada Whitlock"]
    text = (await browser.get(f"/subscribers/{account}")).text
    path = re.findall(r'href="(/payments/pay_[^"]+)"', text)[0]
    shown = await browser.get(path)
    assert "Ada Whitlock" in shown.text
    assert "INV-" in shown.text
    silent = await browser.submit(path, f"{path}/reverse", reason="  ")
    assert silent.status == 422
    first, second = await twice(browser, path, f"{path}/reverse", reason="the card was charged back")
    assert first.location == f"{path}?notice=reversed"
    assert second.location == f"{path}?notice=reversed_again"
    assert len(await actions(valley_panel, "billing.payment_reversed")) == 1
    after = (await browser.get(path)).text
    assert "the card was charged back" in after
    assert "Nothing any more" in after
    assert "/reverse" not in after
    assert "overdue" in (await browser.get(f"/subscribers/{account}")).text


async def test_credit_shows_as_credit(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    page = f"/subscribers/{valley.accounts['Otis Marsh']}"
    await browser.submit(page, f"{page}/payments", amount="500.00", method="cash")
    text = (await browser.get(page)).text
    found = re.search(r'big-money">([^<]+)</p>\s*<p class="muted">credit', text)
    assert found is not None
    assert found[1].startswith("-$")


async def test_the_next_invoice_is_foreseen_and_nothing_is_written(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("viewer")
    before = await count(valley_panel, billing.invoice), await count(valley_panel, billing.rated_charge)
    text = (await browser.get(f"/subscribers/{valley.accounts['Otis Marsh']}/next-invoice")).text
    assert "Home 100" in text
    assert "Apr 1, 2026 to Apr 30, 2026" in text
    assert "State sales tax" in text
    assert before == (
        await count(valley_panel, billing.invoice),
        await count(valley_panel, billing.rated_charge),
    )
    assert (await browser.get("/subscribers/acc_nobody/next-invoice")).status == 404
