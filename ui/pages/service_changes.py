"""Changing one service: plan, profile, address, sign-ins, enforcement points, its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web

from aaa.set_addressing import set_addressing
from aaa.set_up import (
    add_credential,
    change_profile,
    keep_only_hash,
    set_password,
    set_password_hash,
    set_static_address,
)
from core.periods import local_date
from core.refusal import Refusal
from core.secrets import Secret
from core.work import Work
from provisioning.set_up import add_enforcement_point
from ui.pages.new_service import SIGN_IN_KINDS, newest_plans, read_credential, shown_once
from ui.passwords import new_nonce, repeatable_password
from ui.permissions import Permission
from ui.read import money, network, services, snmp, subscriber
from ui.read.services import ServiceView
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

T = TypeVar("T")
HASH_SCHEMES = {"argon2id": "argon2id: PAP alone works", "nt": "NT hash: PAP and MS-CHAP work"}
_AS_BEFORE = "same_plan"


@routes.get("/services/{service_id}/change", Permission.SUBSCRIBERS)
async def show(visit: Visit) -> web.StreamResponse:
    """All that can be changed, each by a form of its own."""
    return await _page(visit, Form({"kind": "pppoe"}))


async def _service(visit: Visit) -> ServiceView:
    async with visit.reading() as connection:
        found = await services.service_view(connection, visit.path("service_id"))
    if found is None:
        raise missing()
    return found


async def _page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    now = visit.panel.workplace.clock.now()
    async with visit.reading() as connection:
        found = await services.service_view(connection, visit.path("service_id"))
        account = await subscriber.account_heading(connection, found.account_id) if found else None
        if found is None or account is None:
            raise missing()
        today = local_date(now, account.time_zone)
        context = {
            "plans": await newest_plans(connection, account.currency),
            "profiles": await network.list_profiles(connection),
            "devices": [
                one
                for one in await network.device_choices(connection)
                if one[0] not in await services.device_ids_of(connection, found.id)
            ],
            "logins": await services.logins_of(connection, found.id),
            "running": await money.running_plan(connection, found.id, today),
            "addressing": await services.addressing_shown(connection, found.id),
            "bindings": await snmp.bindings_of_service(connection, found.id),
        }
    return visit.page(
        "service_change.html", service=found, account=account, form=form, kinds=SIGN_IN_KINDS,
        nonce=new_nonce(), status=status, schemes=HASH_SCHEMES, **context,
    )  # fmt: skip


async def _change(
    visit: Visit, form: Form, notice: str, action: Callable[[Work], Awaitable[T | Refusal]]
) -> web.Response:
    """One change; then back to the form page, which shows what stands now or what was refused."""
    service_id = (await _service(visit)).id
    if not form.ok:
        return await _page(visit, form, status=422)
    outcome = await visit.attempt(form, action)
    if isinstance(outcome, Refusal) and outcome.code == _AS_BEFORE:
        return visit.see(f"/services/{service_id}/change", "as_before")
    if isinstance(outcome, Refusal):
        return await _page(visit, form, status=422)
    return visit.see(f"/services/{service_id}/change", notice)


@routes.post("/services/{service_id}/plan", Permission.SUBSCRIBERS)
async def change_to_plan(visit: Visit) -> web.StreamResponse:
    """Another plan from today on."""
    form, service_id = await visit.form(), visit.path("service_id")
    plan = form.text("plan", longest=40)
    return await _change(
        visit, form, "plan", lambda work: visit.panel.acts.change_plan(work, service_id, plan)
    )


@routes.post("/services/{service_id}/profile", Permission.SUBSCRIBERS)
async def change_to_profile(visit: Visit) -> web.StreamResponse:
    """Other rates under the same plan."""
    form, service_id = await visit.form(), visit.path("service_id")
    profile_id = form.text("profile_id", longest=40)
    return await _change(visit, form, "profile", lambda work: change_profile(work, service_id, profile_id))


@routes.post("/services/{service_id}/address", Permission.SUBSCRIBERS)
async def change_address(visit: Visit) -> web.StreamResponse:
    """A static address, another, or none."""
    form, service_id = await visit.form(), visit.path("service_id")
    framed_ip = form.optional("framed_ip", longest=45)
    return await _change(visit, form, "address", lambda work: set_static_address(work, service_id, framed_ip))


@routes.post("/services/{service_id}/addressing", Permission.SUBSCRIBERS)
async def change_addressing(visit: Visit) -> web.StreamResponse:
    """All of its own prefixes and routes; what is empty is taken away."""
    form, service_id = await visit.form(), visit.path("service_id")
    asked: dict[str, Any] = {
        name: form.optional(name, longest=60) for name in ("ipv6_prefix", "delegated_prefix", "ipv6_address")
    }
    asked["netmask_bits"] = form.optional_integer("netmask_bits", least=8, most=32)
    typed = form.optional("routes", longest=1_000) or ""
    asked["routes"] = [line.strip() for line in typed.splitlines() if line.strip()]
    return await _change(visit, form, "addressing", lambda work: set_addressing(work, service_id, **asked))


@routes.post("/services/{service_id}/credentials", Permission.SUBSCRIBERS)
async def add_login(visit: Visit) -> web.StreamResponse:
    """One more way to sign in."""
    form, found = await visit.form(), await _service(visit)
    credential = read_credential(form)
    if not form.ok:
        return await _page(visit, form, status=422)
    outcome = await visit.attempt(
        form,
        lambda work: add_credential(work, visit.panel.sealer, service_id=found.id, credential=credential),
    )
    if isinstance(outcome, Refusal):
        return await _page(visit, form, status=422)
    if credential.password is None or form.secret("password") is not None:
        return visit.see(f"/services/{found.id}/change", "created")
    return shown_once(visit, found.account_id, credential.username, credential.password)


@routes.post("/services/{service_id}/password", Permission.SUBSCRIBERS)
async def reset_password(visit: Visit) -> web.StreamResponse:
    """A new PPPoE password, typed or made up; the same form sent twice makes the same one."""
    form, found = await visit.form(), await _service(visit)
    nonce, typed = form.text("nonce", longest=80), form.secret("new_password")
    async with visit.reading() as connection:
        logins = await services.logins_of(connection, found.id)
    username = form.choice("login", [one.username for one in logins if one.kind == "pppoe"])
    is_hash = form.flag("new_is_hash")
    if is_hash and not typed:
        form.blame("new_password", "is missing: paste the hash, or take the tick away")
    if not form.ok:
        return await _page(visit, form, status=422)
    password = Secret(typed) if typed else repeatable_password(visit.panel.sealer, nonce, username)
    outcome = await visit.attempt(form, _new_password(visit, username, password, is_hash=is_hash))
    if isinstance(outcome, Refusal):
        return await _page(visit, form, status=422)
    if typed:
        return visit.see(f"/services/{found.id}/change", "pppoe_password")
    return shown_once(visit, found.account_id, username, password)


def _new_password(
    visit: Visit, username: str, password: Secret, *, is_hash: bool
) -> Callable[[Work], Awaitable[Refusal | None]]:
    sealer = visit.panel.sealer
    if is_hash:
        return lambda work: set_password_hash(work, sealer, username=username, given=password)
    return lambda work: set_password(work, sealer, username=username, password=password)


@routes.post("/services/{service_id}/hash-only", Permission.SUBSCRIBERS)
async def hash_only(visit: Visit) -> web.StreamResponse:
    """Forget the password and keep a hash of it."""
    form, found = await visit.form(), await _service(visit)
    username = form.choice("hash_login", [one.username for one in found.logins if one.kept == "cleartext"])
    scheme = form.choice("scheme", HASH_SCHEMES)
    return await _change(
        visit, form, "hash_only",
        lambda work: keep_only_hash(work, visit.panel.sealer, username=username, scheme=scheme),
    )  # fmt: skip


@routes.post("/services/{service_id}/points", Permission.SUBSCRIBERS)
async def add_point(visit: Visit) -> web.StreamResponse:
    """One more device that enforces the service."""
    form, service_id = await visit.form(), visit.path("service_id")
    device_id = form.text("device_id", longest=40)
    return await _change(
        visit, form, "point",
        lambda work: add_enforcement_point(work, service_id=service_id, device_id=device_id),
    )  # fmt: skip


@routes.post("/services/{service_id}/end", Permission.SUBSCRIBERS)
async def end(visit: Visit) -> web.StreamResponse:
    """End the service for good; sent twice, the second changes nothing."""
    form, found = await visit.form(), await _service(visit)
    reason = form.text("end_reason", longest=300)
    if not form.flag("sure"):
        form.blame("sure", "is not ticked: an ended service does not come back")
    if not form.ok:
        return await _page(visit, form, status=422)
    if found.lifecycle != "ended":
        outcome = await visit.attempt(form, lambda work: visit.panel.acts.end_line(work, found.id, reason))
        if isinstance(outcome, Refusal):
            return await _page(visit, form, status=422)
    return visit.see(f"/subscribers/{found.account_id}", "ended")
