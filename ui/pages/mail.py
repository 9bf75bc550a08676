"""Mail: what was sent, what waits and why, addresses that bounced, the server, and the words."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from billing.delivery import act_on_messages, message_text
from billing.delivery.compose import template_in_force
from billing.delivery.mail_server import SECURITY, find_mail_server, remove_mail_server, set_mail_server
from billing.delivery.message_text import MessageTemplate, check_template
from billing.delivery.queue import KINDS, queue_message
from billing.documents.keep_look import find_look
from billing.documents.words import LANGUAGES, Words
from billing.store import mail_rows
from core.refusal import Refusal
from core.secrets import Secret
from core.work import Work
from ui.permissions import Permission
from ui.read import mail as mail_views
from ui.read.rows import EXPORT, PAGE
from ui.web.csv_files import csv_file
from ui.web.documents import html_document
from ui.web.forms import Form
from ui.web.visit import Routes, Visit, missing

routes = Routes()

STATES = {
    "": "All", "queued": "Waiting", "sent": "Sent", "failed": "Failed", "bounced": "Bounced",
    "cancelled": "Cancelled",
}  # fmt: skip
CHANNELS = {"": "Mail and letters", "email": "Mail", "letter": "Letters"}
LANGUAGE_NAMES = {"en": "English", "de": "German", "es": "Spanish", "fr": "French", "pt": "Portuguese"}


@routes.get("/mail", Permission.LOOK)
async def outbox(visit: Visit) -> web.StreamResponse:
    """Messages, newest first."""
    state = visit.query("state") if visit.query("state") in STATES else ""
    channel = visit.query("channel") if visit.query("channel") in CHANNELS else ""
    before, account = visit.query("before"), visit.query("account")
    async with visit.reading() as connection:
        rows = await mail_views.list_messages(
            connection, state=state, channel=channel, account_id=account, before=before,
            limit=EXPORT if visit.wants_csv else PAGE + 1,
        )  # fmt: skip
        if visit.wants_csv:
            return csv_file("messages", mail_views.MessageRow, rows)
        counts = await mail_rows.counts(connection)
        server = await find_mail_server(connection)
        dead = await mail_rows.dead_addresses(connection)
        waiting = [one.id for one in await mail_rows.letters(connection, 500)]
    last = rows[PAGE - 1].id if len(rows) > PAGE else None
    return visit.page(
        "mail.html", messages=rows[:PAGE], states=STATES, channels=CHANNELS, state=state, channel=channel,
        account=account, before=last, first_page=not before, counts=counts, server=server, dead=dead,
        waiting=waiting, kinds=KINDS,
    )  # fmt: skip


@routes.post("/mail/messages/{message_id}/{act}", Permission.MONEY)
async def act_on_message(visit: Visit) -> web.StreamResponse:
    """Try again, or cancel."""
    form, message_id, act = await visit.form(), visit.path("message_id"), visit.path("act")
    if act not in {"retry", "cancel"}:
        raise missing()
    change = act_on_messages.try_again if act == "retry" else act_on_messages.cancel
    outcome = await visit.attempt(form, lambda work: change(work, message_id))
    if isinstance(outcome, Refusal) and outcome.code == "unknown_message":
        raise missing()
    return visit.see("/mail", "as_before" if isinstance(outcome, Refusal) else "saved")


@routes.post("/mail/addresses", Permission.MONEY)
async def let_go(visit: Visit) -> web.StreamResponse:
    """Mail to an address again."""
    form = await visit.form()
    address = form.text("address", longest=254)
    outcome = await visit.attempt(form, lambda work: act_on_messages.let_address_go(work, address))
    return visit.see("/mail", "as_before" if isinstance(outcome, Refusal) else "saved")


# The server


@routes.get("/mail/server", Permission.MONEY)
async def server(visit: Visit) -> web.StreamResponse:
    """How mail is sent."""
    return await _server_page(visit, None)


async def _server_page(visit: Visit, form: Form | None, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        found = await find_mail_server(connection)
    stands = {"port": "587", "security": "starttls", "per_minute": "60"}
    stands |= {f"kind_{name}": "yes" for name in (found.kinds if found else KINDS)}
    if found:
        names = ("host", "port", "security", "username", "from_address", "from_name", "reply_to",
                 "bounce_address", "per_minute")  # fmt: skip
        stands |= {name: str(getattr(found, name) or "") for name in names}
    return visit.page(
        "mail_server.html", form=form or Form(stands), server=found, security=SECURITY, kinds=KINDS,
        status=status,
    )  # fmt: skip


@routes.post("/mail/server", Permission.MONEY)
async def save_server(visit: Visit) -> web.StreamResponse:
    """Send mail through this server from now on."""
    form = await visit.form()
    password = form.secret("password")
    asked: dict[str, Any] = {
        "host": form.text("host", longest=253), "port": form.integer("port", least=1, most=65_535),
        "security": form.choice("security", SECURITY), "username": form.optional("username", longest=254),
        "from_address": form.text("from_address", longest=254),
        "from_name": form.text("from_name", longest=120),
        "reply_to": form.optional("reply_to", longest=254),
        "bounce_address": form.optional("bounce_address", longest=254),
        "per_minute": form.integer("per_minute", least=1, most=10_000),
        "kinds": [name for name in KINDS if form.flag(f"kind_{name}")],
    }  # fmt: skip
    if form.ok:
        secret = None if password is None else Secret(password)
        outcome = await visit.attempt(
            form, lambda work: set_mail_server(work, visit.panel.sealer, password=secret, **asked)
        )  # fmt: skip
        if not isinstance(outcome, Refusal):
            return visit.see("/mail/server", "mail_server")
    return await _server_page(visit, form, status=422)


@routes.post("/mail/server/remove", Permission.MONEY)
async def remove_server(visit: Visit) -> web.StreamResponse:
    """Send nothing any more."""
    form = await visit.form()

    async def remove(work: Work) -> bool:
        return await remove_mail_server(work)

    await visit.attempt(form, remove)
    return visit.see("/mail/server", "saved")


@routes.post("/mail/server/test", Permission.MONEY)
async def send_test(visit: Visit) -> web.StreamResponse:
    """A test message to an account's address."""
    form = await visit.form()
    account = form.text("account", longest=60)

    async def queue(work: Work) -> str | Refusal:
        made = await queue_message(
            work, source=f"test:{work.ids.new('try')}", account_id=account, template="test", params={}
        )  # fmt: skip
        words = "there is no such account, it has no e-mail address, or test messages are switched off"
        return made or Refusal("mail.nobody", words, "account")

    if form.ok:
        outcome = await visit.attempt(form, queue)
        if not isinstance(outcome, Refusal):
            return visit.see("/mail", "mail_queued")
    async with visit.reading() as connection:
        found = await find_mail_server(connection)
    if found is None:
        return visit.see("/mail/server", "as_before")
    return await _server_page(visit, None, status=422)


