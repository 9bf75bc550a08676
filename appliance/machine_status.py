"""The machine in a few words: what ``hilltop status`` and the console say."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from appliance.first_boot import code_state
from appliance.role_marks import role_states
from appliance.schema import schema_fault
from appliance.settings import Settings
from appliance.whereabouts import panel_urls
from appliance.wiring import House
from billing.clock_doubt import clock_standing
from core.addresses import local_addresses
from core.release import image, version
from core.schema import revision_of
from core.store.tables import health_issue
from ui.certificates import CertificateError, read_certificate


async def machine_status(house: House) -> dict[str, Any]:
    """JSON values by name."""
    chosen = house.settings
    async with house.workplace.reading() as connection:
        schema = await revision_of(connection)
        fault = schema_fault(schema)
        told: dict[str, Any] = {
            "version": version(),
            "image": image(),
            "addresses": _addresses(),
            "panel": panel_urls(chosen.ui.listen, tls=chosen.ui.tls),
            "certificate": _fingerprint(chosen),
            "roles": role_states(chosen.state.directory),
            "database": fault or f"at {schema}",
        }
        if fault:
            unknown = {"code": "not known", "health": "not known", "clock": {"now": _now(house), "words": ""}}
            return told | unknown
        code = await code_state(chosen, connection)
        standing = await clock_standing(connection, house.clock, chosen.billing)
        rows = await connection.execute(
            select(health_issue.c.severity, func.count())
            .where(health_issue.c.closed_at.is_(None))
            .group_by(health_issue.c.severity)
            .order_by(health_issue.c.severity)
        )
        found = [f"{count} {severity}" for severity, count in rows]
    if code == "valid":
        told["admin_code"] = chosen.admin_code.read_text().strip()
    return told | {
        "code": code,
        "clock": {"now": _now(house), "words": standing.words},
        "health": f"{', '.join(found)}; see: hilltop health" if found else "nothing is known to be wrong",
    }


def _now(house: House) -> str:
    return f"{house.clock.now():%Y-%m-%d %H:%M}"


def _addresses() -> dict[str, list[str]]:
    by_name: dict[str, list[str]] = {}
    for one in local_addresses():
        if not one.address.is_loopback:
            by_name.setdefault(one.interface, []).append(str(one.address))
    return by_name


def _fingerprint(chosen: Settings) -> str | None:
    if chosen.ui.tls_cert is None:
        return None
    try:
        return f"SHA-256 {read_certificate(chosen.ui.tls_cert.read_bytes()).fingerprint}"
    except (OSError, CertificateError):
        return f"{chosen.ui.tls_cert} is missing or cannot be read; see: hilltop certificate show"
