"""What a visitor sees when something is not to be had; what happened goes to the log."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from core.log import logger
from ui.api import answers
from ui.read.database import database_answers
from ui.web.visit import PANEL, Visit

log = logger("ui")

_AGAIN_S = 10
_EXPLAINED = {
    400: ("That did not look right", "The request could not be read. Go back and try again."),
    403: ("Not permitted", "Your role does not include this. Ask an owner of this panel."),
    404: ("Not found", "There is no such page. The address may be mistyped."),
    405: ("Not possible here", "This address does not take that kind of request."),
    411: ("Length missing", "The request must say how long it is."),
    413: ("Too large", "What was sent is larger than this page takes."),
    503: (
        "The database does not answer",
        "Nothing was half done, and the network goes on: sign-ins of subscribers are answered from memory, "
        "their usage is kept. If this stays, look at the database and the disk of this machine.",
    ),
}
_PROBLEM = (
    "Something went wrong on our side",
    "Nothing was half done. Try again; if it stays, read the log.",
)

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Forged(Exception):  # noqa: N818 - what it says
    """An unsafe request that does not prove it came from our own page."""


@web.middleware
async def errors(request: web.Request, handler: Endpoint) -> web.StreamResponse:
    """Turn every failure into a friendly page; what happened goes to the log under a reference."""
    if request.path.startswith("/api/"):
        return await _for_programs(request, handler)
    try:
        return await handler(request)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        return _error_page(request, answer.status, text=_own_words(answer))
    except Forged as forged:
        log.warning("request_forged", reason=str(forged), path=request.path, address=request.remote)
        text = "The form is out of date or came from another site. Go back, reload the page and try again."
        return _error_page(request, 403, title="Please try again", text=text)
    except Exception as trouble:
        reference = secrets.token_hex(4)
        log.exception("request_failed", reference=reference, path=request.path, error=type(trouble).__name__)
        if _is_connection_trouble(trouble) or not await database_answers(request.app[PANEL].workplace):
            return _come_back(request)
        return _error_page(request, 500, reference=reference)


async def _for_programs(request: web.Request, handler: Endpoint) -> web.StreamResponse:
    """The same for the API: failures are JSON."""
    try:
        return await handler(request)
    except web.HTTPException as answer:
        return answers.of_http(answer)
    except Exception as trouble:
        reference = secrets.token_hex(4)
        log.exception("request_failed", reference=reference, path=request.path, error=type(trouble).__name__)
        if _is_connection_trouble(trouble) or not await database_answers(request.app[PANEL].workplace):
            return answers.failed(503, headers={"Retry-After": str(_AGAIN_S)})
        return answers.failed(500, reference)


def _is_connection_trouble(trouble: BaseException) -> bool:
    return isinstance(trouble, OperationalError | InterfaceError | PoolTimeoutError)


def _come_back(request: web.Request) -> web.Response:
    """The database is away: say so, and let a page that was only looked at try again by itself."""
    response = _error_page(request, 503, again_s=_AGAIN_S if request.method == "GET" else 0)
    response.headers["Retry-After"] = str(_AGAIN_S)
    return response


def _own_words(answer: web.HTTPException) -> str | None:
    standard = f"{answer.status}: {answer.reason}"
    return answer.text if answer.text and answer.text != standard else None


def _error_page(
    request: web.Request,
    status: int,
    *,
    title: str | None = None,
    text: str | None = None,
    reference: str = "",
    again_s: int = 0,
) -> web.Response:
    panel = request.app[PANEL]
    standard_title, standard_text = _EXPLAINED.get(status, _PROBLEM)
    page = panel.templates.render(
        "error.html", visit=Visit(request, panel, None), title=title or standard_title,
        text=text or standard_text, reference=reference, again_s=again_s,
    )  # fmt: skip
    return web.Response(text=page, status=status, content_type="text/html")
