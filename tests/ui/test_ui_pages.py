"""Every page over the valley: it opens, shows what happened there, and does what its buttons say."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import aiohttp
import pytest
from sqlalchemy import func, select
from test_ui_security import declared_routes
from ui_client import Browser, Page, Panels, open_panel
from ui_world import HOUSEHOLDS, Provider, make_operators

from aaa.entitlements import entitlement_of
from aaa.gear_logins import GearSignIn, record_gear_sign_ins
from aaa.store.tables import gear_login
from aaa.store.tables import nas as nas_table
from aaa.store.tables import service as service_table
from billing.set_up import open_account
from billing.store.tables import account, bill_run, payment
from core.clock import FakeClock
from core.refusal import granted
from core.secrets import Sealer
from core.store.tables import audit
from core.work import Workplace
from ui.read.rows import PAGE
from ui.read.subscribers import FILTERS


def rows_of(page: Page) -> list[dict[str, str]]:
    """A downloaded table."""
    assert page.status == 200
    assert page.headers["Content-Disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(page.text)))


async def make_plan(browser: Browser) -> None:
    """Plan p at 49, of the one profile that there is."""
    [profile_id] = re.findall(r'<option value="(prf_\w+)"', (await browser.get("/plans/new")).text)
    plan = {"code": "p", "name": "P", "price": "49", "service_profile_id": profile_id}
    made = await browser.submit("/plans/new", "/plans/new", **plan)
    assert made.status == 303, made.text


async def test_every_page_opens_over_the_valley(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("owner")
    opened = 0
    for method, path, _ in declared_routes(valley_panel):
        if (
            method == "GET"
            and "{" not in path
            and path not in {"/sign-in", "/healthz", "/favicon.ico", "/metrics"}
        ):
            page = await browser.get(path)
            assert page.status == 200, (path, page.text[:2000])
            opened += 1
            if f'href="{path}?format=csv"' in page.text:
                assert rows_of(await browser.get(f"{path}?format=csv")) is not None
    assert opened > 20
    for site_id in valley.sites:
        assert (await browser.get(f"/towers/{site_id}")).status == 200
    for account_id in valley.accounts.values():
        assert (await browser.get(f"/subscribers/{account_id}")).status == 200


async def test_dashboard_tells_the_day(valley: Provider, valley_panel: Panels) -> None:
    text = (await (await valley_panel.as_("viewer")).get("/")).text
    assert "-rb: " in text  # the open issue of a device, with
    assert "Remedy:" in text
    assert "The PAP password is not the one on record." in text
    assert "Known outage" in text
    assert "Restored" in text
    moves = rows_of(await (await valley_panel.as_("viewer")).get("/movements?format=csv"))
    ada = next(row for row in moves if row["account_name"] == "Ada Whitlock" and row["restored"] == "yes")
    assert ada["points"] == ada["points_verified"] == "2"
    assert ada["from_payment"].startswith("0:00:0")  # from the payment to the last verification
    assert {row["account_name"] for row in moves if row["restored"] == "no"} >= {
        "Ada Whitlock",
        "Hester Quill",
    }


async def test_subscriber_page_shows_the_whole_story(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    text = (await browser.get(f"/subscribers/{valley.accounts['Ada Whitlock']}")).text
    for expected in ("Home 100", "ada@valley.example", "Enforcement history", "Transcript", "Walled garden",
                     "Throttled", "100.64.0.18", "quail-ridge-rb", "live session", "Dunning history"):  # fmt: skip
        assert expected in text, expected
    link = re.findall(r'href="(/transcripts/[^"]+)"', text)
    consoles = [(await browser.get(one)).text for one in link]
    assert any("address-list" in one and "hilltop:" in one for one in consoles)
    assert all("tower words" not in one for one in consoles)  # the device's password
    late = (await browser.get(f"/subscribers/{valley.accounts['Hester Quill']}")).text
    assert "overdue" in late
    assert "The PAP password is not the one on record." in late


async def test_next_dunning_stage_is_what_the_ladder_will_do(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    account_id = valley.accounts["Barnaby Pike"]  # due 25 February, restricted on 9 March, a Monday
    text = (await browser.get(f"/subscribers/{account_id}")).text
    found = re.search(r"Next: <strong>suspended</strong> on (\w+ \d+, \d+)", text)
    assert found is not None
    from datetime import datetime

    day = datetime.strptime(found[1], "%b %d, %Y").date()  # noqa: DTZ007
    before, on = [
        (await browser.get(f"/dunning?on={one}&format=csv")).text
        for one in (day.replace(day=day.day - 1).isoformat(), day.isoformat())
    ]
    assert "Barnaby Pike" not in before
    assert "Barnaby Pike" in on


async def test_dunning_preview_shows_the_exact_commands(valley: Provider, valley_panel: Panels) -> None:
    text = (await (await valley_panel.as_("viewer")).get("/dunning?on=2026-03-20")).text
    assert "Barnaby Pike" in text
    commands = re.findall(r'class="sent">([^<]+)<', text)
    assert any("hilltop-suspended" in one and "100.64.0.14" in one for one in commands), commands


async def test_usage_for_the_chart_is_what_was_counted(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("viewer")
    service_id = valley.services["Otis Marsh"]
    drawn = json.loads((await browser.get(f"/services/{service_id}/usage.json")).body)
    assert len(drawn["days"]) == len(drawn["down"]) == len(drawn["up"]) == 31
    assert drawn["days"][-1] == "2026-03-10"
    assert sum(one > 10**9 for one in drawn["down"]) > 25
    assert sum(drawn["down"]) > 5 * sum(drawn["up"])
    listed = rows_of(await browser.get(f"/services/{service_id}/usage.csv"))
    assert [int(row["octets_down"]) for row in listed] == drawn["down"]
    assert (await browser.get("/services/svc_x/usage.json")).status == 404


@pytest.mark.parametrize("table", ["sessions", "holds", "enforcement", "rejects", "usage"])
async def test_tables_of_a_service_are_files_too(valley: Provider, valley_panel: Panels, table: str) -> None:
    browser = await valley_panel.as_("viewer")
    service_id = valley.services["Hester Quill"]
    assert rows_of(await browser.get(f"/services/{service_id}/{table}.csv"))
    assert (await browser.get(f"/services/{service_id}/secrets.csv")).status == 404


# -- searching


async def search(browser: Browser, **query: str) -> list[str]:
    """Names that the list shows."""
    text = (await browser.ask("GET", "/subscribers", params=query, headers={"HX-Request": "true"})).text
    assert "<html" not in text  # a fragment for htmx
    return re.findall(r'href="/subscribers/acc_[^"]+">([^<]+)<', text)


async def test_search_by_what_people_know(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("viewer")
    assert await search(browser, q="thornb") == ["Willa Thornbury"]
    assert await search(browser, q="otis@valley") == ["Otis Marsh"]
    assert await search(browser, q="100.64.1.13") == ["Hester Quill"]
    assert await search(browser, q="555 0108") == ["Ada Whitlock"]
    assert len(await search(browser, q="juniper")) == 4
    assert await search(browser, q="100%") == []
    assert await search(browser, q="' OR 1=1 --") == []
    assert len(await search(browser)) == len(HOUSEHOLDS)


async def test_filters_agree_with_the_records(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("viewer")
    assert await search(browser, status="walled_garden") == ["Hester Quill"]
    assert await search(browser, status="throttle") == ["Otis Marsh", "Barnaby Pike"]
    assert await search(browser, status="overdue") == ["Hester Quill", "Barnaby Pike"]
    assert sorted(await search(browser, status="online") + await search(browser, status="offline")) == sorted(
        name for name, *_ in HOUSEHOLDS
    )
    for status in FILTERS:
        listed = rows_of(await browser.get(f"/subscribers?status={status}&format=csv"))
        assert [row["name"] for row in listed] == await search(browser, status=status)


async def test_long_lists_are_paged_without_gap_or_repeat(panel: Panels) -> None:
    async with panel.workplace.work("system:test") as work:
        for number in range(2 * PAGE + 7):
            granted(await open_account(work, name=f"Household {number}"))
    browser = await panel.as_("viewer")
    seen: list[str] = []
    path: str | None = "/subscribers"
    while path:
        text = (await browser.get(path)).text
        seen += re.findall(r'href="/subscribers/acc_[^"]+">([^<]+)<', text)
        following = re.search(r'href="([^"]+)" rel="next"', text)
        path = following[1].replace("&amp;", "&") if following else None
    assert sorted(seen) == sorted(f"Household {number}" for number in range(2 * PAGE + 7))
    assert len(rows_of(await browser.get("/subscribers?format=csv"))) == 2 * PAGE + 7


# -- doing things


async def count(panel: Panels, table: Any) -> int:
    async with panel.workplace.reading() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_a_payment_submitted_twice_is_one_payment(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    page_path = f"/subscribers/{valley.accounts['Hester Quill']}"
    action = f"{page_path}/payments"
    before = await count(valley_panel, payment)
    fields = (await browser.get(page_path)).form(action) | {"amount": "20.00", "method": "cash"}
    assert (await browser.post(action, fields)).location == f"{page_path}?notice=payment"
    assert (await browser.post(action, fields)).location == f"{page_path}?notice=payment_again"
    assert await count(valley_panel, payment) == before + 1
    altered = await browser.post(action, fields | {"amount": "21.00"})
    assert altered.status == 422
    assert await count(valley_panel, payment) == before + 1
    fresh = (await browser.get(page_path)).form(action)
    assert fresh["idempotency_key"] != fields["idempotency_key"]


@pytest.mark.parametrize("amount", ["", "0", "-5", "1.234", "ten", "NaN", "1e99", "١٢"])
async def test_amounts_that_are_none_are_refused_beside_the_field(
    valley: Provider, valley_panel: Panels, amount: str
) -> None:
    browser = await valley_panel.as_("billing")
    page_path = f"/subscribers/{valley.accounts['Hester Quill']}"
    before = await count(valley_panel, payment)
    refused = await browser.submit(page_path, f"{page_path}/payments", amount=amount, method="cash")
    if refused.status == 303:
        assert amount == "١٢"  # digits of another script are digits
        return
    assert refused.status == 422
    assert 'aria-invalid="true"' in refused.text
    assert await count(valley_panel, payment) == before


async def test_operator_holds_and_lifts_his_own_hold_alone(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    service_id, account_id = valley.services["Hester Quill"], valley.accounts["Hester Quill"]
    page = f"/subscribers/{account_id}"
    placed = await browser.submit(
        page, f"/services/{service_id}/hold", effect="block", reason="radio sends noise"
    )
    assert placed.location == f"{page}?notice=hold"
    async with valley_panel.workplace.reading() as connection:
        held = await entitlement_of(connection, service_id)
    assert held is not None
    assert held.effect == "block"
    assert (await browser.submit(page, f"/services/{service_id}/lift")).location == f"{page}?notice=lifted"
    async with valley_panel.workplace.reading() as connection:
        held = await entitlement_of(connection, service_id)
    assert held is not None
    assert held.effect == "walled_garden"  # dunning's hold stands
    nameless = await browser.submit(page, f"/services/{service_id}/lift".replace("lift", "hold"), reason=" ")
    assert nameless.status == 422


async def test_setting_up_a_whole_branch_by_forms(panel: Panels) -> None:
    browser = await panel.as_("owner")
    tower = await browser.submit("/towers/new", "/towers/new", name="Quail Ridge", latitude="38.9")
    assert tower.location.startswith("/towers/site_")
    site_id = tower.location.split("/")[2].split("?")[0]
    device = await browser.submit(
        f"/devices/new?tower={site_id}", "/devices/new", name="quail-rb", driver="routeros",
        address="192.0.2.7", username="hilltop", password="tower words", options='{"list": "late"}',
    )  # fmt: skip
    assert device.location == f"/towers/{site_id}?notice=created"
    nas = await browser.submit(
        f"/nases/new?tower={site_id}", "/nases/new", name="quail-nas", network="10.1.0.1",
        secret="a long radius secret", octets_reversed="yes",
    )  # fmt: skip
    assert nas.location == "/nases?notice=created"
    profile = await browser.submit(
        "/profiles/new", "/profiles/new", name="Home 25", down_mbit="25", up_mbit="2.5"
    )
    assert profile.location == "/profiles?notice=created"
    [profile_id] = re.findall(r'<option value="(prf_\w+)"', (await browser.get("/plans/new")).text)
    plan = await browser.submit(
        "/plans/new", "/plans/new", code="home-25", name="Home 25", price="49.00", allowance_gb="250",
        tier1_price="0.25", tier1_gb="50", tier2_price="0.10", service_profile_id=profile_id,
    )  # fmt: skip
    assert re.fullmatch(r"/plans/pv_\w+\?notice=created", plan.location)
    chosen = re.search(r'<option value="(dev_[^"]+)"', (await browser.get("/subscribers/new")).text)
    assert chosen is not None
    made = await browser.submit(
        "/subscribers/new", "/subscribers/new", name="Willa Thornbury", username="willa@valley.example",
        device_id=chosen[1], region="CO",
    )  # fmt: skip
    assert made.status == 200  # the generated password is shown, once
    password = re.search(r'class="secret">([^<]+)<', made.text)
    assert password is not None
    account_path = re.findall(r'href="(/subscribers/acc_[^"]+)"', made.text)[0]
    text = (await browser.get(account_path)).text
    for expected in ("Willa Thornbury", "Home 25", "quail-rb, live session", "willa@valley.example",
                     "250.00 GB included", "2.5 Mbit/s up"):  # fmt: skip
        assert expected in text, expected
    assert password[1] not in text
    rows = rows_of(await browser.get("/plans?format=csv"))
    assert (rows[0]["price"], rows[0]["currency"], rows[0]["allowance_octets"]) == (
        "49.00",
        "USD",
        "250000000000",
    )
    async with panel.workplace.reading() as connection:
        row = (await connection.execute(select(nas_table))).one()
    assert row.octets_reversed is True
    assert "a long radius secret" not in row.secret_sealed


async def test_pages_and_searches_on_each_database(
    any_workplace: Workplace, sealer: Sealer, wrist_watch: FakeClock
) -> None:
    await make_operators(any_workplace)
    async with open_panel(any_workplace, sealer, wrist_watch) as browser:
        await browser.sign_in("owner")
        await browser.submit("/towers/new", "/towers/new", name="Quail Ridge")
        await browser.submit("/profiles/new", "/profiles/new", name="P", down_mbit="25", up_mbit="5")
        await make_plan(browser)
        made = await browser.submit(
            "/subscribers/new", "/subscribers/new", name="Willa Thornbury", username="02:00:5E:00:00:01",
            kind="mac", framed_ip="100.64.0.9",
        )  # fmt: skip
        ran = await browser.submit("/bill-runs", "/bill-runs")
        assert ran.location == "/bill-runs?notice=bill_run"
        account_path = made.location.split("?")[0]
        assert "INV-" in (await browser.get(account_path)).text
        for method, path, _ in declared_routes(Panels(any_workplace, browser)):
            if method == "GET" and "{" not in path and path not in {"/sign-in", "/metrics"}:
                assert (await browser.get(path)).status == 200, path
        await browser.submit(account_path, f"{account_path}/payments", amount="5", method="cash")
        target = await browser.submit(
            "/snmp/new", "/snmp/new", name="quail-ap", address="192.0.2.20", community="valley words"
        )
        snmp_path = target.location.split("?")[0]
        bound = await browser.submit(snmp_path, f"{snmp_path}/bind", if_name="ath0", service="100.64.0.9")
        assert bound.location == f"{snmp_path}?notice=bound"
        text = (await browser.get(account_path)).text
        for found in re.findall(r'href="(/(?:services|payments|invoices|subscribers)/[a-z]+_[^"?]+)"', text):
            assert (await browser.get(found)).status == 200, found
        [paid] = re.findall(r'href="(/payments/[^"]+)"', text)
        assert (
            await browser.submit(paid, f"{paid}/reverse", reason="x")
        ).location == f"{paid}?notice=reversed"
        for text in ("willa", "A-0", "02-00-5e-00-00-01", "100.64.0.9"):
            assert await search(browser, q=text) == ["Willa Thornbury"], text
        for status in FILTERS:
            shown = status in {"", "none", "offline"}
            assert await search(browser, status=status) == (["Willa Thornbury"] if shown else []), status


async def test_a_refused_new_subscriber_leaves_nothing_behind(panel: Panels) -> None:
    browser = await panel.as_("owner")
    await browser.submit("/profiles/new", "/profiles/new", name="P", down_mbit="25", up_mbit="5")
    await make_plan(browser)
    fields = {"name": "Willa", "username": "willa", "password": "cpe words", "framed_ip": "not an address"}
    refused = await browser.submit("/subscribers/new", "/subscribers/new", **fields)
    assert refused.status == 422
    assert "framed_ip" in refused.text
    assert "cpe words" not in refused.text  # a password is never written back
    assert 'value="Willa"' in refused.text  # what was typed is kept
    assert await count(panel, account) == await count(panel, service_table) == 0
    made = await browser.submit("/subscribers/new", "/subscribers/new", **fields | {"framed_ip": ""})
    assert made.status == 303
    twin = await browser.submit("/subscribers/new", "/subscribers/new", **fields | {"framed_ip": ""})
    assert twin.status == 422
    assert await count(panel, account) == 1


async def test_forms_say_what_is_missing(panel: Panels) -> None:
    browser = await panel.as_("owner")
    for path in (
        "/towers/new",
        "/devices/new",
        "/nases/new",
        "/profiles/new",
        "/plans/new",
        "/subscribers/new",
    ):
        fields = {name: "" for name in (await browser.get(path)).form(path) if name != "csrf"}
        page = await browser.submit(path, path, **fields)
        assert page.status == 422, path
        assert "This could not be saved." in page.text


async def test_import_is_whole_or_nothing(panel: Panels) -> None:
    browser = await panel.as_("network")

    async def send(text: bytes) -> Page:
        token = (await browser.get("/subscribers/import")).form("/subscribers/import")["csrf"]
        files = aiohttp.FormData()
        files.add_field("csrf", token)
        files.add_field("file", text, filename="valley.csv", content_type="text/csv")
        return await browser.post("/subscribers/import", {}, files=files)

    async def imported() -> int:
        query = select(func.count()).where(audit.c.action == "test.imported")
        async with panel.workplace.reading() as connection:
            return int((await connection.execute(query)).scalar_one())

    faulty = await send(b"name,plan\r\nann,home\r\nbob,home,<script>x</script>\r\n")
    assert faulty.status == 422
    assert "Nothing was imported: 1 fault." in faulty.text
    assert '<td class="num">3</td>' in faulty.text
    assert "<script>x" not in faulty.text
    assert await imported() == 0
    whole = await send("\ufeffname,plan\nann,home\n".encode())
    assert whole.status == 200
    assert "1 service was imported" in whole.text
    assert await imported() == 1
    assert (await send(b"\xff\xfe\x00bad")).status == 422
    assert (await send(b"x" * (9 * 2**20))).status == 413


async def test_known_outage_switch(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("network")
    path = f"/towers/{valley.sites[0]}"
    assert (await browser.submit(path, f"{path}/outage")).location == f"{path}?notice=outage_on"
    assert "Known outage: suspensions behind this tower wait" in (await browser.get(path)).text
    assert (await browser.submit(path, f"{path}/outage")).location == f"{path}?notice=outage_off"


async def test_bill_run_by_button(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    before = await count(valley_panel, bill_run)
    ran = await browser.submit("/bill-runs", "/bill-runs")
    assert ran.location == "/bill-runs?notice=bill_run"
    assert await count(valley_panel, bill_run) >= before  # nothing is due: cycles turn on the first


async def test_invoice_page_document_pdf_and_the_walk_to_the_readings(
    valley: Provider, valley_panel: Panels
) -> None:
    browser = await valley_panel.as_("viewer")
    text = (await browser.get(f"/subscribers/{valley.accounts['Hester Quill']}")).text
    path = re.findall(r'href="(/invoices/[^"?]+)"', text)[0]
    page = (await browser.get(path)).text
    assert "Home 25" in page
    document = await browser.get(f"{path}/document")
    assert document.status == 200
    assert "Hester Quill" in document.text
    assert not re.search(r"\sstyle=|<script", document.text)
    policy = document.headers["Content-Security-Policy"]  # its own style by digest, and no other
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    pdf = await browser.get(f"{path}/pdf")
    assert pdf.headers["Content-Type"] == "application/pdf"
    assert pdf.body.startswith(b"%PDF-")
    lines = re.findall(rf'href="({path}/lines/\d+)"', page)
    walks = [(await browser.get(one)).text for one in lines]
    assert len(walks) >= 2
    assert any("Usage record" in one and "closing" in one for one in walks)  # down to raw counters
    assert any("State sales tax" in one for one in walks)
    assert (await browser.get(f"{path}/lines/99")).status == 404
    assert len(rows_of(await browser.get(f"{path}?format=csv"))) == len(lines)


async def test_operators_are_made_and_reset_with_passwords_shown_once(panel: Panels) -> None:
    owner = await panel.as_("owner")
    made = await owner.submit("/operators", "/operators", name="Nell", role="network")
    first = re.search(r'class="secret">([^<]+)<', made.text)
    assert first is not None
    assert first[1] not in (await owner.get("/operators")).text
    nell = panel.base.another()
    assert (await nell.sign_in("nell", first[1])).location == "/password"
    again = await owner.submit("/operators", "/operators", name="nell", role="owner")
    assert again.status == 422
    listed = rows_of(await owner.get("/operators?format=csv"))
    reset_path = f"/operators/{next(row['id'] for row in listed if row['name'] == 'nell')}/reset"
    reset = await owner.submit("/operators", reset_path)
    second = re.search(r'class="secret">([^<]+)<', reset.text)
    assert second is not None
    assert (await nell.get("/password")).location.startswith("/sign-in")  # his sign-in has ended
    assert (await panel.base.another().sign_in("nell", first[1])).status == 401
    assert (await panel.base.another().sign_in("nell", second[1])).location == "/password"


async def test_the_audit_trail_names_operators_and_no_secret(valley: Provider, valley_panel: Panels) -> None:
    owner = await valley_panel.as_("owner")
    await owner.another().sign_in("a password typed into the wrong field", "x")
    rows = rows_of(await owner.get("/audit?format=csv"))
    assert {"operator:owner", "operator:network", "operator:billing"} <= {row["actor"] for row in rows}
    everything = json.dumps(rows)
    for secret in ("cpe words", "tower words", "a long radius secret", "wrong field"):
        assert secret not in everything
    subject = valley.services["Otis Marsh"]
    mine = rows_of(await owner.get(f"/audit?subject={subject}&format=csv"))
    assert mine
    assert {row["subject"] for row in mine} == {subject}


async def test_an_owner_gives_a_login_to_network_gear_and_takes_it(panel: Panels, sealer: Sealer) -> None:
    async def logins() -> list[Any]:
        async with panel.workplace.reading() as connection:
            return list((await connection.execute(select(gear_login))).all())

    browser = await panel.as_("owner")
    listed = rows_of(await browser.get("/operators?format=csv"))
    ids = {row["role"]: row["id"] for row in listed}
    give = f"/operators/{ids['viewer']}/gear"
    too_much = await browser.submit("/operators", give, level="full")
    assert too_much.status == 422
    assert "may have of network gear: read" in too_much.text
    made = await browser.submit("/operators", give, level="read")
    [row] = await logins()
    password = sealer.open(row.password_sealed, "gear.password").reveal()
    assert password in made.text
    assert password not in (await browser.get("/operators")).text
    await browser.submit("/operators", f"/operators/{ids['viewer']}/enabled", enabled="no")
    [row] = await logins()
    assert not row.enabled
    kept_out = await browser.submit("/operators", f"/operators/{ids['network']}/gear", level="full")
    assert kept_out.status == 200
    taken = await browser.submit("/operators", f"/operators/{ids['network']}/gear-away")
    assert taken.location == "/operators?notice=saved"
    assert [one.operator_id for one in await logins()] == [ids["viewer"]]
    async with panel.workplace.work("system:radius") as work:
        sign = GearSignIn(
            "k1", work.now, "<i>ana", None, "nas_1", "10.0.0.1", "192.0.2.7", 1, False, None, "no <b>"
        )
        await record_gear_sign_ins(work, [sign])
    log = (await browser.get("/operators/gear")).text
    assert "&lt;i&gt;ana" in log
    assert "192.0.2.7" in log
