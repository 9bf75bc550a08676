"""Tokens of programs that use the API."""

from __future__ import annotations

from aiohttp import web

from core.refusal import Refusal
from core.secrets import Secret
from ui.api_tokens import SCOPES, make_token, revoke_token
from ui.permissions import Permission
from ui.store import token_rows
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()


@routes.get("/tokens", Permission.OWN)
async def tokens(visit: Visit) -> web.StreamResponse:
    """All tokens, and the form for one more."""
    return await _page(visit, Form())


@routes.post("/tokens", Permission.OWN)
async def make(visit: Visit) -> web.StreamResponse:
    """A new token; it is shown once, here."""
    form = await visit.form()
    name, scope = form.text("name", longest=40), form.choice("scope", SCOPES)
    if form.ok:
        made = await visit.attempt(form, lambda work: make_token(work, name, scope))
        if not isinstance(made, Refusal):
            return await _page(visit, Form(), made=(name.lower(), made))
    return await _page(visit, form, status=422)


@routes.post("/tokens/{token_id}/revoke", Permission.OWN)
async def revoke(visit: Visit) -> web.StreamResponse:
    """Refuse it from now on."""
    form = await visit.form()
    if isinstance(
        await visit.attempt(form, lambda work: revoke_token(work, visit.path("token_id"))), Refusal
    ):
        raise missing()
    return visit.see("/tokens", "token_revoked")


async def _page(
    visit: Visit, form: Form, *, made: tuple[str, Secret] | None = None, status: int = 200
) -> web.Response:
    async with visit.reading() as connection:
        known = await token_rows.tokens(connection)
    shown = None if made is None else (made[0], made[1].reveal())
    return visit.page(
        "tokens.html", form=form, tokens=known, scopes=list(SCOPES.items()), made=shown, status=status
    )
