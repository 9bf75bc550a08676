"""The web role: the panel, and the portal listener beside it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

from aiohttp import web

from aaa.domain.effect import Effect
from billing.config import BillingSettings
from core.endpoints import split_endpoint
from core.log import logger
from core.secrets import Sealer
from core.work import Workplace
from ui.app import build_app
from ui.config import UiSettings
from ui.document_desk import document_at
from ui.pay_desk import pay_desk_of
from ui.portal import build_portal
from ui.portal_top_ups import PortalTopUps
from ui.ports import AbsentRoles, CrossRoomActs, RadiusMetrics, Usage
from ui.tls import PanelTls, keep_certificate
from ui.web.visit import PANEL

log = logger("ui")

_SHUTDOWN_S = 5.0
_BACKLOG = 256


def panel_tls(settings: UiSettings) -> PanelTls | None:
    """The panel's TLS over the given files; None when it speaks plain HTTP."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return PanelTls(settings.tls_cert, settings.tls_key)


async def _listen(
    stack: AsyncExitStack, app: web.Application, endpoint: str, context: ssl.SSLContext | None
) -> tuple[str, int]:
    """Serve ``app`` until the stack closes; returns the address it really listens on."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    host, port = split_endpoint(endpoint)
    await web.TCPSite(runner, host, port, ssl_context=context, backlog=_BACKLOG).start()
    bound = runner.addresses[0]
    return str(bound[0]), int(bound[1])


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel and wait: left half-way to a connection it would hold up whoever asks the database next."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def run_web(  # noqa: PLR0917 - the same order for every role
    settings: UiSettings,
    workplace: Workplace,
    sealer: Sealer,
    usage: Usage,
    stop: asyncio.Event,
    ready: asyncio.Event | None = None,
    *,
    acts: CrossRoomActs,
    billing: BillingSettings | None = None,
    effect_of_stage: Mapping[str, Effect] | None = None,
    absent_roles: AbsentRoles | None = None,
    radius_metrics: RadiusMetrics | None = None,
) -> None:
    """Serve until ``stop``; ``ready`` is set when both listeners accept."""
    app = build_app(
        workplace,
        sealer,
        usage,
        settings,
        acts=acts,
        billing=billing,
        effect_of_stage=effect_of_stage,
        absent_roles=absent_roles,
        radius_metrics=radius_metrics,
    )
    async with AsyncExitStack() as stack:
        tls = panel_tls(settings)
        if tls is not None:
            tls.look()
        host, port = await _listen(stack, app, settings.listen, tls.context if tls else None)
        log.info("panel_listening", host=host, port=port, tls=settings.tls)
        if settings.portal_listen:
            shop = PortalTopUps(workplace, usage, sealer, billing or BillingSettings())
            desk = pay_desk_of(app[PANEL])
            portal = build_portal(
                workplace, app[PANEL].templates, settings, desk, shop, partial(document_at, app[PANEL])
            )
            host, port = await _listen(stack, portal, settings.portal_listen, None)
            log.info("portal_listening", host=host, port=port)
        if tls is not None:
            keeping = asyncio.create_task(keep_certificate(tls, workplace, stop))
            stack.push_async_callback(_end, keeping)
        if ready is not None:
            ready.set()
        await stop.wait()
