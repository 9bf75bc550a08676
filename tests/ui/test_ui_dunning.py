"""Dunning in the panel: the ladder editor, approvals, the dry run with its reasons, one account's exceptions."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import select
from test_ui_api import program
from ui_client import Panels
from ui_world import Provider

from billing.domain.dunning_policy import Stage
from billing.domain.dunning_terms import terms_from_json
from billing.dunning.define_policy import change_dunning_policy
from billing.dunning.evaluate import evaluate_dunning
from billing.store import dunning_policy_rows, tables
from core.refusal import granted
from ui.policy_form import NEW_POLICY, form_of, read_terms
from ui.web.forms import Form

FILLED = {
    "ladder": "3 reminded email:reminder_1\n7 reminded letter:reminder_2\n12 suspended sms:suspension_notice",
    "currency": "USD", "minimum_balance": "5.00", "weekdays": "suspended mon tue wed thu", "country": "us", "subdivision": "nm",
    "own_days": "2026-12-24 2026-12-31", "skip_weekends": "yes", "skip_eves": "yes", "not_before": "09:00",
    "not_after": "16:00", "restore_by": "percent", "restore_percent": "60", "respite_days": "5",
    "cap_accounts": "50", "cap_percent": "2", "approve_suspended": "yes", "approve_days": "10",
    "fee_flat": "5.00", "fee_percent": "1.5", "fee_minimum": "5.00", "fee_maximum": "25.00",
    "fee_grace_days": "5", "fee_monthly": "yes", "fee_most_times": "6", "reconnect_fee": "35.00",
    "fee_tax_class": "fee", "longest_promise_days": "21", "broken_promises": "3", "write_off_days": "90",
    "on_restored": "email:service_restored", "on_promise_broken": "sms:promise_broken",
}  # fmt: skip


async def test_a_policy_is_made_changed_and_kept_in_versions(valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    new = "/dunning/policies/new"
    made = await browser.submit(new, new, name="Business", **FILLED)
    assert made.status == 303, made.text
    page = made.location.partition("?")[0]
    async with valley_panel.workplace.reading() as connection:
        [version] = await dunning_policy_rows.versions(connection, page.rpartition("/")[2])
    again = Form(form_of(version.policy))
    assert again.ok
    assert read_terms(again) == read_terms(Form(FILLED)), "what stands is shown as it was typed"
    tomorrow = (valley_panel.workplace.clock.now() + timedelta(days=1)).date().isoformat()
    saved = await browser.submit(page, page, **{**FILLED, "ladder": "20 suspended", "valid_from": tomorrow})
    assert saved.location == f"{page}?notice=saved"
    text = (await browser.get(page)).text
    assert "suspended after 20 days" in text
    assert "reminded after 3 days" in text
    refused = await browser.submit(page, page, **{**FILLED, "valid_from": "2020-01-01"})
    assert refused.status == 422
    assert "is past" in refused.text


async def test_what_is_wrong_with_a_policy_is_said_beside_its_field(valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    new = "/dunning/policies/new"
    for fields, words in (
        ({"ladder": "soon suspended"}, "write days and stage"),
        ({"ladder": "9 suspended\n3 reminded"}, "must rise together"),
        ({"ladder": "3 reminded pigeon:x"}, "is not one of email, sms, letter"),
        ({"country": "US", "subdivision": "ZZ"}, "no holidays are known"),
        ({"weekdays": "suspended someday"}, "write a stage and its days"),
        ({"own_days": "Christmas"}, "is not a date"),
        ({"not_before": "noon"}, "is not an hour"),
        ({"currency": "KWD", "fee_flat": "1.2345"}, "has more decimals than KWD has (3)"),
        ({"currency": ""}, ">Minimum balance</a> must be a whole number"),
        ({"currency": "XXQ"}, "XXQ is no currency that is in use"),
    ):
        refused = await browser.submit(new, new, name="Odd", **{**FILLED, **fields})
        assert refused.status == 422, fields
        assert words in refused.text, fields
    viewer = await valley_panel.as_("viewer")
    assert (await viewer.get(new)).status == 403


def test_amounts_have_the_decimals_of_their_currency() -> None:
    for currency, typed, minor in (("KWD", "1.250", 1250), ("JPY", "500", 500), ("", "500", 500)):
        form = Form({**NEW_POLICY, "ladder": "3 reminded", "currency": currency, "minimum_balance": typed})
        terms = read_terms(form)
        assert (terms["minimum_balance_minor"], terms["currency"]) == (minor, currency or None)
        assert form_of(terms_from_json(terms))["minimum_balance"] == typed


async def test_a_class_gets_its_policy(valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    new, where = "/dunning/policies/new", "/dunning/policies"
    await browser.submit(new, new, name="Business", **FILLED)
    done = await browser.submit(where, f"{where}/classes", account_class="business", class_policy="Business")
    assert done.location == f"{where}?notice=saved"
    assert "business" in (await browser.get(f"{where}?format=csv")).text


async def _suspended_soon(valley: Provider, panel: Panels) -> str:
    """Somebody whose suspension waits for a word."""
    account = valley.accounts["Hester Quill"]
    async with panel.workplace.work("operator:test") as work:
        granted(await change_dunning_policy(work, account_id=account, dunning_policy="Business"))
    return account


async def test_an_operator_approves_and_declines(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    new, where = "/dunning/policies/new", "/dunning/approvals"
    terms = {"ladder": "1 ended", "approve_ended": "yes", "restore_by": "rung", "restore_percent": "100"}
    await browser.submit(new, new, name="Business", **terms, respite_days="7", approve_days="14")
    account = await _suspended_soon(valley, valley_panel)
    valley.clock.advance(timedelta(days=1))  # to a Wednesday
    granted(await evaluate_dunning(valley_panel.workplace, trust_clock=True))
    async with valley_panel.workplace.reading() as connection:
        [asked] = (await connection.execute(select(tables.dunning_approval))).all()
    assert (asked.account_id, asked.subject, asked.state) == (account, "ended", "waiting")
    preview = (await browser.get("/dunning")).text
    assert "Whom it defers" in preview
    assert "waits for an operator" in preview
    assert "Hester Quill" in (await browser.get(where)).text
    action = f"{where}/{asked.id}"
    wrong = await browser.submit(where, action, decision="perhaps")
    assert wrong.status == 422
    done = await browser.submit(where, action, decision="approve", note="called twice")
    assert done.location == f"{where}?notice=saved"
    async with valley_panel.workplace.reading() as connection:
        stage = await connection.scalar(
            select(tables.dunning_state.c.stage).where(tables.dunning_state.c.account_id == account)
        )
    assert stage == Stage.ENDED
    text = (await browser.get(where)).text
    assert "called twice" in text
    assert "Nothing waits" in text


async def test_exceptions_of_an_account_are_made_and_ended(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    account = valley.accounts["Hester Quill"]
    page = f"/subscribers/{account}/dunning"
    today = valley.clock.now().date()
    later = (today + timedelta(days=5)).isoformat()
    for action, fields in (
        ("promise", {"until": later, "amount": "10.00", "note": "by phone"}),
        ("dispute", {"reason": "never had it", "amount": "1.00"}),
        ("deferral", {"source": "ticket:4711", "reason": "no signal"}),
        ("immunity", {"immune_until": later, "reason": "flood"}),
        ("policy", {"policy": "standard"}),
    ):
        done = await browser.submit(page, f"{page}/{action}", **fields)
        assert done.location == f"{page}?notice=saved", (action, done.text[-500:])
    text = (await browser.get(page)).text
    for words in ("by phone", "never had it", "ticket:4711", "flood", "of its own"):
        assert words in text
    async with valley_panel.workplace.reading() as connection:
        dispute = await connection.scalar(select(tables.dispute.c.id))
    await browser.submit(page, f"{page}/dispute/{dispute}", outcome="rejected")
    await browser.submit(page, f"{page}/lift", source="ticket:4711")
    text = (await browser.get(page)).text
    assert "Rejected" in text
    assert "lifted" in text
    assert f"{page}/lift" not in text
    for action, fields in (
        ("promise", {"until": date(2020, 1, 1).isoformat()}),
        ("promise", {"until": ""}),
        ("dispute", {"reason": ""}),
        ("write-off", {"number": "INV-999999", "reason": "x"}),
    ):
        assert (await browser.submit(page, f"{page}/{action}", **fields)).status == 422, action
    assert (await browser.get("/subscribers/acc_nobody/dunning")).status == 404


async def test_a_debt_is_given_up_from_the_panel(valley: Provider, valley_panel: Panels) -> None:
    browser = await valley_panel.as_("billing")
    page = f"/subscribers/{valley.accounts['Hester Quill']}/dunning"
    form = (await browser.get(page)).form(f"{page}/write-off")
    done = await browser.submit(page, f"{page}/write-off", number=form["number"], reason="moved away")
    assert done.location == f"{page}?notice=saved"
    text = (await browser.get(page)).text
    assert "moved away" in text
    async with valley_panel.workplace.reading() as connection:
        status = await connection.scalar(
            select(tables.invoice.c.status).where(tables.invoice.c.number == form["number"])
        )
    assert status == "written_off"


async def test_programs_say_and_ask_the_same(valley: Provider, valley_panel: Panels) -> None:
    script = await program(valley, valley_panel, scope="act")
    account, today = valley.accounts["Hester Quill"], valley.clock.now().date()
    later = (today + timedelta(days=5)).isoformat()

    async def tell(path: str, **fields: str) -> Any:
        status, body = await script.ask(f"{path}?{urlencode(fields)}", "POST")
        assert status == 200, (path, body)
        return body

    made = await tell("/dunning/policies", name="Business", ladder="3 reminded email:x; 9 suspended")
    await tell("/dunning/policies/Business/versions", cap_accounts="40", valid_from=later)
    found = await script.found("/dunning/policies/Business")
    assert (found["id"], [one["terms"]["cap"] for one in found["versions"]]) == (
        made["id"], [None, {"accounts": 40, "percent": None}],
    )  # fmt: skip
    assert [one["days_overdue"] for one in found["versions"][1]["terms"]["ladder"]] == [3, 9]
    await tell("/dunning/classes/business", policy="Business")
    page = f"/accounts/{account}"
    await tell(f"{page}/promises", until=later, amount="10.00")
    dispute = await tell(f"{page}/disputes", reason="never had it", amount="1.00")
    await tell(f"/disputes/{dispute['id']}/settle", outcome="rejected")
    assert await tell("/dunning/deferrals", source="outage:1", reason="mast", accounts=account) == {
        "placed": 1
    }
    assert await tell("/dunning/deferrals/lift", source="outage:1") == {"lifted": 1}
    await tell(f"{page}/immunity", immune="yes", until=later, reason="flood")
    await tell(f"{page}/dunning/policy", policy="Business")
    stands = await script.found(f"{page}/dunning")
    assert (stands["immune"], stands["policy_name"], stands["own_policy"]) == (True, "Business", True)
    assert [one["state"] for one in stands["promises"]] == ["open"]
    [(number, owed), *_] = stands["open_invoices"]
    assert await tell(f"/invoices/{number}/write-off", reason="moved") == {"amount_minor": owed}
    assert (await script.found("/dunning/approvals"))["approvals"] == []
    assert set(await script.found("/dunning/preview")) == {"changes", "deferred", "fees", "notices"}
    refused = "/dunning/policies?name=Odd&ladder=soon+suspended"
    status, body = await script.ask(refused, "POST")
    assert (status, body["error"]["field"]) == (422, "ladder")
