"""A new subscriber, and one more service for a subscriber."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.set_up import NewCredential
from billing.set_up import open_account
from core.refusal import Refusal, granted
from core.secrets import Secret, random_password
from core.work import Work
from ui.permissions import Permission
from ui.ports import NewService
from ui.read import money, network, subscriber
from ui.read.entities import entity_choices
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

SIGN_IN_KINDS = {
    "pppoe": "PPPoE name and password", "mac": "MAC address", "circuit": "Line (option 82)",
    "port": "Port of a NAS",
}  # fmt: skip


@routes.get("/subscribers/new", Permission.SUBSCRIBERS)
async def show_new(visit: Visit) -> web.StreamResponse:
    """The form for an account with its first service."""
    return await _new_page(visit, Form({"country": "US", "anchor_day": "1", "kind": "pppoe"}))


@routes.post("/subscribers/new", Permission.SUBSCRIBERS)
async def create(visit: Visit) -> web.StreamResponse:
    """Account, service, subscription and enforcement point, all of them or none."""
    form = await visit.form()
    async with visit.reading() as connection:
        plans = {row.code: row for row in await newest_plans(connection)}
    account, new = _read_account(form), _read_service(form, list(plans))
    if not form.ok:
        return await _new_page(visit, form, status=422)
    currency = plans[new.plan].currency

    async def both(work: Work) -> str | Refusal:
        account_id = granted(await open_account(work, currency=currency, **account))  # type: ignore[arg-type]
        granted(await visit.panel.acts.add_service(work, account_id, new))
        return account_id

    account_id = await visit.attempt(form, both)
    if isinstance(account_id, Refusal):
        return await _new_page(visit, form, status=422)
    return _created(visit, form, account_id, new)


@routes.get("/subscribers/{account_id}/services/new", Permission.SUBSCRIBERS)
async def show_more(visit: Visit) -> web.StreamResponse:
    """The form for one more service."""
    return await _more_page(visit, Form({"kind": "pppoe"}))


@routes.post("/subscribers/{account_id}/services/new", Permission.SUBSCRIBERS)
async def create_more(visit: Visit) -> web.StreamResponse:
    """One more service; sent twice, the second is refused because its name signs in already."""
    form, account_id = await visit.form(), visit.path("account_id")
    async with visit.reading() as connection:
        account = await subscriber.account_heading(connection, account_id)
        if account is None:
            raise missing()
        plans = await newest_plans(connection, account.currency)
    starts_on = form.optional_date("starts_on")
    new = replace(_read_service(form, [one.code for one in plans]), starts_on=starts_on)
    if not form.ok:
        return await _more_page(visit, form, status=422)
    made = await visit.attempt(form, lambda work: visit.panel.acts.add_service(work, account_id, new))
    if isinstance(made, Refusal):
        return await _more_page(visit, form, status=422)
    return _created(visit, form, account_id, new)


def _created(visit: Visit, form: Form, account_id: str, new: NewService) -> web.Response:
    """On to the subscriber; a password made here is shown first, once."""
    [credential] = new.credentials
    if credential.password is None or form.secret("password") is not None:
        return visit.see(f"/subscribers/{account_id}", "created")
    return shown_once(visit, account_id, credential.username, credential.password)


def shown_once(visit: Visit, account_id: str, username: str, password: Secret) -> web.Response:
    """The page with a PPPoE password that is never shown again."""
    return visit.page(
        "password_shown.html", account_id=account_id, username=username, password=password.reveal()
    )


def _read_account(form: Form) -> dict[str, object]:
    return {
        "name": form.text("name", longest=160), "number": form.optional("number", longest=40),
        "email": form.optional("email", longest=254), "phone": form.optional("phone", longest=40),
        "street": form.optional("street"), "city": form.optional("city", longest=100),
        "region": form.optional("region", longest=40),
        "postal_code": form.optional("postal_code", longest=20),
        "country": (form.optional("country", longest=2) or "US").upper(),
        "time_zone": form.text("time_zone", longest=64),
        "anchor_day": form.optional_integer("anchor_day", least=1, most=31),
        "entity_id": form.optional("entity_id", longest=20),
    }  # fmt: skip


def _read_service(form: Form, plans: list[str]) -> NewService:
    plan, device_id = form.choice("plan", plans), form.optional("device_id", longest=40)
    return NewService(
        plan=plan,
        label=form.text("label", longest=120),
        credentials=[read_credential(form)],
        framed_ip=form.optional("framed_ip", longest=45),
        device_ids=(device_id,) if device_id else (),
    )


def read_credential(form: Form) -> NewCredential:
    """How a CPE signs in; a PPPoE password left empty is made up."""
    kind, username = form.choice("kind", SIGN_IN_KINDS), form.text("username", longest=253)
    if kind != "pppoe":
        return NewCredential(kind, username, None)
    typed = form.secret("password")
    if form.flag("password_is_hash"):
        if typed is None:
            form.blame("password", "is missing: paste the hash, or take the tick away")
        return NewCredential("pppoe", username, password_hash=Secret(typed or ""))
    return NewCredential("pppoe", username, Secret(typed or random_password(3)))


async def newest_plans(connection: AsyncConnection, currency: str = "") -> list[money.PlanRow]:
    """What can be sold now, in one currency or all."""
    rows = await money.list_plans(connection)
    return [row for row in rows if row.newest and currency in ("", row.currency)]


async def _new_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        plans, devices = await newest_plans(connection), await network.device_choices(connection)
        entities = await entity_choices(connection)
    return visit.page(
        "subscriber_new.html", form=form, entities=entities, plans=plans, devices=devices,
        kinds=SIGN_IN_KINDS, status=status, zone=visit.panel.settings.time_zone,
    )  # fmt: skip


async def _more_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        account = await subscriber.account_heading(connection, visit.path("account_id"))
        if account is None:
            raise missing()
        plans = await newest_plans(connection, account.currency)
        devices = await network.device_choices(connection)
    return visit.page(
        "service_new.html", form=form, account=account, plans=plans, devices=devices, kinds=SIGN_IN_KINDS,
        status=status,
    )  # fmt: skip