# The words


@routes.get("/mail/templates", Permission.LOOK)
async def templates(visit: Visit) -> web.StreamResponse:
    """Every message, and in which languages its words are the house's own."""
    async with visit.reading() as connection:
        own = {(one.name, one.language) for one in await mail_rows.templates(connection)}
    extra = sorted({name for name, _ in own} - KINDS.keys())
    names = {**KINDS, **dict.fromkeys(extra, "Your own")}
    return visit.page("mail_templates.html", names=names, languages=LANGUAGE_NAMES, own=own)


@routes.get("/mail/templates/{name}/{language}", Permission.LOOK)
async def template(visit: Visit) -> web.StreamResponse:
    """The words of one message in one language."""
    name, language = visit.path("name"), visit.path("language")
    async with visit.reading() as connection:
        found = await template_in_force(connection, name, language) if language in LANGUAGES else None
    if language not in LANGUAGES or not name.isidentifier():
        raise missing()
    found = found or message_text.built_in(language)["reminder_1"]
    form = Form({"subject": found.subject, "body": found.body, "html": found.html or ""})
    return await _template_page(visit, form)


async def _template_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    name, language = visit.path("name"), visit.path("language")
    source = MessageTemplate(form.value("subject"), form.value("body"), form.value("html") or None)
    async with visit.reading() as connection:
        look = await find_look(connection, visit.panel.billing)
        own = await mail_rows.find_template(connection, name, language)
    shown = check_template(source, look, language)
    if isinstance(shown, Refusal):
        form.refuse(shown)
    values = sorted(message_text.sample_values(Words(language)))
    return visit.page(
        "mail_template.html", name=name, what=KINDS.get(name, "Your own"), language=language, form=form,
        languages=LANGUAGE_NAMES, is_own=own is not None, values=values,
        shown=None if isinstance(shown, Refusal) else shown, status=status,
    )  # fmt: skip


@routes.post("/mail/templates/{name}/{language}", Permission.MONEY)
async def save_template(visit: Visit) -> web.StreamResponse:
    """Use these words from now on, look at them, or take the built-in ones again."""
    name, language, form = visit.path("name"), visit.path("language"), await visit.form()
    if language not in LANGUAGES:
        raise missing()
    here = f"/mail/templates/{name}/{language}"
    if form.value("act") == "reset":
        await visit.attempt(form, lambda work: act_on_messages.reset_message_template(work, name, language))
        return visit.see(here, "saved")
    source = MessageTemplate(
        " ".join(form.value("subject").split()), form.value("body").replace("\r\n", "\n"),
        form.value("html").replace("\r\n", "\n").strip() or None,
    )  # fmt: skip
    if form.value("act") == "preview":
        return await _template_page(visit, form)
    outcome = await visit.attempt(
        form,
        lambda work: act_on_messages.set_message_template(work, visit.panel.billing, name, language, source),
    )
    if isinstance(outcome, Refusal):
        return await _template_page(visit, form, status=422)
    return visit.see(here, "saved")


@routes.get("/mail/templates/{name}/{language}/html", Permission.LOOK)
async def preview_html(visit: Visit) -> web.StreamResponse:
    """The HTML of a message with made-up values, as a mail program shows it."""
    name, language = visit.path("name"), visit.path("language")
    if language not in LANGUAGES:
        raise missing()
    async with visit.reading() as connection:
        look = await find_look(connection, visit.panel.billing)
        found = await template_in_force(connection, name, language)
    shown = check_template(found, look, language) if found else None
    if shown is None or isinstance(shown, Refusal):
        raise missing()
    return html_document(shown.html, inline_styles=True)
