"""The page for Prometheus: off until the operator says who may read it."""

from __future__ import annotations

import asyncio
import hmac
from ipaddress import ip_address, ip_network
from pathlib import Path

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from core.log import logger
from ui.config import UiSettings
from ui.permissions import Permission
from ui.read.metrics import HouseCounts, count_house
from ui.web.visit import Routes, Visit, missing

routes = Routes()

_PATIENCE_S = 5.0
_SHORTEST_TOKEN = 16
_log = logger("ui")


@routes.get("/metrics", Permission.PUBLIC, keeps_awake=False)
async def metrics(visit: Visit) -> web.StreamResponse:
    """Everything that is counted, for a scraper with the token or from an address that is let in."""
    settings = visit.panel.settings
    if not settings.metrics_allow and settings.metrics_token_file is None:
        raise missing()
    if not _is_let_in(settings, visit.request.remote) and not await _has_token(visit):
        raise web.HTTPForbidden(text="This address may not read the figures; see ui.metrics_allow.\n")
    from ui.metrics import house_families, webhook_families, written  # its library is for those who use it

    workplace = visit.panel.workplace
    counts = await _counts(visit)
    families = [
        *house_families(counts, workplace.clock.now()), *webhook_families(visit.panel.webhooks.seen),
        *await visit.panel.radius_metrics(),
    ]  # fmt: skip
    body, content_type = written(families, visit.request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


def _is_let_in(settings: UiSettings, remote: str | None) -> bool:
    if remote is None:
        return False
    address = ip_address(remote.partition("%")[0])
    return any(address in ip_network(one) for one in settings.metrics_allow)


async def _has_token(visit: Visit) -> bool:
    """Whether the request carries the token of the file, which is read each time: it may be replaced."""
    path = visit.panel.settings.metrics_token_file
    kind, _, sent = visit.request.headers.get("Authorization", "").partition(" ")
    if path is None or kind.lower() != "bearer":
        return False
    wanted = await asyncio.to_thread(_token, path)
    return wanted is not None and hmac.compare_digest(sent.strip().encode(), wanted)


def _token(path: Path) -> bytes | None:
    """The token; None when there is none that anybody may be let in with."""
    try:
        token = path.read_bytes().strip()
    except OSError as trouble:
        _log.warning("metrics_token_unreadable", file=str(path), error=trouble.strerror or str(trouble))
        return None
    if len(token) < _SHORTEST_TOKEN:
        _log.warning("metrics_token_too_short", file=str(path), least=_SHORTEST_TOKEN)
        return None
    return token


async def _counts(visit: Visit) -> HouseCounts | None:
    """What the database says; None while it is away."""
    workplace = visit.panel.workplace
    try:
        async with asyncio.timeout(_PATIENCE_S), workplace.reading() as connection:
            return await count_house(connection, workplace.clock.now())
    except (SQLAlchemyError, OSError, TimeoutError):
        return None
