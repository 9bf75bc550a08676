"""What a directory answers when the database has not been seen for long: as each profile says.

Worked out once when the hours of a profile are over, not for each request: the services under it are replaced
by what they may do now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from aaa.directory import Directory, Login, ServiceAccess
from aaa.domain.effect import Effect
from aaa.domain.profile import Profile, SessionTerms, terms_of

_AT_ONCE = 2_000

Due = Mapping[str, str]
"""Profiles whose hours are over, by id, with their action."""


def due_actions(directory: Directory, age_s: float) -> Due:
    """What is due when the database was last seen ``age_s`` ago."""
    return {
        profile.id: profile.stale_action
        for profile in directory.profiles.values()
        if profile.stale_after_h is not None
        and profile.stale_action is not None
        and age_s >= profile.stale_after_h * 3_600
    }


_WORDS = {"walled_garden": "the walled garden", "reject": "a reject", "silent": "no answer"}


def in_words(profile: Profile | None) -> str:
    """What the profile says of sign-ins without the database; empty when they go on."""
    if profile is None or profile.stale_after_h is None or profile.stale_action is None:
        return ""
    return f"after {profile.stale_after_h} h without the database: {_WORDS[profile.stale_action]}"


async def under_age(directory: Directory, due: Due) -> Directory:
    """The directory with every service under a due profile as that says, a breath between many of them."""
    if not due:
        return directory
    terms = {
        profile_id: terms_of(directory.profiles[profile_id], Effect.WALLED_GARDEN, directory.policy)
        for profile_id in due
    }
    made: dict[str, ServiceAccess] = {}
    logins: dict[bytes, Login] = {}
    for number, (username, login) in enumerate(directory.logins.items()):
        service = login.service
        profile_id = service.terms.profile_id
        if profile_id not in due or not service.admitted:
            logins[username] = login
        else:
            if service.id not in made:
                why = f"the database has not been seen for {directory.profiles[profile_id].stale_after_h} h"
                made[service.id] = _changed(service, due[profile_id], terms[profile_id], why)
            logins[username] = Login(login.credential, made[service.id])
        if number % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return replace(directory, logins=logins)


def _changed(service: ServiceAccess, action: str, walled: SessionTerms, why: str) -> ServiceAccess:
    because = (*service.because, why)
    if action == "walled_garden":
        if service.terms.walled:
            return service
        return replace(service, effect=Effect.WALLED_GARDEN, terms=walled, because=because)
    return replace(service, lifecycle=f"stale_{action}", admitted=False, because=because)
