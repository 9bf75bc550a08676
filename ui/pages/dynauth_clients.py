"""Proxies and scripts that may ask our own RFC 5176 listener to end or change sessions."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from aaa.dynauth_clients import (
    DynauthClient,
    change_client,
    dynauth_clients,
    forget_client,
    permit_client,
)
from core.refusal import Refusal
from core.secrets import Secret
from ui.permissions import Permission
from ui.read.sessions import choices
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
WHERE = "/dynauth-clients"


@routes.get(WHERE, Permission.NETWORK)
async def clients(visit: Visit) -> web.StreamResponse:
    """Who may ask, and the form for one more."""
    return await _page(visit, Form({"may_disconnect": "yes"}), None)


@routes.post(WHERE, Permission.NETWORK)
async def permit(visit: Visit) -> web.StreamResponse:
    """Permit a client; its secret is sealed before it is stored."""
    form = await visit.form()
    asked, secret = _read(form), form.secret("secret")
    if secret is None:
        form.blame("secret", "is missing: type the secret that the client has")
    elif form.ok:
        made = await visit.attempt(
            form, lambda work: permit_client(work, visit.panel.sealer, secret=Secret(secret), **asked)
        )
        if not isinstance(made, Refusal):
            return visit.see(WHERE, "created")
    return await _page(visit, form, None, status=422)


@routes.get(WHERE + "/{client_id}", Permission.NETWORK)
async def edit(visit: Visit) -> web.StreamResponse:
    """The form with what stands now."""
    found = await _found(visit)
    several = len(found.nas_ids or ()) > 1
    stands = {
        "name": found.name, "network": found.network,
        "nas": "several" if several else (found.nas_ids or ("",))[0],
        "may_disconnect": "yes" if found.may_disconnect else "",
        "may_change": "yes" if found.may_change else "",
        "enabled": "yes" if found.enabled else "",
    }  # fmt: skip
    return await _page(visit, Form(stands), found)


@routes.post(WHERE + "/{client_id}", Permission.NETWORK)
async def save(visit: Visit) -> web.StreamResponse:
    """Save the fields; an empty secret leaves the one that stands."""
    form, found = await visit.form(), await _found(visit)
    asked = _read(form) | {"enabled": form.flag("enabled")}
    if len(found.nas_ids or ()) > 1 and form.value("nas") == "several":
        del asked["nas_ids"]
    secret = form.secret("secret")
    if secret is not None:
        asked["secret"] = Secret(secret)
    if form.ok:
        outcome = await visit.attempt(
            form, lambda work: change_client(work, visit.panel.sealer, found.id, **asked)
        )
        if not isinstance(outcome, Refusal):
            return visit.see(WHERE, "saved")
    return await _page(visit, form, found, status=422)


@routes.post(WHERE + "/{client_id}/forget", Permission.NETWORK)
async def forget(visit: Visit) -> web.StreamResponse:
    """From now on it is a stranger."""
    form, found = await visit.form(), await _found(visit)
    outcome = await visit.attempt(form, lambda work: forget_client(work, found.id))
    if isinstance(outcome, Refusal):
        return await _page(visit, form, found, status=422)
    return visit.see(WHERE, "saved")


async def _found(visit: Visit) -> DynauthClient:
    async with visit.reading() as connection:
        known = await dynauth_clients(connection)
    found = next((one for one in known if one.id == visit.path("client_id")), None)
    if found is None:
        raise missing()
    return found


def _read(form: Form) -> dict[str, Any]:
    nas_id = form.optional("nas")
    return {
        "name": form.text("name", longest=80), "network": form.text("network", longest=64),
        "may_disconnect": form.flag("may_disconnect"), "may_change": form.flag("may_change"),
        "nas_ids": [nas_id] if nas_id else None,
    }  # fmt: skip


async def _page(visit: Visit, form: Form, found: DynauthClient | None, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        offered, known = await choices(connection), await dynauth_clients(connection)
    names = dict(offered.nases)
    nases = list(offered.nases)
    if found is not None and len(found.nas_ids or ()) > 1:
        nases.insert(0, ("several", ", ".join(names.get(one, one) for one in found.nas_ids or ())))
    return visit.page(
        "dynauth_clients.html", form=form, client=found, clients=known, nases=nases, names=names,
        status=status,
    )  # fmt: skip
