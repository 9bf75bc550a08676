"""The worker's care for certificates, whose library is for those who have an authority."""

from __future__ import annotations

from aaa.store import certificate_rows
from appliance.wiring import House


async def look_after_certificates(house: House) -> None:
    """Renew, revoke and sign lists where there is an authority."""
    async with house.workplace.reading() as connection:
        if not await certificate_rows.authorities(connection):
            return
    from aaa.keep_certificates import keep_certificates

    async with house.workplace.work("system:certificates") as work:
        await keep_certificates(work, house.sealer)
