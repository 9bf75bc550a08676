"""Text messages: what was sent, what waits and why, and the gateway that takes them."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from billing.delivery import act_on_texts
from billing.delivery.queue import KINDS
from billing.delivery.sms_gateway import BODY_KINDS, remove_sms_gateway, set_sms_gateway
from billing.store import sms_rows
from core.refusal import Refusal
from core.secrets import Secret
from ui.permissions import Permission
from ui.read import mail as mail_views
from ui.read.rows import EXPORT, PAGE
from ui.web.csv_files import csv_file
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()
STATES = {"": "All", "queued": "Waiting", "sent": "Sent", "failed": "Failed", "cancelled": "Cancelled"}


@routes.get("/mail/texts", Permission.LOOK)
async def texts(visit: Visit) -> web.StreamResponse:
    """Text messages, newest first."""
    state = visit.query("state") if visit.query("state") in STATES else ""
    before, account = visit.query("before"), visit.query("account")
    async with visit.reading() as connection:
        rows = await mail_views.list_texts(
            connection, state=state, account_id=account, before=before,
            limit=EXPORT if visit.wants_csv else PAGE + 1,
        )  # fmt: skip
        if visit.wants_csv:
            return csv_file("text-messages", mail_views.TextRow, rows)
        gateway = await sms_rows.find_gateway(connection)
    last = rows[PAGE - 1].id if len(rows) > PAGE else None
    return visit.page(
        "texts.html", messages=rows[:PAGE], states=STATES, state=state, account=account, before=last,
        first_page=not before, host=gateway and urlsplit(gateway.url).hostname, kinds=KINDS,
    )  # fmt: skip


@routes.post("/mail/texts/{message_id}/{act}", Permission.MONEY)
async def act_on_text(visit: Visit) -> web.StreamResponse:
    """Try again, or cancel."""
    form, message_id, act = await visit.form(), visit.path("message_id"), visit.path("act")
    if act not in {"retry", "cancel"}:
        raise missing()
    change = act_on_texts.try_again if act == "retry" else act_on_texts.cancel
    outcome = await visit.attempt(form, lambda work: change(work, message_id))
    if isinstance(outcome, Refusal) and outcome.code == "unknown_message":
        raise missing()
    return visit.see("/mail/texts", "as_before" if isinstance(outcome, Refusal) else "saved")


# The gateway


@routes.get("/mail/sms-gateway", Permission.MONEY)
async def gateway(visit: Visit) -> web.StreamResponse:
    """Who takes text messages."""
    return await _gateway_page(visit, None)


async def _gateway_page(visit: Visit, form: Form | None, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        found = await sms_rows.find_gateway(connection)
    stands = {"body_kind": "json", "body": "to={to}\ntext={text}", "auth_header": "Authorization"}
    if found is not None:
        fields = "\n".join(f"{name}={text}" for name, text in found.body.items())
        stands = {
            "url": found.url, "body_kind": found.body_kind, "body": fields, "auth_header": found.auth_header
        }  # fmt: skip
    return visit.page(
        "sms_gateway.html", form=form or Form(stands), gateway=found, body_kinds=_KIND_WORDS.items(),
        status=status,
    )  # fmt: skip


_KIND_WORDS = dict(zip(BODY_KINDS, ("JSON", "A form"), strict=True))


@routes.post("/mail/sms-gateway", Permission.MONEY)
async def save_gateway(visit: Visit) -> web.StreamResponse:
    """Hand text messages to this address from now on; words of one's own stay."""
    form = await visit.form()
    url, kind = form.text("url", longest=500), form.choice("body_kind", BODY_KINDS)
    header, secret = form.text("auth_header", longest=80), form.secret("auth")
    fields: dict[str, str] = {}
    for line in form.text("body", longest=4_000).splitlines():
        name, equals, text = line.strip().partition("=")
        if equals and name:
            fields[name] = text
        elif line.strip():
            form.blame("body", f"{line.strip()[:40]!r} is not written NAME=TEXT, such as to={{to}}")
    if form.ok:
        async with visit.reading() as connection:
            before = await sms_rows.find_gateway(connection)
        outcome = await visit.attempt(
            form,
            lambda work: set_sms_gateway(
                work, visit.panel.sealer, url=url, body=fields, body_kind=kind, auth_header=header,
                auth=None if secret is None else Secret(secret),
                texts=None if before is None else before.texts,
            ),
        )  # fmt: skip
        if not isinstance(outcome, Refusal):
            return visit.see("/mail/sms-gateway", "sms_gateway")
    return await _gateway_page(visit, form, status=422)


@routes.post("/mail/sms-gateway/remove", Permission.MONEY)
async def remove_gateway(visit: Visit) -> web.StreamResponse:
    """Send no text messages any more."""
    await visit.attempt(await visit.form(), remove_sms_gateway)
    return visit.see("/mail/sms-gateway", "saved")
