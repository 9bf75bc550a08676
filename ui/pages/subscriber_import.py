"""Many subscribers at once, from a CSV file."""

from __future__ import annotations

from aiohttp import web

from core.refusal import Refusal
from core.work import Work
from ui.permissions import Permission
from ui.ports import ImportReport, ImportSubscribers
from ui.web.forms import Form
from ui.web.visit import Routes, Visit

routes = Routes()

_IMPORT_BODY = 8 * 2**20


@routes.get("/subscribers/import", Permission.SUBSCRIBERS)
async def show_import(visit: Visit) -> web.StreamResponse:
    """The upload form."""
    return _import_page(visit)


@routes.post("/subscribers/import", Permission.SUBSCRIBERS, largest_body=_IMPORT_BODY)
async def upload(visit: Visit) -> web.StreamResponse:
    """Import a CSV file whole, or nothing of it, with a report line by line."""
    posted = await visit.request.post()
    file = posted.get("file")
    if not isinstance(file, web.FileField) or not file.filename:
        return _import_page(visit, trouble="Choose a CSV file first.", status=422)
    try:
        text = file.file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        return _import_page(visit, trouble="The file is not UTF-8 text. Save it as CSV UTF-8.", status=422)
    report = await _import_or_nothing(visit, visit.panel.acts.import_subscribers, text)
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
    return visit.page("subscriber_import.html", report=report, trouble=trouble, status=status)
