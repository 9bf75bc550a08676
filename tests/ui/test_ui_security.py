"""The door and what stands behind it: passwords, cookies, forgery, roles, limits, headers."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from ui_client import Panels, new_session, open_panel
from ui_world import PASSWORD, ROLES

from appliance.panel_acts import panel_acts
from appliance.wiring import MeteredUsage
from core.clock import FakeClock
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Workplace
from ui.app import build_app, refuse_undeclared
from ui.config import UiSettings
from ui.operators import create_operator
from ui.passwords import Passwords, password_fault
from ui.permissions import Permission, Role, allows
from ui.sign_in import FAILURES_PER_ADDRESS, FAILURES_PER_OPERATOR, SignIns
from ui.web.guard import declaration_of

# -- passwords and the first sign-in


async def test_there_is_no_operator_until_one_is_made(workplace: Workplace, sealer: Sealer) -> None:
    async with open_panel(workplace, sealer, workplace.clock) as browser:
        for name in ("admin", "root", "hilltop", "owner"):
            for password in ("admin", "hilltop", "password", ""):
                assert (await browser.sign_in(name, password)).status in {401, 429}


async def test_one_time_password_works_once_and_must_be_changed(
    workplace: Workplace, sealer: Sealer, wrist_watch: FakeClock
) -> None:
    async with workplace.work("system:test") as work:
        one_time = await create_operator(work, "Mara", "owner")
    assert isinstance(one_time, Secret)
    async with open_panel(workplace, sealer, wrist_watch) as browser:
        arrived = await browser.sign_in("mara", one_time.reveal())
        assert (arrived.status, arrived.location) == (303, "/password")
        for path in ("/", "/subscribers", "/operators", "/payments?format=csv"):
            assert (await browser.get(path)).location == "/password"
        before = browser.cookie("hilltop_sign_in")
        weak = await browser.submit(
            "/password", "/password", current=one_time.reveal(), chosen="short", again="short"
        )
        assert weak.status == 422
        assert "too short" in weak.text
        kept = await browser.submit(
            "/password", "/password", current=one_time.reveal(), chosen=PASSWORD, again=PASSWORD
        )
        assert (kept.status, kept.location) == (303, "/?notice=password")
        assert browser.cookie("hilltop_sign_in") != before
        assert (await browser.get("/")).status == 200
        stale = new_session()
        browser.opened.append(stale)
        answer = await stale.get(
            browser.address + "/", cookies={"hilltop_sign_in": before}, allow_redirects=False
        )
        assert answer.headers["Location"] == "/sign-in"
        again = await browser.another().sign_in("mara", one_time.reveal())
        assert again.status == 401


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("elevenchars", "too short"),
        ("aaaaaaaaaaaaaaaa", "easy to guess"),
        ("012345678901", "easy to guess"),
        ("password2026", "easy to guess"),
        ("marahilltop!", "easy to guess"),
        ("x" * 201, "too long"),
        (PASSWORD, None),
        ("kv9#Lq2!mzR4", None),
    ],
)
def test_weak_passwords_are_named(password: str, fault: str | None) -> None:
    found = password_fault(password, "mara")
    assert (found is None) == (fault is None)
    assert fault is None or (found is not None and fault in found)


def test_passwords_are_argon2id_salted_and_verified() -> None:
    first, second = Passwords().hash_now("a"), Passwords().hash_now("a")
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second


async def test_operator_names_and_roles_are_checked(workplace: Workplace) -> None:
    async with workplace.work("system:test") as work:
        assert isinstance(await create_operator(work, "no spaces", "owner"), Refusal)
        assert isinstance(await create_operator(work, "mara", "emperor"), Refusal)
        assert isinstance(await create_operator(work, "mara", "owner"), Secret)
        taken = await create_operator(work, "MARA", "viewer")
        assert isinstance(taken, Refusal)
        assert taken.code == "exists"


# -- signing in


async def test_unknown_name_and_wrong_password_look_alike(panel: Panels) -> None:
    unknown = await panel.base.sign_in("nobody", "some wrong password")
    wrong = await panel.base.sign_in("owner", "some wrong password")
    assert unknown.status == wrong.status == 401
    clean = [re.sub(r'value="[^"]*"', "", page.text) for page in (unknown, wrong)]
    assert clean[0] == clean[1]


async def test_unknown_name_costs_one_verification_too(
    panel: Panels, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    real = Passwords._verify

    def counted(self: Passwords, password: str, password_hash: str) -> bool:
        verified.append(password_hash)
        return real(self, password, password_hash)

    monkeypatch.setattr(Passwords, "_verify", counted)
    await panel.base.sign_in("nobody", "some wrong password")
    await panel.base.sign_in("owner", "some wrong password")
    assert len(verified) == 2
    assert verified[0].split("$")[:4] == verified[1].split("$")[:4]  # the same work: same algorithm and cost


async def test_cookie_changes_at_each_sign_in_and_dies_at_sign_out(panel: Panels) -> None:
    browser = await panel.as_("viewer")
    first = browser.cookie("hilltop_sign_in")
    await browser.submit("/", "/sign-out")
    assert browser.cookie("hilltop_sign_in") == ""
    answer = await browser.get("/", Cookie=f"hilltop_sign_in={first}")
    assert answer.location == "/sign-in"
    await browser.sign_in("viewer")
    assert browser.cookie("hilltop_sign_in") not in {"", first}


async def test_cookie_is_kept_from_scripts_and_other_sites(panel: Panels) -> None:
    page = await panel.base.sign_in("viewer")
    cookies = [value for name, value in page.headers.items() if name == "Set-Cookie"]
    mine = next(one for one in cookies if one.startswith("hilltop_sign_in="))
    assert "HttpOnly" in mine
    assert "SameSite=Lax" in mine
    assert "Path=/" in mine
    assert "Secure" not in mine  # plain HTTP here; a browser would drop it


async def test_with_tls_the_cookie_is_bound_to_the_host(workplace: Workplace, sealer: Sealer) -> None:
    settings = UiSettings(tls_cert=Path("cert.pem"), tls_key=Path("key.pem"))
    async with open_panel(workplace, sealer, workplace.clock, settings) as browser:
        page = await browser.get("/sign-in")
        cookie = page.headers["Set-Cookie"]
        assert cookie.startswith("__Host-hilltop-door=")
        assert "Secure" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie
        assert page.headers["Strict-Transport-Security"]


async def test_idle_quarter_of_an_hour_ends_it(panel: Panels, wrist_watch: FakeClock) -> None:
    browser = await panel.as_("viewer")
    for _ in range(6):
        wrist_watch.advance(timedelta(minutes=14))
        assert (await browser.get("/")).status == 200
    wrist_watch.advance(timedelta(minutes=15, seconds=31))
    assert (await browser.get("/")).location == "/sign-in"


async def test_refreshes_by_themselves_do_not_keep_it_awake(panel: Panels, wrist_watch: FakeClock) -> None:
    browser = await panel.as_("viewer")
    for _ in range(10):
        wrist_watch.advance(timedelta(minutes=1))
        assert (await browser.get("/live", **{"HX-Request": "true"})).status == 200
    wrist_watch.advance(timedelta(minutes=6))
    gone = await browser.get("/live", **{"HX-Request": "true"})
    assert gone.headers["HX-Redirect"] == "/sign-in"


async def test_twelve_hours_end_it_whatever_happens(panel: Panels, wrist_watch: FakeClock) -> None:
    browser = await panel.as_("viewer")
    for _ in range(72):
        wrist_watch.advance(timedelta(minutes=10))
        assert (await browser.get("/healthz")).status == 200
        await browser.get("/")
    wrist_watch.advance(timedelta(minutes=1))
    assert (await browser.get("/")).location == "/sign-in"


async def test_sign_ins_do_not_follow_the_moving_clock_of_the_records(
    panel: Panels, clock: FakeClock
) -> None:
    browser = await panel.as_("viewer")
    clock.advance(timedelta(days=40))
    assert (await browser.get("/")).status == 200


async def test_ten_failures_close_an_account_for_a_while(panel: Panels, wrist_watch: FakeClock) -> None:
    for _ in range(FAILURES_PER_OPERATOR):
        assert (await panel.base.sign_in("owner", "wrong")).status == 401
    closed = await panel.base.sign_in("owner")
    assert closed.status == 429
    assert "Too many" in closed.text
    wrist_watch.advance(timedelta(minutes=15, seconds=1))
    assert (await panel.base.sign_in("owner")).status == 303


async def test_thirty_failures_close_an_address(panel: Panels) -> None:
    for number in range(FAILURES_PER_ADDRESS):
        assert (await panel.base.sign_in(f"guess{number}", "wrong")).status == 401
    assert (await panel.base.sign_in("owner")).status == 429


async def test_signing_in_rightly_forgives_earlier_slips(panel: Panels) -> None:
    for _ in range(3):
        for _ in range(FAILURES_PER_OPERATOR - 1):
            assert (await panel.base.sign_in("owner", "wrong")).status == 401
        assert (await panel.base.another().sign_in("owner")).status == 303
    for _ in range(FAILURES_PER_ADDRESS - 3 * (FAILURES_PER_OPERATOR - 1)):
        assert (await panel.base.sign_in("nobody", "wrong")).status == 401
    assert (await panel.base.sign_in("nobody", "wrong")).status == 429  # the address is not forgiven


async def test_attempts_at_once_cannot_outrun_the_limit(workplace: Workplace, wrist_watch: FakeClock) -> None:
    import asyncio

    sign_ins = SignIns(workplace, wrist_watch, Passwords(), UiSettings())
    tries = [sign_ins.open("owner", f"guess {number}", "192.0.2.9") for number in range(25)]
    outcomes = [type(one).__name__ for one in await asyncio.gather(*tries)]
    assert outcomes.count("NotRight") == FAILURES_PER_OPERATOR
    assert outcomes.count("TooManyFailures") == 25 - FAILURES_PER_OPERATOR


@pytest.mark.parametrize(
    ("onward", "lands"),
    [
        ("/subscribers?q=a", "/subscribers?q=a"),
        ("//evil.example/", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
    ],
)
async def test_after_sign_in_only_our_own_pages_follow(panel: Panels, onward: str, lands: str) -> None:
    page = await panel.base.submit("/sign-in", "/sign-in", name="viewer", password=PASSWORD, next=onward)
    assert page.location == lands


# -- forgery


async def test_unsafe_requests_need_token_and_origin(panel: Panels) -> None:
    browser = await panel.as_("owner")
    fields = (await browser.get("/towers/new")).form("/towers/new") | {"name": "Quail Ridge"}
    evil = "https://evil.example"
    assert (await browser.post("/towers/new", fields, origin=evil)).status == 403
    assert (await browser.post("/towers/new", fields, origin="null")).status == 403
    assert (await browser.post("/towers/new", fields, origin=None)).status == 403
    assert (await browser.post("/towers/new", fields | {"csrf": "x"})).status == 403
    assert (await browser.post("/towers/new", {"name": "Quail Ridge"})).status == 403
    crossed = await browser.ask(
        "POST", "/towers/new", data=fields,
        headers={"Origin": browser.address, "Sec-Fetch-Site": "cross-site"},
    )  # fmt: skip
    assert crossed.status == 403
    assert "Quail Ridge" not in (await browser.get("/towers")).text
    assert (await browser.post("/towers/new", fields)).status == 303
    assert "Quail Ridge" in (await browser.get("/towers")).text


async def test_the_token_of_one_operator_is_not_that_of_another(panel: Panels) -> None:
    mine, other = await panel.as_("owner"), await panel.as_("network")
    stolen = (await other.get("/towers/new")).form("/towers/new")["csrf"]
    assert (await mine.post("/towers/new", {"csrf": stolen, "name": "X"})).status == 403


async def test_the_sign_in_form_is_tied_to_the_browser(panel: Panels) -> None:
    fields = (await panel.base.get("/sign-in")).form("/sign-in") | {"name": "owner", "password": PASSWORD}
    stranger = panel.base.another()
    assert (await stranger.post("/sign-in", fields)).status == 403
    app_panel = await panel.base.post("/sign-in", fields | {"csrf": "0" * 64})
    assert app_panel.status == 403
    assert (await panel.base.post("/sign-in", fields)).status == 303


async def test_every_unsafe_route_refuses_without_token(panel: Panels) -> None:
    browser = await panel.as_("owner")
    for method, path, _ in declared_routes(panel):
        if method == "POST":
            page = await browser.post(filled(path), {"csrf": "wrong"})
            assert page.status == 403, path


# -- roles


def declared_routes(panel: Panels, *, programs: bool = False) -> list[tuple[str, str, Permission]]:
    """Method, path pattern and permission of every route of the panel's router, for people or for programs."""
    sealer = Sealer({"k1": bytes(32)})
    app = build_app(panel.workplace, sealer, MeteredUsage(), UiSettings(), acts=panel_acts(sealer))
    found, proven = [], []
    for route in app.router.routes():
        declared = declaration_of(route.handler)
        assert declared is not None
        if declared.permission is Permission.PROVEN:
            proven.append((route.method, declared.path))
        elif (declared.permission is Permission.BEARER) == programs:
            found.append((route.method, declared.path, declared.permission))
    assert sorted({one for one in proven if one[0] != "HEAD"}) == [
        ("GET", "/document/{name}"), ("GET", "/pay/{subject}/{mark}"),
        ("POST", "/hooks/{gateway}"), ("POST", "/pay/{subject}/{mark}"),
    ]  # fmt: skip
    return found


