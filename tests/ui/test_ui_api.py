"""The API: tokens, what they may do, errors that name field and remedy, and answers that agree with the records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from sqlalchemy import select
from test_ui_sessions import OneNas, linus_online, one_nas, session_called, two_more  # noqa: F401 - a fixture
from ui_client import Panels, open_panel
from ui_world import Provider

from aaa.set_up import bind_cpe
from core.clock import FakeClock
from core.refusal import Refusal, granted
from core.secrets import Sealer
from core.store.tables import audit
from ui.api.routes import OPERATIONS
from ui.api_tokens import make_token, revoke_token
from ui.config import UiSettings
from ui.store import token_rows
from ui.store.tables import api_token


@dataclass
class Program:
    """Somebody's script with a token."""

    panels: Panels
    token: str

    async def ask(
        self, path: str, method: str = "GET", token: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and body of an answer, which is always JSON."""
        told = {"Authorization": f"Bearer {self.token if token is None else token}"} | headers
        page = await self.panels.base.ask(method, f"/api/v1{path}", headers=told)
        assert page.headers["Content-Type"].startswith("application/json"), page.text
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        return page.status, json.loads(page.text)

    async def found(self, path: str) -> Any:
        status, body = await self.ask(path)
        assert status == 200, body
        return body


async def program(valley: Provider, panels: Panels, scope: str = "read", name: str = "script") -> Program:
    async with valley.workplace.work("operator:owner") as work:
        return Program(panels, granted(await make_token(work, name, scope)).reveal())


async def test_who_may_ask_and_what(valley: Provider, valley_panel: Panels) -> None:
    script = await program(valley, valley_panel)
    for token in ("", "x", "hilltop_" + "a" * 43, script.token[:-1], script.token + "é"[:0] + "x"):
        status, body = await script.ask("/nases", token=token)
        assert (status, body["error"]["code"]) == (401, "token.missing")
        assert "hilltop token make" in body["error"]["message"]
    assert len((await script.found("/nases"))["nases"]) == 3
    assert (await script.found("/pools"))["pools"] == []
    assert (await script.ask("/pools/homes/leases"))[0] == 422
    assert (await script.ask("/sessions/ses_x/disconnect", "POST"))[0] == 403
    assert (await script.ask("/sessions/ses_x/disconnect"))[0] == 405
    assert (await script.ask("/nothing"))[0] == 404
    async with valley.workplace.work("operator:owner") as work:
        assert await revoke_token(work, "script") is None
    assert (await script.ask("/nases"))[0] == 401
    owner = await valley_panel.as_("owner")
    assert (await owner.get("/api/v1/nases")).status == 401, "a sign-in at the panel is no token"


async def test_a_token_is_kept_as_a_digest_and_its_use_is_noted(
    valley: Provider, valley_panel: Panels
) -> None:
    script = await program(valley, valley_panel)
    async with valley.workplace.reading() as connection:
        before = (await token_rows.tokens(connection))[0]
        kept = str((await connection.execute(select(api_token))).all())
    assert before.last_used_at is None
    assert script.token.removeprefix("hilltop_") not in kept
    await script.found("/nases")
    first = valley.clock.now()
    valley.clock.advance(timedelta(seconds=30))
    await script.found("/nases")
    async with valley.workplace.reading() as connection:
        assert (await token_rows.tokens(connection))[0].last_used_at == first, "noted once a minute at most"
        trail = (await connection.execute(select(audit).where(audit.c.action == "token.make"))).all()
    assert [row.detail for row in trail] == [{"name": "script", "scope": "read"}]
    async with valley.workplace.work("operator:owner") as work:
        for name, scope, field in (
            ("script", "read", "name"),
            ("a b", "read", "name"),
            ("other", "all", "scope"),
        ):
            refusal = await make_token(work, name, scope)
            assert isinstance(refusal, Refusal)
            assert refusal.field == field


async def test_sessions_by_filters_and_pages(valley: Provider, valley_panel: Panels) -> None:
    await two_more(valley)
    script = await program(valley, valley_panel)
    lost = await session_called(valley, "9000aa01")
    first = await script.found("/sessions?limit=7")
    rest = await script.found(f"/sessions?limit=7&after={first['next_after']}")
    assert len({one["id"] for one in [*first["sessions"], *rest["sessions"]]}) == 12
    assert rest["next_after"] is None
    for query in (
        "why=Lost-Carrier", "address=2001:db8:7:1aa::5", "mac=0200.5e00.100a", "who=Fairweather&state=closed",
        "user=linus@valley.example&state=closed", "nas=mesa-view-nas&state=closed", "tower=Mesa+View&state=closed",
        "state=closed&from=2026-03-10T01:00:00-06:00&until=2026-03-10T08:00Z",
    ):  # fmt: skip
        found = (await script.found(f"/sessions?{query}"))["sessions"]
        assert [one["id"] for one in found] == [lost], query
    assert found[0]["octets_down"] == 80
    assert found[0]["why"] == "the link to the CPE was lost"
    assert found[0]["lasted"] if "lasted" in found[0] else found[0]["stopped_at"].endswith("+00:00")
    detail = await script.found(f"/sessions/{lost}")
    assert [one["evidence"]["kind"] for one in detail["reports"]] == ["stop", "interim", "start"]
    assert {one["network"] for one in detail["addresses"]} == {"100.64.2.99", "2001:db8:7:100::/56"}


async def test_what_is_wrong_is_said_by_field_with_its_remedy(valley: Provider, valley_panel: Panels) -> None:
    script = await program(valley, valley_panel, "act")
    for path, status, field, said in (
        ("/sessions?mac=zz", 422, "mac", "write it like"), ("/sessions?state=gone", 422, "state", "online, closed"),
        ("/sessions?limit=0", 422, "limit", "from 1 to 1000"), ("/sessions?limit=1e3", 422, "limit", "whole number"),
        ("/sessions?form=2026", 422, "form", "there are address, after, from"), ("/sessions?after=x", 422, "after", "leave it out"),
        ("/sessions?from=2026-03-10+01:00", 422, "from", "says no time zone"), ("/sessions?nas=none", 422, "nas", "there is no nas"),
        ("/sessions/ses_none", 404, "session_id", "list them first"), ("/services/nobody", 404, "user", "no service signs in"),
        ("/explain", 422, "user", "is missing"), ("/explain?user=linus@valley.example&nas=none", 422, "nas", "there is no nas"),
        ("/address-at-time?address=100.64.2.99&at=2026-03-10T07:33Z", 422, "reason", "is missing"),
        ("/address-at-time?address=x&at=2026-03-10T07:33Z&reason=y", 422, "address", "is no address"),
        (f"/sessions?user={'u' * 301}", 422, "user", "longer than 300"),
    ):  # fmt: skip
        code, body = await script.ask(path)
        assert (code, body["error"]["field"]) == (status, field), (path, body)
        assert said in body["error"]["message"], (path, body)


async def test_an_unknown_account_is_refused_in_one_way(valley: Provider, valley_panel: Panels) -> None:
    script = await program(valley, valley_panel, "act")
    for path, method in (
        ("/accounts/A-nobody", "GET"), ("/accounts/A-nobody/usage", "GET"),
        ("/accounts/A-nobody/contracts", "GET"), ("/promotion-uses?account=A-nobody", "GET"),
        ("/bill-runs/parked/retry?account=A-nobody", "POST"),
    ):  # fmt: skip
        status, told = await script.ask(path, method)
        error = told["error"]
        assert (status, error["code"], error["field"]) == (404, "account.unknown_id", "account"), path


async def test_why_who_and_what_agree_with_the_panel(valley: Provider, valley_panel: Panels) -> None:
    await two_more(valley)
    script = await program(valley, valley_panel)
    why = await script.found("/explain?user=otis@valley.example&nas=quail-ridge-nas")
    assert (why["verdict"], why["effect"], why["profile"]) == ("accept", "throttle", "Home 100")
    assert any("Mikrotik-Rate-Limit" in one for one in why["attributes"])
    assert (await script.found("/explain?user=nobody"))["verdict"] == "reject"
    otis = await script.found(f"/services/{quote('otis@valley.example')}")
    assert otis["service"]["effect"] == "throttle"
    assert otis["holds"][0]["reason"] == "asked to slow the line while his camera uploads"
    assert otis["sessions"][0]["username"] == "otis@valley.example"
    assert (await script.found("/rejects"))["rejects"]
    holder = await script.found(
        "/address-at-time?address=100.64.2.99&at=2026-03-10T01:33:00-06:00&reason=letter+77&tolerance_s=30"
    )
    assert (holder["verdict"], holder["holders"][0]["subscriber"]["name"]) == ("held", "Linus Fairweather")
    async with valley.workplace.reading() as connection:
        row = (await connection.execute(select(audit).where(audit.c.action == "address.looked_up"))).one()
    assert (row.actor, row.detail["reason"]) == ("token:script", "letter 77")
    browser = await valley_panel.as_("viewer")
    page = (await browser.get("/explain?user=otis@valley.example")).text
    for words in ("Accepted", "asked to slow the line", "Mikrotik-Rate-Limit", "Otis Marsh"[:0] + "Home"):
        assert words in page, words
    unknown = await browser.get("/explain?user=nobody&nas=none")
    assert (unknown.status, "hilltop nas list" in unknown.text) == (422, True)


async def test_a_program_ends_and_changes_a_session(
    valley: Provider,
    valley_panel: Panels,
    one_nas: OneNas,  # noqa: F811 - the fixture
) -> None:
    script = await program(valley, valley_panel, "act")
    session_id = await linus_online(valley)
    status, body = await script.ask(f"/sessions/{session_id}/reapply", "POST")
    assert (status, body["outcome"]) == (200, "moved"), body
    status, body = await script.ask(f"/sessions/{session_id}/disconnect", "POST")
    assert (status, body["outcome"]) == (200, "disconnected"), body
    assert one_nas.codes == [43, 40]
    orders = (await script.found(f"/sessions/{session_id}"))["orders"]
    assert [(one["order"]["actor"], one["proof"]["state"]) for one in orders] == [
        ("token:script", "waiting")
    ] * 2
    one_nas.cause = 503
    assert (await script.ask(f"/sessions/{session_id}/disconnect", "POST"))[1]["outcome"] == "nothing_live"
    status, body = await script.ask(f"/sessions/{session_id}/disconnect", "POST")
    assert (status, body["error"]["code"]) == (422, "session.not_live")


async def test_a_program_tells_many_live_sessions(
    valley: Provider,
    valley_panel: Panels,
    one_nas: OneNas,  # noqa: F811 - the fixture
) -> None:
    script = await program(valley, valley_panel, "act")
    session_id = await linus_online(valley)
    assert (await script.ask("/sessions/reapply", "POST"))[1]["error"]["code"] == "scope.missing"
    assert (await script.ask("/sessions/reapply?nas=none", "POST"))[1]["error"]["field"] == "nas"
    status, body = await script.ask(f"/sessions/reapply?nas={valley.nases[2]}", "POST")
    assert (status, body["next_after"], body["left"]) == (200, None, 0), body
    assert {one["outcome"] for one in body["sessions"] if one["session_id"] == session_id} == {"moved"}
    assert set(one_nas.codes) == {43}
    browser = await valley_panel.as_("network")
    path = f"/templates/apply?nas={valley.nases[2]}"
    assert "online." in (await browser.get(path)).text
    one_nas.cause = 501
    told = await browser.submit(path, "/templates/apply", profile_id="", nas_id=valley.nases[2], dialect="")
    assert told.status == 200
    assert "administratively prohibited" in told.text
    assert set(one_nas.codes) == {43}, "nobody is disconnected"
    assert "Nobody whom it concerns" in (await browser.get("/templates/apply?dialect=cisco")).text
    assert (await browser.get("/templates/apply?nas=nas_none")).status == 422
    assert (await (await valley_panel.as_("billing")).get(path)).status == 403


async def test_a_program_opens_and_closes_a_cpe_swap(valley: Provider, valley_panel: Panels) -> None:
    script = await program(valley, valley_panel, "act")
    name = "linus@valley.example"
    at = f"/services/{quote(name)}"
    status, body = await script.ask(f"{at}/cpe-swap", "POST")
    assert (status, body["error"]["code"]) == (422, "cpe.none"), "bound to nothing yet"
    async with valley.workplace.work("test") as work:
        assert await bind_cpe(work, name, "00:00:5e:00:53:01") is None
    status, body = await script.ask(f"{at}/cpe-swap?minutes=30", "POST")
    assert (status, body["login"]) == (200, name), body
    (login,) = [one for one in (await script.found(f"{at}/sign-ins"))["logins"] if one["username"] == name]
    assert (login["replace_until"], login["macs"]) == (body["until"], ["00:00:5E:00:53:01"])
    status, _ = await script.ask(f"/services/{valley.services['Linus Fairweather']}/cpe-swap/close", "POST")
    assert status == 200, "its only login is meant"
    (login,) = (await script.found(f"{at}/sign-ins"))["logins"]
    assert login["replace_until"] is None
    for wrong, field in (
        (f"{at}/cpe-swap?minutes=0", "minutes"), (f"{at}/cpe-swap?old=zz", "mac"),
        (f"{at}/cpe-swap?login=other", "login"), ("/services/nobody/cpe-swap", "user"),
    ):  # fmt: skip
        status, body = await script.ask(wrong, "POST")
        assert (status, body["error"]["field"]) == (404 if field == "user" else 422, field), body
    reader = await program(valley, valley_panel, "read", "reader")
    assert (await reader.ask(f"{at}/cpe-swap", "POST"))[0] == 403


async def test_nobody_asks_without_bounds(valley: Provider, sealer: Sealer, wrist_watch: FakeClock) -> None:
    settings = UiSettings(api_requests_per_minute=6)
    async with open_panel(valley.workplace, sealer, wrist_watch, settings) as browser:
        script = await program(valley, Panels(valley.workplace, browser))
        seen = [(await script.ask("/nases"))[0] for _ in range(8)]
        assert seen == [200] * 6 + [429] * 2
        page = await browser.ask("GET", "/api/v1/nases", headers={"Authorization": f"Bearer {script.token}"})
        assert 1 <= int(page.headers["Retry-After"]) <= 11
        wrist_watch.advance(timedelta(seconds=11))
        assert (await script.ask("/nases"))[0] == 200
        guessed = [(await script.ask("/nases", token="hilltop_" + "b" * 43))[0] for _ in range(12)]
        assert guessed == [401] * 10 + [429] * 2
        assert (await script.ask("/nases"))[0] == 429, "a source that guesses is not heard for a while"


SCHEMA_TYPES: dict[str, Any] = {
    "string": str, "integer": int, "boolean": bool, "number": (int, float), "array": list, "object": dict,
    "null": type(None),
}  # fmt: skip


def check(value: Any, schema: dict[str, Any], where: str) -> None:
    """What of JSON Schema the document uses, checked by hand."""
    if "anyOf" in schema:
        faults = []
        for one in schema["anyOf"]:
            try:
                return check(value, one, where)
            except AssertionError as fault:
                faults.append(str(fault))
        raise AssertionError(f"{where}: none fits: {faults}")
    assert isinstance(value, SCHEMA_TYPES[schema["type"]]), f"{where}: {value!r} is no {schema['type']}"
    assert not (schema["type"] == "integer" and isinstance(value, bool)), where
    if schema["type"] == "array":
        for number, one in enumerate(value):
            check(one, schema["items"], f"{where}[{number}]")
    for name in schema.get("required", []):
        assert name in value, f"{where}.{name} is missing"
    for name, one in schema.get("properties", {}).items():
        check(value[name], one, f"{where}.{name}")
    if "properties" in schema:
        assert set(value) <= set(schema["properties"]), f"{where} has more than is documented"
    return None


async def test_the_document_tells_the_truth(valley: Provider, valley_panel: Panels) -> None:
    await two_more(valley)
    page = await valley_panel.base.get("/api/v1/openapi.json")
    assert page.status == 200
    document = json.loads(page.text)
    assert document["openapi"] == "3.1.0"
    told = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert told == {(one.method, one.path) for one in OPERATIONS}
    script = await program(valley, valley_panel)
    lost = await session_called(valley, "9000aa01")
    for path, asked in (
        ("/sessions", "/sessions?limit=20"), ("/sessions/{session_id}", f"/sessions/{lost}"), ("/nases", "/nases"),
        ("/rejects", "/rejects"), ("/services/{user}", "/services/otis@valley.example"),
        ("/explain", "/explain?user=otis@valley.example"),
        ("/address-at-time", "/address-at-time?address=100.64.2.99&at=2026-03-10T07:33Z&reason=y"),
    ):  # fmt: skip
        shape = document["paths"][f"/api/v1{path}"]["get"]["responses"]["200"]["content"]["application/json"][
            "schema"
        ]
        check(await script.found(asked), shape, path)
    error = document["components"]["schemas"]["Error"]
    check((await script.ask("/sessions?mac=zz"))[1], error, "error")
    check((await script.ask("/nothing"))[1], error, "error")


async def test_tokens_are_made_shown_once_and_revoked_at_the_panel(valley_panel: Panels) -> None:
    owner = await valley_panel.as_("owner")
    shown = await owner.submit("/tokens", "/tokens", name="billing-sync", scope="read")
    token = shown.text.partition('class="secret">')[2].partition("<")[0]
    script = Program(valley_panel, token)
    await script.found("/nases")
    page = (await owner.get("/tokens")).text
    assert token not in page
    path = "/tokens/tok_" + page.partition("/tokens/tok_")[2].partition("/")[0] + "/revoke"
    assert (await owner.submit("/tokens", path)).status == 303
    assert (await script.ask("/nases"))[0] == 401
    assert (await owner.submit("/tokens", "/tokens", name="billing-sync")).status == 422, (
        "a name is used once"
    )
    network = await valley_panel.as_("network")
    assert (await network.get("/tokens")).status == 403


async def test_hostile_text_is_data(valley: Provider, valley_panel: Panels) -> None:
    script = await program(valley, valley_panel)
    for text in ("<script>", "%00", "\u202e", "'; DROP TABLE", "%ff%fe"):
        for path in (
            f"/services/{quote(text)}",
            f"/explain?user={quote(text)}",
            f"/sessions?who={quote(text)}",
        ):
            status, _ = await script.ask(path)
            assert status in (200, 404, 422), path
