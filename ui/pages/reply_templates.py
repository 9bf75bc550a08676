"""The operator's own reply lines, and exactly what a reply would carry."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain import checks
from aaa.domain.effect import Effect
from aaa.domain.reply_template import ReplyTemplate, scope_of
from aaa.live_scope import LiveScope, count_live_sessions
from aaa.set_reply_template import set_reply_template
from core.refusal import Refusal
from ui.permissions import Permission
from ui.ports import ReapplyQuestion, ReplyPreview, ReplyQuestion
from ui.read import network, profiles, services
from ui.web.csv_files import csv_file
from ui.web.forms import LONGEST_FIELD, Form
from ui.web.visit import Routes, Visit

routes = Routes()

_EFFECTS = {
    "": "As it is now", "none": "Nothing held", "throttle": "Throttled", "walled_garden": "Walled garden",
    "block": "Blocked",
}  # fmt: skip
_AT_ONCE = 100
_OUTCOME_WORDS = {
    "moved": "Took it", "nothing_live": "Gone", "refused": "Refused", "silent": "No answer",
    "not_asked": "Not asked",
}  # fmt: skip
_OUTCOME_TONES = {
    "moved": "verified", "nothing_live": "ended", "refused": "failed", "silent": "silent",
    "not_asked": "waiting",
}  # fmt: skip
Scope = tuple[str | None, str | None, str | None]
"""Profile, NAS, dialect; None is any."""


@routes.get("/templates", Permission.LOOK)
async def show_all(visit: Visit) -> web.StreamResponse:
    """All reply lines, in the order of application."""
    async with visit.reading() as connection:
        rows = await profiles.list_templates(connection)
    if visit.wants_csv:
        return csv_file("reply-templates", profiles.TemplateRow, rows)
    refusals = ((one.scope, visit.panel.acts.check_reply_lines(one.lines)) for one in rows)
    unusable = {scope: refusal.message for scope, refusal in refusals if refusal is not None}
    return visit.page("reply_templates.html", templates=rows, dialects=checks.DIALECTS, unusable=unusable)


@routes.get("/templates/edit", Permission.NETWORK)
async def edit(visit: Visit) -> web.StreamResponse:
    """The lines of one scope, or the form for new ones."""
    scope = visit.query("profile") or None, visit.query("nas") or None, visit.query("dialect") or None
    async with visit.reading() as connection:
        stands = await _lines_of(connection, scope)
    shown = {
        "profile_id": scope[0] or "", "nas_id": scope[1] or "", "dialect": scope[2] or "", "lines": stands
    }  # fmt: skip
    return await _page(visit, Form(shown))


async def _lines_of(connection: AsyncConnection, scope: Scope) -> str:
    key = scope_of(*scope)
    found = (one.lines for one in await profiles.list_templates(connection) if one.scope == key)
    return next(found, "")


@routes.post("/templates/edit", Permission.NETWORK)
async def save(visit: Visit) -> web.StreamResponse:
    """Save the lines, or look at what they would make of a reply first."""
    form = await visit.form()
    profile_id, nas_id, dialect = await _read_scope(visit, form)
    lines = form.optional("lines", longest=LONGEST_FIELD) or ""
    if not form.ok:
        return await _page(visit, form, status=422)
    if form.value("act") == "preview":
        return await _previewed(visit, form, (profile_id, nas_id, dialect), lines)
    acts = visit.panel.acts
    outcome = await visit.attempt(
        form,
        lambda work: set_reply_template(
            work, acts.check_reply_lines, lines=lines, profile_id=profile_id, nas_id=nas_id, dialect=dialect
        ),
    )
    if isinstance(outcome, Refusal):
        return await _page(visit, form, status=422)
    return visit.see("/templates", "template" if lines.strip() else "template_gone")


async def _read_scope(visit: Visit, form: Form) -> Scope:
    async with visit.reading() as connection:
        known = [one.id for one in await network.list_profiles(connection)]
        nases = [one.id for one in await network.list_nases(connection)]
    return (
        form.choice("profile_id", ["", *known]) or None,
        form.choice("nas_id", ["", *nases]) or None,
        form.choice("dialect", ["", *checks.DIALECTS]) or None,
    )


async def _previewed(visit: Visit, form: Form, scope: Scope, lines: str) -> web.Response:
    refusal = visit.panel.acts.check_reply_lines(lines)
    if refusal is not None:
        form.refuse(refusal)
        return await _page(visit, form, status=422)
    question = ReplyQuestion(
        nas_id=scope[1] or form.value("on_nas"), profile_id=scope[0] or form.value("on_profile"),
        effect=form.value("on_effect") if form.value("on_effect") in _EFFECTS else "",
        draft=lines, scope=scope,
    )  # fmt: skip
    async with visit.reading() as connection:
        found = await visit.panel.acts.preview_reply(connection, question)
    if isinstance(found, Refusal):
        form.refuse(Refusal(found.code, found.message, f"on_{found.field}"))
        return await _page(visit, form, status=422)
    return await _page(visit, form, found)


async def _page(
    visit: Visit, form: Form, found: ReplyPreview | None = None, status: int = 200
) -> web.Response:
    async with visit.reading() as connection:
        known = [(one.id, one.name) for one in await network.list_profiles(connection)]
        nases = [(one.id, one.name) for one in await network.list_nases(connection)]
    return visit.page(
        "reply_template.html", form=form, profiles=known, nases=nases, dialects=checks.DIALECTS,
        effects=_EFFECTS, placeholders=visit.panel.acts.placeholders(), preview=found, status=status,
    )  # fmt: skip


@routes.get("/templates/apply", Permission.NETWORK)
async def show_apply(visit: Visit) -> web.StreamResponse:
    """How many live sessions a template concerns, and the button that tells them."""
    asked = {
        "profile_id": visit.query("profile"),
        "nas_id": visit.query("nas"),
        "dialect": visit.query("dialect"),
    }
    return await _apply_page(visit, Form(asked))


@routes.post("/templates/apply", Permission.NETWORK)
async def apply(visit: Visit) -> web.StreamResponse:
    """Tell the next live sessions, and show what became of each."""
    form = await visit.form()
    return await _apply_page(visit, form, act=True)


async def _apply_page(visit: Visit, form: Form, *, act: bool = False) -> web.Response:
    profile_id, nas_id, dialect = await _read_scope(visit, form)
    scope, after, page = LiveScope(profile_id, nas_id, dialect), form.value("after"), None
    if act and form.ok:
        question = ReapplyQuestion(scope, f"operator:{visit.operator.name}", after, _AT_ONCE)
        page = await visit.panel.acts.reapply_sessions(visit.panel.workplace, question)
        after = page.next_after or ""
    async with visit.reading() as connection:
        left = page.left if page else await count_live_sessions(connection, scope, after) if form.ok else 0
        names = {one.id: one.name for one in await network.list_profiles(connection)}
        names |= {one.id: one.name for one in await network.list_nases(connection)}
    words = ReplyTemplate(
        "", profile_id, nas_id, dialect, "", names.get(profile_id or "", ""), names.get(nas_id or "", "")
    )
    return visit.page(
        "template_apply.html", form=form, scope=asdict(scope), words=str(words), page=page, left=left,
        after=after, at_once=_AT_ONCE, counts=Counter(one.outcome for one in page.sessions) if page else {},
        outcome_words=_OUTCOME_WORDS, tones=_OUTCOME_TONES, status=200 if form.ok else 422,
    )  # fmt: skip


@routes.get("/preview", Permission.LOOK)
async def preview(visit: Visit) -> web.StreamResponse:
    """What an Accept and a CoA would carry for a profile or a service on a NAS."""
    asked = {name: visit.query(name) for name in ("nas", "profile", "service", "effect")}
    form = Form(asked)
    async with visit.reading() as connection:
        known = [(one.id, one.name) for one in await network.list_profiles(connection)]
        nases = [(one.id, one.name) for one in await network.list_nases(connection)]
        found = await _answer(visit, connection, form) if asked["nas"] else None
    if isinstance(found, Refusal):
        form.refuse(found)
        found = None
    return visit.page(
        "reply_preview.html", form=form, profiles=known, nases=nases, effects=_EFFECTS, preview=found,
        status=422 if form.faults else 200,
    )  # fmt: skip


async def _answer(visit: Visit, connection: AsyncConnection, form: Form) -> ReplyPreview | Refusal:
    effect, asked = form.value("effect"), form.value("service")
    service_id = await services.find_service(connection, asked) if asked else None
    if asked and service_id is None:
        return Refusal(
            "service.unknown", f"nobody signs in as {asked}; give a user name, a MAC or an address", "service"
        )
    if service_id is None and not form.value("profile"):
        return Refusal("profile.missing", "choose a profile, or name a subscriber's login", "profile")
    if effect not in {"", *Effect}:
        return Refusal("effect.unknown", "choose one of the effects", "effect")
    question = ReplyQuestion(
        nas_id=form.value("nas"), profile_id=form.value("profile") or None, service_id=service_id,
        effect=effect,
    )  # fmt: skip
    return await visit.panel.acts.preview_reply(connection, question)