async def test_every_route_for_programs_asks_for_a_token_whoever_is_signed_in(panel: Panels) -> None:
    owner = await panel.as_("owner")
    routes = declared_routes(panel, programs=True)
    assert len(routes) > 8
    for method, path, _ in routes:
        page = await owner.ask(method, filled(path), headers={"Origin": panel.base.address})
        assert page.status == (200 if path == "/api/v1/openapi.json" else 401) or page.status == 429, (
            method,
            path,
        )


def filled(path: str) -> str:
    """A path with its parts filled in by things that do not exist."""
    return re.sub(r"\{[^}]+\}", "unknown", path)


async def test_each_route_lets_in_exactly_the_roles_that_hold_its_permission(panel: Panels) -> None:
    routes = declared_routes(panel)
    assert len(routes) > 40
    for role in ROLES:
        browser = await panel.as_(role)
        token = (await browser.get("/password")).form("/password")["csrf"]
        for method, path, permission in routes:
            if path in {"/sign-out", "/password", "/sign-in", "/bill-runs"} and method == "POST":
                continue  # they do what they say; flows of their own test them
            page = await (
                browser.post(filled(path), {"csrf": token}) if method == "POST" else browser.get(filled(path))
            )
            permitted = allows(Role(role), permission)
            assert (page.status != 403) == permitted, (role, method, path, page.status)
            assert page.status < 500, (role, method, path, page.status)


