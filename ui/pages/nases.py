"""NASes: the list, a new one, changes, another secret; and what was refused on them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aiohttp import web

from aaa.domain import checks, identity
from aaa.domain.mac_convention import MAC_PRESETS
from aaa.lockouts import held_back, let_go
from aaa.rotate_secret import rotation_of
from aaa.set_up import change_nas, register_nas, retire_old_secret, rotate_secret
from core.refusal import Refusal
from core.secrets import Secret
from ui.permissions import Permission
from ui.read import network, services
from ui.read.network import NasRow
from ui.read.rows import EXPORT
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

DIALECTS = checks.DIALECTS
KEEP_OLD = {"1": "1 hour", "24": "24 hours", "72": "3 days", "168": "7 days", "720": "30 days"}
SIGNATURES = {"auto": "Learn (require once seen)", "require": "Require", "off": "Off"}
_MAC_WORDS = {
    "mikrotik": "As RouterOS sends it", "colon": "AA:BB:CC:DD:EE:FF", "hyphen": "AA-BB-CC-DD-EE-FF",
    "dotted": "aabb.ccdd.eeff", "plain": "aabbccddeeff",
}  # fmt: skip
MAC_FORMATS = {"none": "Not at all", "any": "In any way"} | {
    one: _MAC_WORDS[one] for one in identity.MAC_FORMATS if one in _MAC_WORDS
}
IDENTITIES = {
    "user_name": "User name", "circuit": "Line (option 82)", "port": "Port and VLANs (NAS-Port-Id)",
}  # fmt: skip
MAC_CASES = {"any": "Either", "upper": "AA", "lower": "aa"}
MAC_PASSWORDS = {
    "empty": "Empty", "mac": "The MAC again", "either": "Empty or the MAC again",
    "shared": "One that all its devices share", "any": "Any, it does not matter",
}  # fmt: skip
MAC_PRESET_NAMES = {"": "As chosen below"} | {
    name: preset.label for name, preset in MAC_PRESETS.items() if name != "none"
}


@routes.get("/nases", Permission.LOOK)
async def nases(visit: Visit) -> web.StreamResponse:
    """All NASes."""
    async with visit.reading() as connection:
        rows = await network.list_nases(connection)
    if visit.wants_csv:
        return csv_file("nases", network.NasRow, rows)
    return visit.page("nases.html", nases=rows)


@routes.get("/nases/new", Permission.NETWORK)
async def new_nas(visit: Visit) -> web.StreamResponse:
    """The form for a NAS."""
    preset = {"site_id": visit.query("tower"), "dynauth_port": "3799", "dialect": "mikrotik"} | {
        "mac_format": "none",
        "mac_password": "empty",
    }
    return await _form_page(visit, Form(preset), None)


@routes.post("/nases/new", Permission.NETWORK)
async def create_nas(visit: Visit) -> web.StreamResponse:
    """A new NAS; its secret is sealed before it is stored."""
    form = await visit.form()
    asked, secret = await _read(visit, form), _read_secret(form)
    if form.ok and secret:
        made = await visit.attempt(
            form, lambda work: register_nas(work, visit.panel.sealer, secret=secret, **asked)
        )
        if not isinstance(made, Refusal):
            return visit.see("/nases", "created")
    return await _form_page(visit, form, None, status=422)


@routes.get("/nases/{nas_id}/edit", Permission.NETWORK)
async def edit_nas(visit: Visit) -> web.StreamResponse:
    """The form with what stands now."""
    found = await _found(visit)
    return await _form_page(visit, Form(_shown(found)), found)


def _shown(found: NasRow) -> dict[str, str]:
    return {
        "name": found.name, "network": found.network, "dialect": found.dialect,
        "site_id": found.site_id or "", "identifier": found.identifier,
        "message_authenticator": found.message_authenticator, "mac_format": found.mac_format,
        "identity": found.identity,
        "mac_case": found.mac_case, "mac_password": found.mac_password,
        "dynauth_port": str(found.dynauth_port), "octets_reversed": "yes" if found.octets_reversed else "",
        "admin_logins": "yes" if found.admin_logins else "",
        "enabled": "yes" if found.enabled else "", "radsec_identity": found.radsec_identity,
    }  # fmt: skip


@routes.post("/nases/{nas_id}/edit", Permission.NETWORK)
async def save_nas(visit: Visit) -> web.StreamResponse:
    """Save the fields; RADIUS knows them within a second."""
    form, found = await visit.form(), await _found(visit)
    asked = await _read(visit, form) | {"enabled": form.flag("enabled")}
    if form.ok:
        outcome = await visit.attempt(
            form, lambda work: change_nas(work, visit.panel.sealer, found.id, **asked)
        )
        if not isinstance(outcome, Refusal):
            return visit.see("/nases", "saved")
    return await _form_page(visit, form, found, status=422)


@routes.post("/nases/{nas_id}/rotate", Permission.NETWORK)
async def rotate(visit: Visit) -> web.StreamResponse:
    """A new random secret, shown once, while the old one still counts."""
    form, found = await visit.form(), await _found(visit)
    hours = form.choice("keep_old", KEEP_OLD)
    if form.ok:
        outcome = await visit.attempt(
            form,
            lambda work: rotate_secret(
                work, visit.panel.sealer, found.id, keep_old=timedelta(hours=int(hours))
            ),
        )
        if not isinstance(outcome, Refusal):
            return await _form_page(visit, Form(_shown(found)), found, issued=outcome)
    return await _form_page(visit, form.over(_shown(found)), found, status=422)


@routes.post("/nases/{nas_id}/retire", Permission.NETWORK)
async def retire(visit: Visit) -> web.StreamResponse:
    """The old secret ends now."""
    form, found = await visit.form(), await _found(visit)
    outcome = await visit.attempt(form, lambda work: retire_old_secret(work, found.id))
    if isinstance(outcome, Refusal):
        return await _form_page(visit, form.over(_shown(found)), found, status=422)
    return visit.see(f"/nases/{found.id}/edit", "saved")


@routes.post("/nases/{nas_id}/secret", Permission.NETWORK)
async def replace_secret(visit: Visit) -> web.StreamResponse:
    """Another RADIUS secret: from the next second on, requests signed with the old one get silence."""
    form, found = await visit.form(), await _found(visit)
    secret = _read_secret(form)
    if secret:
        outcome = await visit.attempt(
            form, lambda work: change_nas(work, visit.panel.sealer, found.id, secret=secret)
        )
        if not isinstance(outcome, Refusal):
            return visit.see("/nases", "nas_secret")
    return await _form_page(visit, form.over(_shown(found)), found, status=422)


async def _found(visit: Visit) -> NasRow:
    async with visit.reading() as connection:
        rows = await network.list_nases(connection)
    found = next((one for one in rows if one.id == visit.path("nas_id")), None)
    if found is None:
        raise missing()
    return found


async def _read(visit: Visit, form: Form) -> dict[str, Any]:
    async with visit.reading() as connection:
        sites = [one for one, _ in await network.list_sites(connection)]
    return {
        "name": form.text("name", longest=80), "network": form.text("network", longest=64),
        "dialect": form.choice("dialect", DIALECTS), "identifier": form.optional("identifier", longest=253),
        "message_authenticator": form.choice("message_authenticator", SIGNATURES),
        "identity": form.choice("identity", IDENTITIES), **_read_macs(form),
        "site_id": form.choice("site_id", ["", *sites]) or None,
        "octets_reversed": form.flag("octets_reversed"), "admin_logins": form.flag("admin_logins"),
        "radsec_identity": form.optional("radsec_identity", longest=253),
        "dynauth_port": form.integer("dynauth_port", least=1, most=65_535, default=3_799),
    }  # fmt: skip


def _read_macs(form: Form) -> dict[str, Any]:
    """A preset counts before the fields below it."""
    shared = form.secret("mac_shared_password")
    given = {} if shared is None else {"mac_shared_password": Secret(shared)}
    preset = form.choice("mac_preset", MAC_PRESET_NAMES)
    if preset:
        return given | {"mac_preset": preset}
    return given | {
        "mac_format": form.choice("mac_format", MAC_FORMATS),
        "mac_case": form.choice("mac_case", MAC_CASES),
        "mac_password": form.choice("mac_password", MAC_PASSWORDS),
    }


def _read_secret(form: Form) -> Secret | None:
    typed = form.secret("secret")
    if typed is None:
        form.blame("secret", "is missing: type the secret that the NAS has")
    return Secret(typed) if typed else None


async def _form_page(
    visit: Visit, form: Form, found: NasRow | None, status: int = 200, issued: Secret | None = None
) -> web.Response:
    async with visit.reading() as connection:
        sites = await network.list_sites(connection)
        rotation = await rotation_of(connection, found.id) if found else None
    return visit.page(
        "nas_form.html", form=form, nas=found, sites=sites, dialects=DIALECTS, signatures=SIGNATURES,
        mac_formats=MAC_FORMATS, mac_cases=MAC_CASES, mac_passwords=MAC_PASSWORDS,
        mac_presets=MAC_PRESET_NAMES, identities=IDENTITIES, status=status, keep_old=KEEP_OLD,
        rotation=rotation,
        issued=issued.reveal() if issued else None,
    )  # fmt: skip


@routes.get("/rejects", Permission.LOOK)
async def rejects(visit: Visit) -> web.StreamResponse:
    """Refused sign-ins with their reasons."""
    async with visit.reading() as connection:
        rows = await services.recent_rejects(connection, EXPORT if visit.wants_csv else 200)
        held = await held_back(connection, visit.panel.workplace.clock.now())
    if visit.wants_csv:
        return csv_file("rejects", services.RejectRow, rows)
    return visit.page("rejects.html", rejects=rows, held=held)


@routes.post("/rejects/let-go", Permission.SUBSCRIBERS)
async def let_one_go(visit: Visit) -> web.StreamResponse:
    """Look at the next password of a login that is held back; one that is over already stays over."""
    form = await visit.form()
    identity, nas_id = form.text("identity", longest=253), form.text("nas_id", longest=40)
    if not form.ok:
        raise missing()
    await visit.attempt(form, lambda work: let_go(work, identity, nas_id))
    return visit.see("/rejects", "let_go")
