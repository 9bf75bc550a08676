"""Service profiles: what they say, their rules, and a look at what a NAS would be told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from aaa.domain.profile import STALE_ACTIONS, WHEN_BLOCKED
from aaa.domain.profile_rule import DIRECTIONS, PERIODS, Rule, check_hours, check_quota
from aaa.domain.profile_terms import BOUNDS, LONGEST
from aaa.set_profile_rule import remove_rule, set_rule
from aaa.set_up import define_profile, redefine_profile
from core.quantities import GB
from core.refusal import Refusal
from core.work import Work
from ui.permissions import Permission
from ui.read import network, profiles
from ui.read.profiles import ProfileView
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

_MBIT = 10**6
_LARGEST_MBIT = 1_000_000
_LARGEST_GB = 1_000_000
_RATES = {
    field: f"{field.removesuffix('_bps').removeprefix('rate_')}_mbit"
    for field in BOUNDS
    if field.endswith("_bps")
}
"""What the form calls each rate."""
_NUMBERS = [field for field in BOUNDS if field not in _RATES]
_LEAST_S = {"session_timeout_s": 60, "idle_timeout_s": 60}  # sooner is a slip of the pen here
BLOCKED_WORDS = {"": "As set for all", "reject": "No session", "walled_garden": "Walled garden"}
STALE_WORDS = {"walled_garden": "Walled garden", "reject": "Reject", "silent": "No answer"}
CROWDED_WORDS = {
    "": "As set for all", "newest": "The newest stays, an older one is disconnected",
    "oldest": "Those online stay, a newer one is refused", "unlimited": "Nobody counts",
}  # fmt: skip
RULE_EFFECTS = {"throttle": "Throttle", "walled_garden": "Walled garden"}


@routes.get("/profiles", Permission.LOOK)
async def show_all(visit: Visit) -> web.StreamResponse:
    """Service profiles."""
    async with visit.reading() as connection:
        rows = await network.list_profiles(connection)
    if visit.wants_csv:
        return csv_file("profiles", network.ProfileRow, rows)
    return visit.page("profiles.html", profiles=rows)


@routes.get("/profiles/new", Permission.NETWORK)
async def new(visit: Visit) -> web.StreamResponse:
    """The form for a service profile."""
    return _form_page(visit, Form({"interim_interval_s": "300"}), None)


@routes.post("/profiles/new", Permission.NETWORK)
async def create(visit: Visit) -> web.StreamResponse:
    """A new service profile."""
    form = await visit.form()
    asked = _read(form)
    if form.ok:
        made = await visit.attempt(form, lambda work: define_profile(work, **asked))
        if not isinstance(made, Refusal):
            return visit.see("/profiles", "created")
    return _form_page(visit, form, None, status=422)


def _read(form: Form) -> dict[str, Any]:
    """Every field, as the use cases call them."""
    asked: dict[str, Any] = {"name": form.text("name", longest=80)}
    for field, name in _RATES.items():
        required = field.startswith("rate_")
        asked[field] = form.scaled(name, _MBIT, most=_LARGEST_MBIT, required=required)
    for field in _NUMBERS:
        least, most = BOUNDS[field]
        if field == "interim_interval_s":
            asked[field] = form.integer(field, least=least, most=most, default=300)
        else:
            asked[field] = form.optional_integer(field, least=_LEAST_S.get(field, least), most=most)
    for field, longest in LONGEST.items():
        asked[field] = form.optional(field, longest=longest)
    chosen = form.value("when_blocked")
    asked["when_blocked"] = form.choice("when_blocked", ["", *WHEN_BLOCKED]) or None if chosen else None
    crowded = form.value("when_crowded")
    asked["when_crowded"] = form.choice("when_crowded", CROWDED_WORDS) or None if crowded else None
    stale = form.value("stale_action")
    asked["stale_action"] = form.choice("stale_action", ["", *STALE_ACTIONS]) or None if stale else None
    return asked


def _shown(found: ProfileView) -> dict[str, str]:
    shown = {"name": found.name}
    for field in ("when_blocked", "stale_action", "when_crowded"):
        shown[field] = found.fields[field] or ""
    for field, name in _RATES.items():
        bps = found.fields[field]
        shown[name] = "" if bps is None else f"{bps / _MBIT:.6f}".rstrip("0").rstrip(".")
    for field in (*_NUMBERS, *LONGEST):
        value = found.fields[field]
        shown[field] = "" if value is None else str(value)
    return shown


def _form_page(visit: Visit, form: Form, found: ProfileView | None, status: int = 200) -> web.Response:
    return visit.page(
        "profile_form.html", form=form, profile=found, blocked=BLOCKED_WORDS, stale_actions=STALE_WORDS,
        crowded=CROWDED_WORDS, status=status,
    )  # fmt: skip


@routes.get("/profiles/{profile_id}/edit", Permission.NETWORK)
async def edit(visit: Visit) -> web.StreamResponse:
    """The form with what stands now."""
    found = await _found(visit)
    return _form_page(visit, Form(_shown(found)), found)


@routes.post("/profiles/{profile_id}/edit", Permission.NETWORK)
async def save(visit: Visit) -> web.StreamResponse:
    """Give the profile other values; its live sessions are moved."""
    form, found = await visit.form(), await _found(visit)
    asked = _read(form)
    if form.ok:
        outcome = await visit.attempt(form, lambda work: redefine_profile(work, found.id, **asked))
        if not isinstance(outcome, Refusal):
            return visit.see(f"/profiles/{found.id}", "redefined" if outcome else "as_before")
    return _form_page(visit, form, found, status=422)


@routes.get("/profiles/{profile_id}", Permission.LOOK)
async def show(visit: Visit) -> web.StreamResponse:
    """One profile: what it says, its rules, its reply lines."""
    return await _page(visit, Form({"days": "mon-fri", "period": "month", "direction": "sum"}))


async def _found(visit: Visit) -> ProfileView:
    async with visit.reading() as connection:
        found = await profiles.profile_view(connection, visit.path("profile_id"))
    if found is None:
        raise missing()
    return found


async def _page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    found = await _found(visit)
    async with visit.reading() as connection:
        nases = await network.list_nases(connection)
    return visit.page(
        "profile.html", profile=found, form=form, nases=[(one.id, one.name) for one in nases],
        effects=RULE_EFFECTS, periods=PERIODS, directions=DIRECTIONS, blocked=BLOCKED_WORDS,
        stale_actions=STALE_WORDS, crowded=CROWDED_WORDS, zone=visit.panel.settings.time_zone, status=status,
    )  # fmt: skip


async def _change(
    visit: Visit, form: Form, notice: str, action: Callable[[Work], Awaitable[str | Refusal | None]]
) -> web.Response:
    if form.ok and not isinstance(await visit.attempt(form, action), Refusal):
        return visit.see(f"/profiles/{visit.path('profile_id')}", notice)
    return await _page(visit, form, status=422)


async def _save_rule(visit: Visit, form: Form, asked: Rule | Refusal | None) -> web.Response:
    profile_id = (await _found(visit)).id
    if isinstance(asked, Refusal):
        form.refuse(asked)
    if asked is None or isinstance(asked, Refusal):
        return await _page(visit, form, status=422)
    return await _change(visit, form, "rule", lambda work: set_rule(work, profile_id, asked))


@routes.post("/profiles/{profile_id}/hours", Permission.NETWORK)
async def save_hours(visit: Visit) -> web.StreamResponse:
    """A rule by the clock; one of the same name is replaced."""
    form = await visit.form()
    name, effect = form.text("name", longest=80), form.choice("effect", RULE_EFFECTS)
    days, begins, ends = (form.text(field, longest=40) for field in ("days", "begins", "ends"))
    asked = check_hours(name=name, effect=effect, days=days, begins=begins, ends=ends) if form.ok else None
    return await _save_rule(visit, form, asked)


@routes.post("/profiles/{profile_id}/quota", Permission.NETWORK)
async def save_quota(visit: Visit) -> web.StreamResponse:
    """A quota; one of the same name is replaced."""
    form = await visit.form()
    name, effect = form.text("name", longest=80), form.choice("effect", RULE_EFFECTS)
    octets = form.scaled("gb", GB, most=_LARGEST_GB) or 0
    period, direction = form.choice("period", PERIODS), form.choice("direction", DIRECTIONS)
    asked = None
    if form.ok:
        asked = check_quota(name=name, effect=effect, octets=octets, period=period, direction=direction)
    return await _save_rule(visit, form, asked)


@routes.post("/profiles/{profile_id}/rules/remove", Permission.NETWORK)
async def take_rule_away(visit: Visit) -> web.StreamResponse:
    """Take a rule away."""
    form, profile_id = await visit.form(), (await _found(visit)).id
    name = form.text("rule", longest=80)
    return await _change(visit, form, "rule_gone", lambda work: remove_rule(work, profile_id, name))