async def test_without_sign_in_every_route_but_the_public_leads_to_the_door(panel: Panels) -> None:
    public = set()
    for method, path, permission in declared_routes(panel):
        page = await panel.base.ask(
            method,
            filled(path),
            headers={"Origin": panel.base.address},
            data={} if method == "POST" else None,
        )
        if permission is Permission.PUBLIC:
            public.add((method, path))
            continue
        assert page.status == 303, (method, path)
        assert page.location.startswith("/sign-in"), (method, path)
    assert public == {
        ("GET", "/sign-in"), ("POST", "/sign-in"), ("GET", "/static/{name}"), ("GET", "/healthz"),
        ("GET", "/portal"), ("GET", "/favicon.ico"), ("GET", "/pki/{name}"), ("GET", "/metrics"),
    }  # fmt: skip


def test_every_role_looks_and_only_the_owner_owns() -> None:
    for permission in Permission:
        assert allows(Role.OWNER, permission) == (permission not in {Permission.BEARER, Permission.PROVEN})
    assert all(allows(role, Permission.LOOK) for role in Role)
    assert [role for role in Role if allows(role, Permission.OWN)] == [Role.OWNER]
    assert not allows(Role.NETWORK, Permission.MONEY)
    assert not allows(Role.BILLING, Permission.NETWORK)


