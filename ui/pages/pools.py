"""Hilltop's own pools: how full they are, who has what and who had it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from aaa.define_pool import change_pool, define_pool, delete_pool
from aaa.domain.address_pool import KINDS, WHEN_FULL
from aaa.list_pools import PAGE, LeaseLine, PoolLine, leases_of_pool, list_pools, past_leases
from core.refusal import Refusal
from ui.permissions import Permission
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
WHERE = "/pools"
_EXPORTED = 100_000
_WHEN_FULL = {
    "reject": "Reject the sign-in",
    "nas_pool": "Send the pool's name, for a NAS that has such a pool",
}
_HOURS = 3_600


@routes.get(WHERE, Permission.LOOK)
async def pools(visit: Visit) -> web.StreamResponse:
    """All pools."""
    async with visit.reading() as connection:
        found = await list_pools(connection)
    if visit.wants_csv:
        return csv_file("pools", PoolLine, found)
    return visit.page("pools.html", pools=found, kinds=KINDS)


@routes.get(WHERE + "/new", Permission.NETWORK)
async def new_pool(visit: Visit) -> web.StreamResponse:
    """The form for a pool."""
    return _form_page(visit, Form({"kind": "ipv4", "rest_s": "900", "when_full": "reject"}), None)


@routes.post(WHERE + "/new", Permission.NETWORK)
async def create_pool(visit: Visit) -> web.StreamResponse:
    """A new pool."""
    form = await visit.form()
    asked = _read(form) | {
        "kind": form.choice("kind", KINDS),
        "length": form.optional_integer("length", least=1, most=128),
    }
    if form.ok:
        made = await visit.attempt(form, lambda work: define_pool(work, **asked))
        if not isinstance(made, Refusal):
            return visit.see(f"{WHERE}/{made}", "created")
    return _form_page(visit, form, None, status=422)


@routes.get(WHERE + "/{pool_id}", Permission.LOOK)
async def pool(visit: Visit) -> web.StreamResponse:
    """One pool: its use, who has what, who had it lately."""
    found = await _found(visit)
    after, online = visit.query("after"), visit.query("online") == "yes"
    limit = _EXPORTED if visit.wants_csv else PAGE
    async with visit.reading() as connection:
        leases = await leases_of_pool(connection, found.id, after=after, live=online, limit=limit)
        if visit.wants_csv:
            return csv_file("leases", LeaseLine, leases)
        past = await past_leases(connection, pool_id=found.id)
    following = leases[-1].first if len(leases) == PAGE else ""
    return visit.page(
        "pool.html", pool=found, leases=leases, past=past, kinds=KINDS, online=online, following=following,
        first_page=not after, form=Form(),
    )  # fmt: skip


@routes.get(WHERE + "/{pool_id}/edit", Permission.NETWORK)
async def edit_pool(visit: Visit) -> web.StreamResponse:
    """The form with what stands now."""
    found = await _found(visit)
    shown = {
        "name": found.name, "ranges": "\n".join(found.ranges), "excluded": "\n".join(found.excluded),
        "netmask_bits": str(found.netmask_bits or ""), "rest_s": str(found.rest_s),
        "keep_h": "" if found.keep_s is None else f"{found.keep_s / _HOURS:g}",
        "when_full": found.when_full, "draining": "yes" if found.draining else "",
    }  # fmt: skip
    return _form_page(visit, Form(shown), found)


@routes.post(WHERE + "/{pool_id}/edit", Permission.NETWORK)
async def save_pool(visit: Visit) -> web.StreamResponse:
    """Change a pool."""
    form, found = await visit.form(), await _found(visit)
    asked = _read(form) | {"draining": form.flag("draining")}
    if form.ok:
        done = await visit.attempt(form, lambda work: change_pool(work, found.id, **asked))
        if not isinstance(done, Refusal):
            return visit.see(f"{WHERE}/{found.id}", "saved")
    return _form_page(visit, form, found, status=422)


@routes.post(WHERE + "/{pool_id}/delete", Permission.NETWORK)
async def drop_pool(visit: Visit) -> web.StreamResponse:
    """Delete a pool that nobody is online with."""
    form, found = await visit.form(), await _found(visit)
    done = await visit.attempt(form, lambda work: delete_pool(work, found.id))
    if isinstance(done, Refusal):
        return _form_page(visit, form, found, status=422)
    return visit.see(WHERE, "saved")


async def _found(visit: Visit) -> PoolLine:
    async with visit.reading() as connection:
        known = await list_pools(connection)
    found = next((one for one in known if one.id == visit.path("pool_id")), None)
    if found is None:
        raise missing()
    return found


def _read(form: Form) -> dict[str, Any]:
    keep_h = form.optional_decimal("keep_h", least=0, most=8_760)
    return {
        "name": form.text("name", longest=80), "ranges": _lines(form.text("ranges", longest=4_000)),
        "excluded": _lines(form.optional("excluded", longest=12_000) or ""),
        "netmask_bits": form.optional_integer("netmask_bits", least=8, most=32),
        "keep_s": None if keep_h is None else round(keep_h * _HOURS),
        "rest_s": form.integer("rest_s", least=60, most=31_622_400, default=900),
        "when_full": form.choice("when_full", WHEN_FULL),
    }  # fmt: skip


def _lines(text: str) -> list[str]:
    return [one.strip() for one in text.replace(",", "\n").splitlines() if one.strip()]


def _form_page(visit: Visit, form: Form, found: PoolLine | None, status: int = 200) -> web.Response:
    return visit.page(
        "pool_form.html", form=form, pool=found, kinds=list(KINDS.items()),
        when_full=list(_WHEN_FULL.items()), status=status,
    )  # fmt: skip
