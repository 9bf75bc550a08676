"""After a profile was redefined: a new generation for its services with live sessions, a block at a time."""

from __future__ import annotations

from aaa.entitle import entitle_anew
from aaa.facts import ProfileRedefined
from aaa.store import repositories
from core.work import Work

SERVICES_AT_ONCE = 200


async def move_sessions_of(work: Work, *, profile_id: str, after: str, cause: str) -> int:
    """Move the next services of the profile with an open session, those behind the id ``after``.

    Returns how many; as long as there may be more, another ``ProfileRedefined`` asks for the rest, so that no
    transaction holds the directory for long.
    """
    await repositories.take_directory_lane(work.connection)
    some = await repositories.live_services_of_profile(work.connection, profile_id, after, SERVICES_AT_ONCE)
    for service_id in some:
        await entitle_anew(work, service_id, cause, force=True)
    if len(some) == SERVICES_AT_ONCE:
        await work.publish(ProfileRedefined(profile_id, some[-1], cause))
    return len(some)
