"""The list of subscribers, a new one, and many at once from a file."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from aiohttp import web

from aaa.set_up import NewCredential, create_service
from billing.set_up import open_account, subscribe
from core.periods import local_date
from core.refusal import Refusal, granted
from core.secrets import Secret, random_password
from core.work import Work
from provisioning.set_up import add_enforcement_point
from ui.permissions import Permission
from ui.ports import ImportReport, ImportSubscribers
from ui.read import money, network
from ui.read.subscribers import FILTERS, SubscriberRow, every_subscriber, list_subscribers
from ui.web.csv_files import csv_stream
from ui.web.forms import Form
from ui.web.visit import Routes, Visit

routes = Routes()

_IMPORT_BODY = 8 * 2**20


@routes.get("/subscribers", Permission.LOOK)
async def show(visit: Visit) -> web.StreamResponse:
    """Search and filter; htmx asks for the rows alone."""
    search, status, after = visit.query("q"), visit.query("status"), visit.query("after")
    status = status if status in FILTERS else ""
    panel = visit.panel
    today = local_date(panel.workplace.clock.now(), panel.settings.time_zone)
    if visit.wants_csv:
        pages = every_subscriber(panel.workplace, search=search, status=status, today=today)
        return await csv_stream(visit.request, "subscribers", SubscriberRow, pages)
    async with visit.reading() as connection:
        page = await list_subscribers(connection, search=search, status=status, today=today, after=after)
    following = {"q": search, "status": status, "after": page.next_after or ""}
    return visit.page(
        "subscribers_rows.html" if visit.wants_fragment else "subscribers.html",
        rows=page.rows, search=search, chosen=status, filters=FILTERS,
        next_page=f"/subscribers?{urlencode(following)}" if page.next_after else None,
        first_page=not after,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewSubscriber:
    """What the form for a new subscriber says."""

    account: dict[str, object]
    label: str
    credential: NewCredential
    generated: bool
    framed_ip: str | None
    plan_version_id: str
    profile_id: str
    device_ids: tuple[str, ...]


@routes.get("/subscribers/new", Permission.SUBSCRIBERS)
async def show_new(visit: Visit) -> web.StreamResponse:
    """The form."""
    return await _new_page(visit, Form({"country": "US", "anchor_day": "1", "kind": "pppoe"}))


@routes.post("/subscribers/new", Permission.SUBSCRIBERS)
async def create(visit: Visit) -> web.StreamResponse:
    """Account, service, subscription and enforcement point, all of them or none."""
    form = await visit.form()
    async with visit.reading() as connection:
        plans = {row.id: row for row in await money.list_plans(connection)}
    asked = _read_new(form, {identity: row.profile_id for identity, row in plans.items()})
    if not form.ok:
        return await _new_page(visit, form, status=422)
    plan = plans[asked.plan_version_id]
    asked.account["currency"] = plan.currency
    account_id = await visit.attempt(form, lambda work: _create(work, visit, asked))
    if isinstance(account_id, Refusal):
        return await _new_page(visit, form, status=422)
    if asked.generated and asked.credential.password:
        return visit.page(
            "subscriber_created.html", account_id=account_id, username=asked.credential.username,
            password=asked.credential.password.reveal(),
        )  # fmt: skip
    return visit.see(f"/subscribers/{account_id}", "created")


async def _create(work: Work, visit: Visit, asked: NewSubscriber) -> str | Refusal:
    account_id = granted(await open_account(work, **asked.account))  # type: ignore[arg-type]
    service_id = granted(
        await create_service(
            work, visit.panel.sealer, account_id=account_id, label=asked.label, profile_id=asked.profile_id,
            credentials=[asked.credential], framed_ip=asked.framed_ip,
        )
    )  # fmt: skip
    granted(
        await subscribe(
            work,
            account_id=account_id,
            service_id=service_id,
            plan_version_id=asked.plan_version_id,
            starts_on=None,
        )
    )
    for device_id in asked.device_ids:
        granted(await add_enforcement_point(work, service_id=service_id, device_id=device_id))
    return account_id


def _read_new(form: Form, profiles: dict[str, str]) -> NewSubscriber:
    plan_version_id = form.choice("plan_version_id", profiles)
    credential, generated = _read_credential(form)
    device_id = form.optional("device_id")
    return NewSubscriber(
        account={
            "name": form.text("name", longest=160), "number": form.optional("number", longest=40),
            "email": form.optional("email", longest=254), "phone": form.optional("phone", longest=40),
            "street": form.optional("street"), "city": form.optional("city", longest=100),
            "region": form.optional("region", longest=40),
            "postal_code": form.optional("postal_code", longest=20),
            "country": (form.optional("country", longest=2) or "US").upper(),
            "time_zone": form.text("time_zone", longest=64),
            "anchor_day": form.integer("anchor_day", least=1, most=31, default=1),
        },
        label=form.text("label", longest=120), credential=credential, generated=generated,
        framed_ip=form.optional("framed_ip", longest=45), plan_version_id=plan_version_id,
        profile_id=profiles.get(plan_version_id, ""), device_ids=(device_id,) if device_id else (),
    )  # fmt: skip


def _read_credential(form: Form) -> tuple[NewCredential, bool]:
    kind = form.choice("kind", ["pppoe", "mac"])
    username = form.text("username", longest=253)
    if kind == "mac":
        return NewCredential("mac", username, None), False
    typed = form.secret("password")
    return NewCredential("pppoe", username, Secret(typed or random_password(3))), typed is None


async def _new_page(visit: Visit, form: Form, status: int = 200) -> web.Response:
    async with visit.reading() as connection:
        plans = [row for row in await money.list_plans(connection) if row.newest]
        devices = await network.device_choices(connection)
    return visit.page(
        "subscriber_new.html", form=form, plans=plans, devices=devices, status=status,
        zone=visit.panel.settings.time_zone,
    )  # fmt: skip


@routes.get("/subscribers/import", Permission.SUBSCRIBERS)
async def show_import(visit: Visit) -> web.StreamResponse:
    """The upload form."""
    return _import_page(visit)


@routes.post("/subscribers/import", Permission.SUBSCRIBERS, largest_body=_IMPORT_BODY)
async def upload(visit: Visit) -> web.StreamResponse:
    """Import a CSV file whole, or nothing of it, with a report line by line."""
    importer = visit.panel.import_subscribers
    posted = await visit.request.post()
    file = posted.get("file")
    if importer is None or not isinstance(file, web.FileField) or not file.filename:
        return _import_page(visit, trouble="Choose a CSV file first.", status=422)
    try:
        text = file.file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        return _import_page(visit, trouble="The file is not UTF-8 text. Save it as CSV UTF-8.", status=422)
    report = await _import_or_nothing(visit, importer, text)
    return _import_page(visit, report=report, status=422 if report.errors else 200)


async def _import_or_nothing(visit: Visit, importer: ImportSubscribers, text: str) -> ImportReport:
    """Import in one transaction that is rolled back when the report has errors."""
    reports: list[ImportReport] = []

    async def run(work: Work) -> Refusal | None:
        reports.append(await importer(work, text))
        return Refusal("import_faults", "the file has faults") if reports[0].errors else None

    await visit.attempt(Form(), run)
    return reports[0]


def _import_page(
    visit: Visit, *, report: ImportReport | None = None, trouble: str = "", status: int = 200
) -> web.Response:
    possible = visit.panel.import_subscribers is not None
    return visit.page(
        "subscriber_import.html", report=report, trouble=trouble, possible=possible, status=status
    )
