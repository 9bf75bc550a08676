"""Service profiles, and the terms a session gets from one under an effect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from zlib import crc32

from aaa.domain.effect import Effect

MIN_INTERIM_S = 60  # RFC 2869 section 5.16


@dataclass(frozen=True, slots=True)
class Profile:
    """The technical half of a plan. Rates in bit/s, as the subscriber sees them; None: not set."""

    id: str
    name: str
    rate_down_bps: int
    rate_up_bps: int
    burst_down_bps: int | None = None
    burst_up_bps: int | None = None
    burst_seconds: int | None = None
    pool: str | None = None
    interim_interval_s: int = 300
    session_timeout_s: int | None = None
    idle_timeout_s: int | None = None


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The operator's choices for services that may not do everything.

    ``walled_garden_list`` is the address list (filter) of a session in the walled garden, ``open_list`` the
    one a live session is moved to when it is restored: a CoA can replace a list, it cannot take one away.
    ``interim_jitter_percent`` spreads the interim updates of a tower that rebooted.
    """

    walled_garden_list: str = "hilltop-walled"
    open_list: str = "hilltop-open"
    throttle_down_bps: int = 1_000_000
    throttle_up_bps: int = 512_000
    interim_jitter_percent: int = 10


@dataclass(frozen=True, slots=True, eq=False)
class SessionTerms:
    """What a NAS is told about a session. Compared by identity: one object for each (profile, effect)."""

    rate_down_bps: int
    rate_up_bps: int
    burst_down_bps: int | None
    burst_up_bps: int | None
    burst_seconds: int | None
    pool: str | None
    session_timeout_s: int | None
    idle_timeout_s: int | None
    address_list: str | None
    walled: bool


def terms_of(profile: Profile, effect: Effect, policy: AccessPolicy) -> SessionTerms:
    """The terms of a session under ``profile`` while ``effect`` stands (block and ended get no session)."""
    terms = SessionTerms(
        profile.rate_down_bps, profile.rate_up_bps, profile.burst_down_bps, profile.burst_up_bps,
        profile.burst_seconds, profile.pool, profile.session_timeout_s, profile.idle_timeout_s,
        address_list=None, walled=False,
    )  # fmt: skip
    if effect is Effect.THROTTLE:
        return replace(
            terms,
            rate_down_bps=min(profile.rate_down_bps, policy.throttle_down_bps),
            rate_up_bps=min(profile.rate_up_bps, policy.throttle_up_bps),
            burst_down_bps=None, burst_up_bps=None, burst_seconds=None,
        )  # fmt: skip
    if effect is Effect.WALLED_GARDEN:
        return replace(terms, address_list=policy.walled_garden_list, walled=True)
    return terms


def interim_interval_s(profile: Profile, service_id: str, policy: AccessPolicy) -> int:
    """The profile's interval and up to ``interim_jitter_percent`` more, always the same for one service."""
    base = max(profile.interim_interval_s, MIN_INTERIM_S)
    spread = base * policy.interim_jitter_percent // 100
    return base + crc32(service_id.encode()) % (spread + 1)
