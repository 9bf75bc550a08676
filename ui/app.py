"""The panel as an aiohttp application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web

import ui.pages
from aaa.domain.effect import Effect
from billing.config import BillingSettings
from billing.payments.gateways.open_gateways import Gateways
from core.clock import Clock, SystemClock
from core.secrets import Sealer
from core.work import Workplace
from ui.api.door import ApiDoor
from ui.api.routes import API_DOOR
from ui.api.routes import routes as api_routes
from ui.config import UiSettings
from ui.passwords import Passwords
from ui.ports import AbsentRoles, CrossRoomActs, RadiusMetrics, Usage
from ui.sign_in import SignIns
from ui.web.bill_runs import BillRuns
from ui.web.declared import declared_in
from ui.web.error_pages import errors
from ui.web.guard import DECLARATION, add_headers, declaration_of, gate, limits
from ui.web.look_backs import LookBacks
from ui.web.render import Templates
from ui.web.visit import PANEL, VISIT, Declaration, Panel, Routes
from ui.web.webhook_counts import WebhookCounts

LARGEST_BODY = 8 * 2**20


def build_app(
    workplace: Workplace,
    sealer: Sealer,
    usage: Usage,
    settings: UiSettings,
    *,
    acts: CrossRoomActs,
    billing: BillingSettings | None = None,
    effect_of_stage: Mapping[str, Effect] | None = None,
    absent_roles: AbsentRoles | None = None,
    radius_metrics: RadiusMetrics | None = None,
    clock: Clock | None = None,
) -> web.Application:
    """The panel over one workplace.

    ``clock`` times sign-ins and defaults to the machine's own, because ``workplace.clock`` may be a lab clock
    that moves. Without ``effect_of_stage`` the dunning preview shows no device commands,
    without ``absent_roles`` nobody watches the processes beside this one.
    """
    app = web.Application(middlewares=[errors, limits, gate], client_max_size=LARGEST_BODY)
    sign_in_clock, terms = clock or SystemClock(), billing or BillingSettings()
    passwords = Passwords()
    app[PANEL] = Panel(
        workplace=workplace, sealer=sealer, usage=usage, settings=settings, clock=sign_in_clock,
        passwords=passwords, sign_ins=SignIns(workplace, sign_in_clock, passwords, settings),
        templates=Templates(settings, workplace.clock), bill_runs=BillRuns(workplace, usage, terms, sealer),
        look_backs=LookBacks(workplace, usage, terms),
        billing=terms, acts=acts, effect_of_stage=effect_of_stage or {},
        absent_roles=absent_roles or frozenset, radius_metrics=radius_metrics or _no_metrics,
        gateways=Gateways(workplace, sealer), webhooks=WebhookCounts(),
    )  # fmt: skip
    app[API_DOOR] = ApiDoor(settings.api_requests_per_minute)
    add_routes(app, declared_in(ui.pages, Routes))
    add_routes(app, [api_routes])
    refuse_undeclared(app)
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_close_long_work)
    app.cleanup_ctx.append(_close_gateways)
    return app


def add_routes(app: web.Application, tables: Iterable[Routes]) -> None:
    """Add every declared route."""
    for table in tables:
        for declared in table.declared:
            app.router.add_route(declared.method, declared.path, _endpoint(declared))


def _endpoint(declared: Declaration) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        return await declared.handler(request[VISIT])  # only the gate puts a visit there

    setattr(endpoint, DECLARATION, declared)
    return endpoint


def refuse_undeclared(app: web.Application) -> None:
    """Raise ``ValueError`` for a route without a declared permission: such a panel must not start."""
    for route in app.router.routes():
        if declaration_of(route.handler) is None:
            raise ValueError(f"{route.method} {route.resource} declares no permission; add it through Routes")


async def _no_metrics() -> Sequence[Any]:
    return ()


async def _close_long_work(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[PANEL].bill_runs.close()
    await app[PANEL].look_backs.close()


async def _close_gateways(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[PANEL].gateways.close()