async def test_a_route_without_permission_stops_the_panel(panel: Panels) -> None:
    app = web.Application()

    async def undeclared(_request: web.Request) -> web.Response:
        return web.Response(text="open to everybody")

    app.router.add_get("/forgotten", undeclared)
    with pytest.raises(ValueError, match="declares no permission"):
        refuse_undeclared(app)


async def test_kept_out_operator_is_out_at_once(panel: Panels) -> None:
    owner, viewer = await panel.as_("owner"), await panel.as_("viewer")
    assert (await viewer.get("/")).status == 200
    page = await owner.get("/operators")
    target = next(
        action for action in re.findall(r'action="(/operators/[^"]+/enabled)"', page.text)
        if 'data-confirm="Keep viewer out?"' in page.text.split(action)[1][:60]
    )  # fmt: skip
    await owner.post(target, page.form(target))
    assert (await viewer.get("/")).location == "/sign-in"
    assert (await panel.base.sign_in("viewer")).status == 401


async def test_the_last_owner_stays(panel: Panels) -> None:
    owner = await panel.as_("owner")
    page = await owner.get("/operators")
    target = next(
        action for action in re.findall(r'action="(/operators/[^"]+/enabled)"', page.text)
        if 'data-confirm="Keep owner out?"' in page.text.split(action)[1][:60]
    )  # fmt: skip
    refused = await owner.post(target, page.form(target))
    assert refused.status == 422
    assert "last owner" in refused.text
