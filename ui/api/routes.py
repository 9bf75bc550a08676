"""The API as routes of the panel: bearer tokens instead of sign-ins, JSON instead of pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

import ui.api
from ui.api import answers
from ui.api.declare import Operation, Operations
from ui.api.door import ApiDoor
from ui.api.openapi import DOCUMENT_PATH, document
from ui.permissions import Permission
from ui.web.declared import declared_in
from ui.web.visit import Routes, Visit

API_DOOR: web.AppKey[ApiDoor] = web.AppKey("api_door", ApiDoor)
routes = Routes()


def _served(operation: Operation) -> Callable[[Visit], Awaitable[web.StreamResponse]]:
    async def serve(visit: Visit) -> web.StreamResponse:
        return await visit.request.app[API_DOOR].serve(operation, visit)

    return serve


OPERATIONS: tuple[Operation, ...] = tuple(
    one for found in declared_in(ui.api, Operations) for one in found.declared
)

for _operation in OPERATIONS:
    _declare = routes.get if _operation.method == "GET" else routes.post
    _declare(_operation.path, Permission.BEARER)(_served(_operation))


@routes.get(DOCUMENT_PATH, Permission.BEARER)
async def openapi(_visit: Visit) -> web.StreamResponse:
    """What there is, for everybody: it says nothing of the network."""
    return answers.answered(document(OPERATIONS))
