"""Where the tax engine outside is, and by which token we may ask it; the token is sealed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.store import tax_rows
from billing.taxes.http_engine import HttpTaxEngine
from core.clock import Clock
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work

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
    token = sealer.open(row.token_sealed, _PURPOSE)
    return HttpTaxEngine(row.base_url, token, clock, row.timeout_ms / 1000)
