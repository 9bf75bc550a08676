"""Change a service: its profile, its static address, its end."""

from __future__ import annotations

from aaa import service_terms as terms
from aaa.domain.profile_terms import check_fields
from aaa.entitle import entitle_anew
from aaa.store import repositories
from core.refusal import Refusal
from core.work import Work


async def set_static_address(work: Work, service_id: str, framed_ip: str | None) -> Refusal | None:
    """Give a service a fixed address, or none; the running session keeps its own until it dials again."""
    await repositories.take_directory_lane(work.connection)
    row = await terms.living_service(work, service_id)
    if isinstance(row, Refusal):
        return row
    address = None if framed_ip is None else await terms.check_static_address(work, framed_ip, service_id)
    if isinstance(address, Refusal):
        return address
    if address == row.framed_ip:
        return None
    await terms.release(work, [], address)
    await repositories.update_service(work.connection, service_id, {"framed_ip": address})
    await terms.service_changed(work, service_id, "service.static_address", framed_ip=address)
    await terms.tell_addresses(work, service_id)
    return None


async def change_profile(work: Work, service_id: str, profile_id: str) -> int | Refusal:
    """Put a service on another profile; a new generation, so that live sessions are moved."""
    await repositories.take_directory_lane(work.connection)
    row = await terms.living_service(work, service_id)
    if isinstance(row, Refusal):
        return row
    if await repositories.profile_row(work.connection, profile_id) is None:
        return terms.unknown_profile(profile_id)
    if row.profile_id == profile_id:
        return await entitle_anew(work, service_id, "profile kept")
    await repositories.update_service(work.connection, service_id, {"profile_id": profile_id})
    await terms.service_changed(work, service_id, "service.profile", before=row.profile_id, after=profile_id)
    return await entitle_anew(work, service_id, "the profile changed", force=True)


async def limit_devices(
    work: Work, service_id: str, *, devices: int | None, when_crowded: str | None
) -> Refusal | None:
    """How many devices may be online at once, and what becomes of one more; None: as the profile says."""
    checked = check_fields({"devices": devices, "when_crowded": when_crowded})
    if isinstance(checked, Refusal):
        return checked
    await repositories.take_directory_lane(work.connection)
    row = await terms.living_service(work, service_id)
    if isinstance(row, Refusal):
        return row
    values = {"devices": checked["devices"], "when_crowded": checked["when_crowded"]}
    await repositories.update_service(work.connection, service_id, values)
    await terms.service_changed(
        work, service_id, "service.devices", devices=devices, when_crowded=when_crowded
    )
    return None


async def end_service(work: Work, service_id: str, reason: str) -> int | Refusal:
    """End a service for good; returns the generation. Ending it again changes nothing."""
    await repositories.take_directory_lane(work.connection)
    row = await repositories.service_row(work.connection, service_id)
    if row is None:
        return terms.unknown_service(service_id)
    if row.lifecycle != "ended":
        ended = {"lifecycle": "ended", "ended_at": work.now}
        await repositories.update_service(work.connection, service_id, ended)
        await terms.service_changed(work, service_id, "service.end", reason=reason)
    return await entitle_anew(
        work, service_id, f"the service ended: {reason}" if reason else "the service ended"
    )
