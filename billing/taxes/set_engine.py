"""Where the tax engine outside is, and by which token we may ask it; the token is sealed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store import tax_rows
from core.clock import Clock
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work, Workplace

if TYPE_CHECKING:
    from billing.taxes.http_engine import HttpTaxEngine

_PURPOSE = "tax_engine.token"
_HOME = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(:\d+)?(/.*)?")


@dataclass(frozen=True, slots=True)
class TaxEngineTerms:
    """What is set, without the token."""

    base_url: str
    enabled: bool
    timeout_s: float


async def set_tax_engine(
    work: Work, sealer: Sealer, *, base_url: str, token: Secret, timeout_s: float = 10.0
) -> Refusal | None:
    """From now on the engine at ``base_url`` says the taxes, and our own rules are silent."""
    if (
        not (re.fullmatch(r"https://[^\s/]+(/\S*)?", base_url) or _HOME.fullmatch(base_url))
        or len(base_url) > 200
    ):
        return Refusal("bad_url", "give an https:// address; http:// is for this machine alone", "base_url")
    if not 0.1 <= timeout_s <= 60:
        return Refusal("bad_timeout", "wait 0.1 to 60 seconds", "timeout_s")
    if not token.reveal().strip() or not token.reveal().isprintable():
        return Refusal("bad_token", "give the token as the engine gave it", "token")
    await tax_rows.set_engine(
        work.connection,
        {
            "base_url": base_url, "token_sealed": sealer.seal(token, _PURPOSE), "enabled": True,
            "timeout_ms": int(timeout_s * 1000), "changed_at": work.now, "changed_by": work.actor[:80],
        },
    )  # fmt: skip
    await work.audit("billing.tax_engine_set", "tax_engine", base_url=base_url)
    return None


async def leave_tax_engine(work: Work) -> Refusal | None:
    """Our own rules decide again."""
    if not await tax_rows.disable_engine(work.connection, work.now, work.actor):
        return Refusal("no_engine", "no tax engine is in use; our own rules decide", "base_url")
    await work.audit("billing.tax_engine_left", "tax_engine")
    return None


async def tax_engine_terms(connection: AsyncConnection) -> TaxEngineTerms | None:
    """What is set; None while no engine ever was."""
    row = await tax_rows.engine(connection)
    return None if row is None else TaxEngineTerms(row.base_url, row.enabled, row.timeout_ms / 1000)


async def open_tax_engine(connection: AsyncConnection, sealer: Sealer, clock: Clock) -> HttpTaxEngine | None:
    """The engine in use, to be closed by the caller; None: our own rules decide. Raises ``SealError``."""
    row = await tax_rows.engine(connection)
    if row is None or not row.enabled:
        return None
    from billing.taxes.http_engine import HttpTaxEngine  # an HTTP client is heavy, and most have no engine

    token = sealer.open(row.token_sealed, _PURPOSE)
    return HttpTaxEngine(row.base_url, token, clock, row.timeout_ms / 1000)


class TaxEngineLocked(Exception):  # noqa: N818 - what it is
    """There is an engine, and nobody here can open its token: billing by our own rules would be wrong."""

    refusal = Refusal(
        "tax_engine_locked", "a tax engine says the taxes; bill where the sealing key is at hand"
    )


@asynccontextmanager
async def asked_tax_engine(
    workplace: Workplace, sealer: Sealer | None
) -> AsyncIterator[HttpTaxEngine | None]:
    """The engine in use, for as long as it is needed; None: our own rules. Raises ``TaxEngineLocked``."""
    async with workplace.reading() as connection:
        terms = await tax_engine_terms(connection)
        if terms is None or not terms.enabled:
            engine = None
        elif sealer is None:
            raise TaxEngineLocked
        else:
            engine = await open_tax_engine(connection, sealer, workplace.clock)
    try:
        yield engine
    finally:
        if engine is not None:
            await engine.close()
