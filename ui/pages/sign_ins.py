"""What the sign-ins of one service have to fulfil: CPEs and their swap, ports, devices online."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from aiohttp import web

from aaa.bind_cpe import CpeRecord
from aaa.domain.conditions import BINDINGS
from aaa.domain.profile import WHEN_CROWDED
from aaa.set_up import (
    bind_cpe,
    bind_port,
    close_replacement,
    limit_devices,
    open_replacement,
    release_cpe,
    set_binding,
)
from core.refusal import Refusal
from core.work import Work
from ui.pages.profiles import CROWDED_WORDS
from ui.permissions import Permission
from ui.read import network, services, subscriber
from ui.read.sign_ins import sign_ins_of
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

T = TypeVar("T")
BINDING_WORDS = {
    "": "As the settings say", "off": "Not bound", "learn": "To the first CPE seen",
    "list": "To those listed",
}  # fmt: skip
_CROWDED_WORDS = CROWDED_WORDS | {"": "As the profile says"}
SWAP_HOURS = {"1": "One hour", "2": "Two hours", "8": "Eight hours", "24": "A day", "72": "Three days"}
assert set(BINDING_WORDS) == {"", *BINDINGS}  # noqa: S101 - every choice has its word
assert set(_CROWDED_WORDS) == {"", *WHEN_CROWDED}  # noqa: S101


@routes.get("/services/{service_id}/sign-ins", Permission.SUBSCRIBERS)
async def show(visit: Visit) -> web.StreamResponse:
    """Every login with its conditions, and the CPEs the service has had."""
    if visit.wants_csv:
        async with visit.reading() as connection:
            view = await sign_ins_of(connection, await _service_id(visit))
        return csv_file("cpes", CpeRecord, view.cpes)
    return await _page(visit, Form({"hours": "2"}))


async def _service_id(visit: Visit) -> str:
    async with visit.reading() as connection:
        found = await services.service_view(connection, visit.path("service_id"))
    if found is None:
        raise missing()
    return found.id


async def _page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        found = await services.service_view(connection, visit.path("service_id"))
        account = await subscriber.account_heading(connection, found.account_id) if found else None
        if found is None or account is None:
            raise missing()
        view = await sign_ins_of(connection, found.id)
        nases = [(row.id, row.name) for row in await network.list_nases(connection)]
    return visit.page(
        "service_sign_ins.html", service=found, account=account, view=view, form=form, nases=nases,
        names=dict(nases), binding_words=BINDING_WORDS, crowded_words=_CROWDED_WORDS, hours=SWAP_HOURS,
        now=visit.panel.workplace.clock.now(), status=status,
    )  # fmt: skip


async def _change(
    visit: Visit, form: Form, notice: str, action: Callable[[Work], Awaitable[T | Refusal]]
) -> web.Response:
    """One change; then back to the page, which shows what stands now or what was refused."""
    service_id = await _service_id(visit)
    if not form.ok or isinstance(await visit.attempt(form, action), Refusal):
        return await _page(visit, form, status=422)
    return visit.see(f"/services/{service_id}/sign-ins", notice)


async def _login(visit: Visit, form: Form, field: str, kinds: tuple[str, ...]) -> str:
    """The login that the form is about: one of this service's."""
    async with visit.reading() as connection:
        logins = await services.logins_of(connection, await _service_id(visit))
    return form.choice(field, [one.username for one in logins if one.kind in kinds])


_BINDABLE = ("pppoe", "circuit", "port")


@routes.post("/services/{service_id}/sign-ins/binding", Permission.SUBSCRIBERS)
async def binding(visit: Visit) -> web.StreamResponse:
    """To which CPEs a login is bound."""
    form = await visit.form()
    username = await _login(visit, form, "binding_login", _BINDABLE)
    chosen = form.choice("binding", BINDING_WORDS) or None
    return await _change(visit, form, "saved", lambda work: set_binding(work, username, chosen))


@routes.post("/services/{service_id}/sign-ins/bind", Permission.SUBSCRIBERS)
async def bind(visit: Visit) -> web.StreamResponse:
    """One more CPE."""
    form = await visit.form()
    username, mac = await _login(visit, form, "bind_login", _BINDABLE), form.text("mac", longest=40)
    return await _change(visit, form, "saved", lambda work: bind_cpe(work, username, mac))


@routes.post("/services/{service_id}/sign-ins/release", Permission.SUBSCRIBERS)
async def release(visit: Visit) -> web.StreamResponse:
    """A CPE is bound no longer."""
    form = await visit.form()
    username, mac = (
        await _login(visit, form, "release_login", _BINDABLE),
        form.text("release_mac", longest=40),
    )
    return await _change(visit, form, "saved", lambda work: release_cpe(work, username, mac))


@routes.post("/services/{service_id}/sign-ins/swap", Permission.SUBSCRIBERS)
async def swap(visit: Visit) -> web.StreamResponse:
    """The next other CPE takes the place of the old one."""
    form = await visit.form()
    username = await _login(visit, form, "swap_login", _BINDABLE)
    lasts, old = form.choice("hours", SWAP_HOURS), form.optional("old", longest=40)
    return await _change(
        visit, form, "swap",
        lambda work: open_replacement(work, username, timedelta(hours=int(lasts)), old),
    )  # fmt: skip


@routes.post("/services/{service_id}/sign-ins/no-swap", Permission.SUBSCRIBERS)
async def no_swap(visit: Visit) -> web.StreamResponse:
    """The swap is off."""
    form = await visit.form()
    username = await _login(visit, form, "swap_login", _BINDABLE)
    return await _change(visit, form, "saved", lambda work: close_replacement(work, username))


@routes.post("/services/{service_id}/sign-ins/port", Permission.SUBSCRIBERS)
async def port(visit: Visit) -> web.StreamResponse:
    """The NAS and port a login may come in at."""
    form = await visit.form()
    username = await _login(visit, form, "port_login", ("pppoe", "mac", "circuit"))
    async with visit.reading() as connection:
        known = [row.id for row in await network.list_nases(connection)]
    nas_id, pattern = form.choice("nas_id", ["", *known]) or None, form.optional("port", longest=120)
    return await _change(
        visit, form, "saved", lambda work: bind_port(work, username, nas_id=nas_id, port=pattern)
    )


@routes.post("/services/{service_id}/sign-ins/devices", Permission.SUBSCRIBERS)
async def devices(visit: Visit) -> web.StreamResponse:
    """How many devices may be online at once."""
    form, service_id = await visit.form(), await _service_id(visit)
    count = form.optional_integer("devices", least=1, most=1_000)
    crowded = form.choice("when_crowded", _CROWDED_WORDS) or None
    return await _change(
        visit, form, "saved",
        lambda work: limit_devices(work, service_id, devices=count, when_crowded=crowded),
    )  # fmt: skip
