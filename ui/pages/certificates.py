"""Certificates for EAP-TLS and RadSec: the authority, what it issued, new ones, public files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from aaa.domain.certificate import PURPOSES, USES
from aaa.list_certificates import (
    CertificateLine,
    list_authorities,
    list_certificates,
)
from aaa.store.certificate_rows import certificate_row
from core.refusal import Refusal
from core.secrets import Secret
from core.work import Work
from ui.authority_files import authority_file
from ui.permissions import Permission
from ui.read import network, services
from ui.read.rows import EXPORT
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

if TYPE_CHECKING:
    from aaa.issue_certificate import Issued, Order

# The use cases that sign load a library of five megabytes: they are entered when they are asked for.

routes = Routes()

KEY_TYPES = {"p256": "P-256", "rsa2048": "RSA 2048", "rsa3072": "RSA 3072"}
FORMS = {"p12": "PKCS#12", "p12_old": "PKCS#12 for old devices", "pem": "PEM"}
REASONS = {
    "unspecified": "No reason given", "key_compromise": "The key may be in other hands",
    "superseded": "Another has taken its place", "cessation": "The line has ended",
    "affiliation_changed": "It is somebody else's now", "privilege_withdrawn": "The right is withdrawn",
}  # fmt: skip
_LARGEST_REQUEST = 64 * 1024
_LARGEST_CRL = 4 * 2**20


@routes.get("/certificates", Permission.LOOK)
async def certificates(visit: Visit) -> web.StreamResponse:
    """The authority and what it issued."""
    return await _list_page(visit, Form())


async def _list_page(visit: Visit, form: Form, status: int = 200) -> web.StreamResponse:
    purpose = visit.query("purpose")
    purpose = purpose if purpose in PURPOSES else ""
    past = visit.query("past") == "yes"
    async with visit.reading() as connection:
        rows = await list_certificates(
            connection, visit.panel.workplace.clock.now(), purpose=purpose or None, text=visit.query("text"),
            past=past, limit=EXPORT if visit.wants_csv else 200,
        )  # fmt: skip
        authorities = await list_authorities(connection)
    if visit.wants_csv:
        return csv_file("certificates", CertificateLine, rows)
    return visit.page(
        "certificates.html", certificates=rows, authorities=authorities, purpose=purpose, past=past,
        text=visit.query("text"), form=form, key_types=KEY_TYPES, reasons=REASONS, uses=USES, status=status,
    )  # fmt: skip


@routes.post("/certificates/authority", Permission.NETWORK)
async def make(visit: Visit) -> web.StreamResponse:
    """Make the authority, or another in its place."""
    from aaa.make_authority import make_authority

    form = await visit.form()
    asked: dict[str, Any] = {
        "name": form.text("name", longest=64), "key_type": form.choice("key_type", KEY_TYPES),
        "crl_base": form.optional("crl_base"), "replace": form.flag("replace"), "issuing": True,
    }  # fmt: skip

    async def act(work: Work) -> str | Refusal:
        from aaa.keep_certificates import keep_certificates

        made = await make_authority(work, visit.panel.sealer, **asked)
        if not isinstance(made, Refusal):
            await keep_certificates(work, visit.panel.sealer)
        return made

    if form.ok and not isinstance(await visit.attempt(form, act), Refusal):
        return visit.see("/certificates", "created")
    return await _list_page(visit, form, status=422)


@routes.post("/certificates/trust", Permission.NETWORK, largest_body=_LARGEST_CRL)
async def trust(visit: Visit) -> web.StreamResponse:
    """Trust an outside authority too."""
    from aaa.make_authority import trust_authority

    form = await visit.form()
    name = form.text("outside_name", longest=64)
    text = form.secret("certificate") or ""
    uses = [use for use in USES if form.flag(f"use_{use}")]
    if form.ok:
        made = await visit.attempt(
            form, lambda work: trust_authority(work, name=name, certificate=text.encode(), uses=uses)
        )
        if not isinstance(made, Refusal):
            return visit.see("/certificates", "created")
    return await _list_page(visit, form, status=422)


@routes.post("/certificates/authority/{authority_id}/distrust", Permission.NETWORK)
async def distrust(visit: Visit) -> web.StreamResponse:
    """Trust an authority no more."""
    from aaa.make_authority import distrust_authority

    form, authority_id = await visit.form(), visit.path("authority_id")
    done = await visit.attempt(form, lambda work: distrust_authority(work, authority=authority_id))
    if isinstance(done, Refusal):
        return await _list_page(visit, form, status=422)
    return visit.see("/certificates", "saved")


@routes.get("/certificates/new", Permission.NETWORK)
async def new(visit: Visit) -> web.StreamResponse:
    """The form for a certificate."""
    preset = {"purpose": visit.query("purpose", "client"), "service": visit.query("service")}
    return await _new_page(visit, Form(preset | {"nas_id": visit.query("nas"), "form": "p12"}))


async def _new_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        nases = [(one.id, one.name) for one in await network.list_nases(connection)]
        has_authority = any(one.issues for one in await list_authorities(connection))
    return visit.page(
        "certificate_new.html", form=form, nases=nases, key_types=KEY_TYPES, forms=FORMS,
        has_authority=has_authority, status=status,
    )  # fmt: skip


@routes.post("/certificates/new", Permission.NETWORK, largest_body=_LARGEST_REQUEST)
async def issue(visit: Visit) -> web.StreamResponse:
    """Issue a certificate; its key is in the answer and nowhere else."""
    form = await visit.form()
    purpose = form.choice("purpose", PURPOSES)
    handing = _Handing(form, own=purpose == "server")
    order = _order(form)
    if form.ok and order is not None:
        issued = await visit.attempt(form, lambda work: _issue(visit, work, form, purpose, order))
        if not isinstance(issued, Refusal):
            return visit.see("/certificates", "created") if purpose == "server" else handing.hand(issued)
    return await _new_page(visit, form, status=422)


async def _issue(visit: Visit, work: Work, form: Form, purpose: str, order: Order) -> Issued | Refusal:
    from aaa import issue_certificate as issuing

    sealer = visit.panel.sealer
    if purpose == "server":
        names = (form.value("names")).replace(",", " ").split()
        return await issuing.issue_server_certificate(work, sealer, names=names, order=order)
    if purpose == "nas":
        return await issuing.issue_nas_certificate(work, sealer, nas_id=form.value("nas_id"), order=order)
    found = await services.find_service(work.connection, form.value("service").strip())
    if found is None:
        return Refusal("service.unknown", "no service has this name, MAC, address or id", "service")
    return await issuing.issue_client_certificate(
        work, sealer, service_id=found, username=form.optional("username", longest=64), order=order
    )


def _order(form: Form) -> Order | None:
    from aaa.issue_certificate import Order

    days = form.optional_integer("days", least=1, most=3650)
    key_type = form.choice("key_type", KEY_TYPES)
    request = form.secret("request")
    return Order(days, key_type, request.encode() if request else None) if form.ok else None


class _Handing:
    """In which form a new key leaves, asked before anything is issued."""

    def __init__(self, form: Form, *, own: bool) -> None:
        self._form = "pem" if own or form.secret("request") else form.choice("form", FORMS)
        self._password: Secret | None = None
        if self._form != "pem":
            typed = form.secret("password")
            if typed is None or len(typed) < 8:
                form.blame("password", "is too short: the file holds a key; use 8 characters or more")
            else:
                self._password = Secret(typed)

    def hand(self, issued: Issued) -> web.Response:
        """The file, which no cache keeps."""
        if self._password is not None:
            content, media = (
                issued.bundle(self._password, old=self._form == "p12_old"),
                "application/x-pkcs12",
            )
        else:
            key = "" if issued.key is None else issued.key.reveal()
            content, media = (key + issued.certificate + issued.chain).encode(), "application/x-pem-file"
        safe = "".join(one if one.isalnum() or one in "-_." else "_" for one in issued.label)
        name = f"{safe}.{'pem' if self._password is None else 'p12'}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return web.Response(body=content, content_type=media, headers=headers)


@routes.get("/certificates/{certificate_id}", Permission.LOOK)
async def certificate(visit: Visit) -> web.StreamResponse:
    """One certificate: whose it is, renewing and revoking it."""
    return await _one_page(visit, Form())


async def _one_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        row = await certificate_row(connection, visit.path("certificate_id"))
        if row is None:
            raise missing()
        now = visit.panel.workplace.clock.now()
        found = await list_certificates(connection, now, text=row.serial, past=True)
    line = next(one for one in found if one.id == row.id)
    return visit.page(
        "certificate.html", one=line, pem=row.certificate, fingerprint=row.fingerprint, form=form,
        reasons=REASONS, forms=FORMS, key_types=KEY_TYPES, status=status,
    )  # fmt: skip


@routes.get("/certificates/{certificate_id}/download", Permission.LOOK)
async def download(visit: Visit) -> web.StreamResponse:
    """The certificate alone, as PEM."""
    async with visit.reading() as connection:
        row = await certificate_row(connection, visit.path("certificate_id"))
    if row is None:
        raise missing()
    headers = {"Content-Disposition": f'attachment; filename="{row.serial}.pem"'}
    return web.Response(text=row.certificate, content_type="application/x-pem-file", headers=headers)


@routes.post("/certificates/{certificate_id}/renew", Permission.NETWORK, largest_body=_LARGEST_REQUEST)
async def renew(visit: Visit) -> web.StreamResponse:
    """Another certificate for the same holder, the one before good for some days."""
    from aaa.issue_certificate import renew_certificate

    form, certificate_id = await visit.form(), visit.path("certificate_id")
    async with visit.reading() as connection:
        row = await certificate_row(connection, certificate_id)
    if row is None:
        raise missing()
    own = row.purpose == "server"
    handing, order = _Handing(form, own=own), _order(form)
    overlap = form.integer("overlap_days", least=0, most=365, default=30)
    if form.ok and order is not None:
        issued = await visit.attempt(
            form,
            lambda work: renew_certificate(
                work, visit.panel.sealer, certificate=certificate_id, order=order, overlap_days=overlap
            ),
        )
        if not isinstance(issued, Refusal):
            return visit.see("/certificates", "created") if own else handing.hand(issued)
    return await _one_page(visit, form, status=422)


@routes.post("/certificates/{certificate_id}/revoke", Permission.NETWORK)
async def revoke(visit: Visit) -> web.StreamResponse:
    """End a certificate at once."""
    from aaa.revoke_certificate import revoke_certificate

    form, certificate_id = await visit.form(), visit.path("certificate_id")
    reason = form.choice("reason", REASONS)
    if form.ok:
        done = await visit.attempt(
            form,
            lambda work: revoke_certificate(
                work, visit.panel.sealer, certificate=certificate_id, reason=reason
            ),
        )
        if not isinstance(done, Refusal):
            return visit.see(f"/certificates/{certificate_id}", "certificate_revoked")
    return await _one_page(visit, form, status=422)


@routes.get("/pki/{name}", Permission.PUBLIC, keeps_awake=False)
async def public(visit: Visit) -> web.StreamResponse:
    """What devices fetch without a sign-in: the authority's certificate and the CRLs."""
    found = await authority_file(visit.panel.workplace, visit.path("name"))
    if found is None:
        raise missing()
    return found
