"""The API as routes of the panel: bearer tokens instead of sign-ins, JSON instead of pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from ui.api import (
    account_operations,
    agreement_operations,
    answers,
    certificate_operations,
    document_operations,
    dunning_operations,
    ledger_operations,
    money_operations,
    operations,
    payment_operations,
    promotion_operations,
    reseller_operations,
    run_operations,
    sign_in_operations,
    subscription_operations,
    tax_operations,
    usage_operations,
)
from ui.api.declare import Operation
from ui.api.door import ApiDoor
from ui.api.openapi import DOCUMENT_PATH, document
from ui.permissions import Permission
from ui.web.visit import Routes, Visit

API_DOOR: web.AppKey[ApiDoor] = web.AppKey("api_door", ApiDoor)
routes = Routes()


def _served(operation: Operation) -> Callable[[Visit], Awaitable[web.StreamResponse]]:
    async def serve(visit: Visit) -> web.StreamResponse:
        return await visit.request.app[API_DOOR].serve(operation, visit)

    return serve


OPERATIONS: tuple[Operation, ...] = (
    *operations.operations.declared,
    *agreement_operations.operations.declared,
    *account_operations.operations.declared,
    *certificate_operations.operations.declared,
    *document_operations.operations.declared,
    *dunning_operations.operations.declared,
    *ledger_operations.operations.declared,
    *payment_operations.operations.declared,
    *promotion_operations.operations.declared,
    *reseller_operations.operations.declared,
    *run_operations.operations.declared,
    *sign_in_operations.operations.declared,
    *money_operations.operations.declared,
    *subscription_operations.operations.declared,
    *tax_operations.operations.declared,
    *usage_operations.operations.declared,
)

for _operation in OPERATIONS:
    _declare = routes.get if _operation.method == "GET" else routes.post
    _declare(_operation.path, Permission.BEARER)(_served(_operation))


@routes.get(DOCUMENT_PATH, Permission.BEARER)
async def openapi(_visit: Visit) -> web.StreamResponse:
    """What there is, for everybody: it says nothing of the network."""
    return answers.answered(document(OPERATIONS))
