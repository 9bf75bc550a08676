"""The OpenAPI 3.1 document, written from the declarations that requests are read by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.release import version
from ui.api import shapes
from ui.api.declare import PREFIX, Kind, Operation, Parameter

_ERROR = shapes.record(
    error=shapes.record(
        status=shapes.WHOLE, code=shapes.TEXT, message=shapes.TEXT, field=shapes.maybe(shapes.TEXT)
    )
)
_ERRORS = {
    "401": "The token is missing, wrong or revoked.",
    "403": "The token may only look.",
    "404": "There is no such thing.",
    "422": "A parameter is wrong; field names it, message says the remedy.",
    "429": "Too many requests; Retry-After says when to ask again.",
    "503": "The database does not answer.",
}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document."""
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hilltop", "version": version(),
            "description": "Sessions, sign-ins and addresses of a wireless internet provider. Send "
            "Authorization: Bearer TOKEN; make a token with: hilltop token make NAME. Times are ISO 8601; "
            "octets_down is what the subscriber received.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR},
        },
    }  # fmt: skip


def _operation(one: Operation) -> dict[str, Any]:
    failing = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    responses: dict[str, Any] = {
        "200": {"description": one.summary, "content": {one.content_type: {"schema": one.shape}}}
    }
    responses |= {status: {"description": words} | failing for status, words in _ERRORS.items()}
    return {
        "operationId": one.name, "summary": one.summary,
        "description": f"Asks for a token with scope {one.scope.value}.", "tags": [one.path.split("/")[3]],
        "parameters": [_parameter(parameter) for parameter in one.parameters], "responses": responses,
    }  # fmt: skip


def _parameter(one: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if one.kind is Kind.COUNT:
        schema = {"type": "integer", "minimum": one.at_least, "maximum": one.at_most}
    elif one.kind is Kind.INSTANT:
        schema = {"type": "string", "format": "date-time"}
    elif one.kind is Kind.DAY:
        schema = {"type": "string", "format": "date"}
    elif one.choices:
        schema["enum"] = list(one.choices)
    if one.default is not None:
        schema["default"] = one.default
    return {
        "name": one.name, "in": "path" if one.in_path else "query", "required": one.required or one.in_path,
        "description": one.meaning, "schema": schema,
    }  # fmt: skip


DOCUMENT_PATH = f"{PREFIX}/openapi.json"
