"""Service profiles, and the terms a session gets from one under an effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from zlib import crc32

from aaa.domain.address_pool import AddressPool
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
    ipv6_pool: str | None = None
    delegated_pool: str | None = None
    vlan: int | None = None
    outer_vlan: int | None = None
    filter_id: str | None = None
    router_group: str | None = None
    priority: int | None = None
    min_down_bps: int | None = None
    min_up_bps: int | None = None
    throttle_down_bps: int | None = None
    throttle_up_bps: int | None = None
    walled_down_bps: int | None = None
    walled_up_bps: int | None = None
    when_blocked: str | None = None
    stale_after_h: int | None = None
    stale_action: str | None = None
    devices: int | None = None
    when_crowded: str | None = None


STALE_ACTIONS = ("walled_garden", "reject", "silent")
"""What sign-ins under a profile get when the database was not seen for its hours; otherwise they go on."""
WHEN_CROWDED = ("newest", "oldest", "unlimited")
"""More devices online at once than may be: the newest stays and an older one is disconnected; those that are
online stay, and a newer one is refused while they are alive; or nobody counts."""
WHEN_BLOCKED = ("reject", "walled_garden")
"""What a blocked subscriber's sign-in gets: no session, or one in the walled garden, where he can pay."""


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The operator's choices for services that may not do everything.

    ``walled_garden_list`` is the address list (filter) of a session in the walled garden, ``open_list`` the
    one a live session is moved to when it is restored: a CoA can replace a list, it cannot take one away.
    ``interim_jitter_percent`` spreads the interim updates of a tower that rebooted. ``when_blocked`` is one
    of ``WHEN_BLOCKED``. A walled garden without rates of its own has the plan's.
    """

    walled_garden_list: str = "hilltop-walled"
    open_list: str = "hilltop-open"
    throttle_down_bps: int = 1_000_000
    throttle_up_bps: int = 512_000
    interim_jitter_percent: int = 10
    when_blocked: str = "reject"
    walled_down_bps: int | None = None
    walled_up_bps: int | None = None
    when_crowded: str = "newest"
    binding: str = "off"
    """Whether a login is bound to the first CPE it is seen with (``learn``), unless it says otherwise."""
    walled_pool: str | None = None
    """The IPv4 pool of sessions in the walled garden; None: the plan's."""


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
    profile_id: str = ""
    profile_name: str = ""
    effect: Effect = Effect.NONE
    ipv6_pool: str | None = None
    delegated_pool: str | None = None
    vlan: int | None = None
    outer_vlan: int | None = None
    filter_id: str | None = None
    router_group: str | None = None
    priority: int | None = None
    min_down_bps: int | None = None
    min_up_bps: int | None = None
    pools: tuple[AddressPool, ...] = ()
    """Hilltop's own pools that a session gets addresses from; the other names are for the NAS."""

    @property
    def access_filter(self) -> str | None:
        """The filter on the session: that of the walled garden, else the profile's own."""
        return self.address_list or self.filter_id


def terms_of(profile: Profile, effect: Effect, policy: AccessPolicy) -> SessionTerms:
    """The terms of a session under ``profile`` while ``effect`` stands.

    A block has those of the walled garden, for where the policy lets it have a session; ended gets none.
    """
    terms = SessionTerms(
        profile.rate_down_bps, profile.rate_up_bps, profile.burst_down_bps, profile.burst_up_bps,
        profile.burst_seconds, profile.pool, profile.session_timeout_s, profile.idle_timeout_s,
        address_list=None, walled=False, profile_id=profile.id, profile_name=profile.name, effect=effect,
        ipv6_pool=profile.ipv6_pool, delegated_pool=profile.delegated_pool, vlan=profile.vlan,
        outer_vlan=profile.outer_vlan, filter_id=profile.filter_id, router_group=profile.router_group,
        priority=profile.priority, min_down_bps=profile.min_down_bps, min_up_bps=profile.min_up_bps,
    )  # fmt: skip
    if effect is Effect.THROTTLE:
        down = profile.throttle_down_bps or policy.throttle_down_bps
        return _slowed(terms, down, profile.throttle_up_bps or policy.throttle_up_bps)
    if effect in (Effect.WALLED_GARDEN, Effect.BLOCK):
        rates = (
            profile.walled_down_bps or policy.walled_down_bps or profile.rate_down_bps,
            profile.walled_up_bps or policy.walled_up_bps or profile.rate_up_bps,
        )
        if rates != (profile.rate_down_bps, profile.rate_up_bps):
            terms = _slowed(terms, *rates)
        pool = policy.walled_pool or terms.pool
        return replace(terms, address_list=policy.walled_garden_list, walled=True, pool=pool)
    return terms


def from_own_pools(terms: SessionTerms, pools: Mapping[str, AddressPool]) -> SessionTerms:
    """The terms with ``pools`` (by name) in place of the names that are theirs, each for its own kind."""

    def own(kind: str, name: str | None) -> AddressPool | None:
        found = None if name is None else pools.get(name)
        return found if found is not None and found.kind == kind else None

    address, link = own("ipv4", terms.pool), own("ipv6_prefix", terms.ipv6_pool)
    behind = own("delegated_prefix", terms.delegated_pool)
    found = tuple(one for one in (address, link, behind) if one is not None)
    if not found:
        return terms
    return replace(
        terms, pools=found, pool=None if address else terms.pool, ipv6_pool=None if link else terms.ipv6_pool,
        delegated_pool=None if behind else terms.delegated_pool,
    )  # fmt: skip


def _slowed(terms: SessionTerms, down_bps: int, up_bps: int) -> SessionTerms:
    """Never faster than the plan; no burst, and no more committed than there is."""
    down, up = min(terms.rate_down_bps, down_bps), min(terms.rate_up_bps, up_bps)
    return replace(
        terms, rate_down_bps=down, rate_up_bps=up, burst_down_bps=None, burst_up_bps=None, burst_seconds=None,
        min_down_bps=terms.min_down_bps and min(terms.min_down_bps, down),
        min_up_bps=terms.min_up_bps and min(terms.min_up_bps, up),
    )  # fmt: skip


def is_admitted(profile: Profile, lifecycle: str, effect: Effect, policy: AccessPolicy) -> bool:
    """Whether a sign-in with the right password gets a session."""
    if lifecycle != "active" or effect is Effect.ENDED:
        return False
    return effect is not Effect.BLOCK or (profile.when_blocked or policy.when_blocked) == "walled_garden"


def interim_interval_s(profile: Profile, service_id: str, policy: AccessPolicy) -> int:
    """The profile's interval and up to ``interim_jitter_percent`` more, always the same for one service."""
    base = max(profile.interim_interval_s, MIN_INTERIM_S)
    spread = base * policy.interim_jitter_percent // 100
    return base + crc32(service_id.encode()) % (spread + 1)
