"""How the API answers: JSON, an error with its field and remedy, instants in ISO 8601."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, timedelta
from typing import Any

from aiohttp import web

from core.refusal import Refusal, Refused

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]
_MEANINGS = {
    400: ("request.malformed", "the request could not be read; look at its path, headers and length"),
    401: ("token.missing", "send the header Authorization: Bearer TOKEN; make one with: hilltop token make"),
    403: ("token.scope", "this token may only look; make one with scope act"),
    404: ("not_found", "there is no such thing; look at the address"),
    405: ("method.wrong", "this address does not take that method; see /api/v1/openapi.json"),
    411: ("request.length", "say how long the body is"),
    413: ("request.large", "the body is larger than this address takes"),
    503: ("database.away", "the database does not answer; ask again in some seconds"),
}
_DEFECT = (
    "defect",
    "something went wrong on our side; look for the reference in the log",
)


def plain(value: Any) -> Any:
    """Any value of an answer as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [plain(one) for one in value]
    return value


def answered(body: Mapping[str, Any], status: int = 200) -> web.Response:
    """An answer."""
    text = json.dumps(plain(body), ensure_ascii=False) + "\n"
    return web.Response(text=text, status=status, content_type="application/json")


def refused(refusal: Refusal, status: int = 422) -> web.Response:
    """An expected no: what is wrong, with which field, and what to do."""
    return _error(status, refusal.code, refusal.message, refusal.field)


def failed(status: int, reference: str = "", headers: Mapping[str, str] | None = None) -> web.Response:
    """An error that no field is to blame for."""
    code, message = _MEANINGS.get(status, _DEFECT)
    response = _error(status, code, message, None, reference)
    response.headers.update(headers or {})
    return response


def too_many(after_s: int) -> web.Response:
    """More requests than the bounds allow."""
    response = _error(429, "too_many", f"too many requests; ask again in {after_s} s", None)
    response.headers["Retry-After"] = str(after_s)
    return response


def of_http(answer: web.HTTPException) -> web.Response:
    """An exception of the framework as an error of ours."""
    kept = {name: answer.headers[name] for name in ("Allow",) if name in answer.headers}
    return failed(answer.status, headers=kept)


def of_refused(trouble: Refused) -> web.Response:
    """A refusal that travelled as an exception; what is unknown by its id is a 404."""
    status = 404 if trouble.refusal.code.endswith(".unknown_id") else 422
    return refused(trouble.refusal, status)


def _error(status: int, code: str, message: str, field: str | None, reference: str = "") -> web.Response:
    error: dict[str, Any] = {"status": status, "code": code, "message": message, "field": field}
    if reference:
        error["reference"] = reference
    return answered({"error": error}, status)
