"""Giving addresses away, from memory: a service gets what it has already, else something set aside for us.

What is new is in the journal before the Accept leaves, so a process that is killed leaves no address behind
that somebody uses and nobody knows of. Nothing here waits for the database; ``radius.leases.turns`` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any, NamedTuple

from aaa.authorize import Reject
from aaa.directory import Directory, ServiceAccess
from aaa.domain.address_pool import AddressPool
from aaa.lease_addresses import Grant
from core.clock import Clock
from core.store.columns import from_microseconds, to_microseconds
from radius.accounting.journal import Record
from radius.packet.codec import Attr, attribute

SOURCE = "lease"
"""In the journal: the source of a record that no NAS sent, but we about what we gave away."""
POOL_EXHAUSTED = "pool_exhausted"
_EMPTY_FOR_S = 2.0
_FRAMED_IP_NETMASK = 9
_PREFIXES = {"ipv6_prefix": 97, "delegated_prefix": 123}
_POOL_NAMES = {"ipv4": 88, "ipv6_prefix": 100, "delegated_prefix": 171}
_NOTHING: tuple[Holding, ...] = ()


class Holding:
    """What a service has of a pool. ``written``: it is in the journal or the database.

    ``idle``: no session has it. Then giving it anew is written down too: who is to get it next is decided by
    when it was last of use.
    """

    __slots__ = ("idle", "network", "station", "written")

    def __init__(self, network: str, station: str | None, *, idle: bool, written: bool) -> None:
        self.network = network
        self.station = station
        self.idle = idle
        self.written = written


class Stock:
    """What is set aside of one pool and not given away yet."""

    __slots__ = ("changed", "empty_until_s", "free", "low", "missed", "pool")

    def __init__(self, pool: AddressPool) -> None:
        self.pool = pool
        self.free: dict[str, None] = {}
        self.low = 1
        """With fewer than so many it is time for more."""
        self.missed = False
        """Whether somebody was to get something while nothing was left here."""
        self.changed = False
        """Whether the pool may hand out something else than when these were set aside."""
        self.empty_until_s = 0.0
        """Until then the database has nothing left of it either."""


class Leased(NamedTuple):
    """What an Accept carries, and what has to be written down before it leaves."""

    attributes: bytes
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    service: ServiceAccess
    station: str | None
    nas_id: str


class Leasing:
    """The leases one process knows of, and its own stock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[tuple[str, str], list[Holding]] = {}
        self._whose: dict[str, tuple[str, str]] = {}
        self.stocks: dict[str, Stock] = {}
        self._unconfirmed: dict[str, int] = {}
        self._in_journal: dict[str, int] = {}
        self._written = 0
        self.version = 0
        """The newest change of leases that is known here."""
        self.fresh_until_s = 0.0
        """Until then what is known is how it is; later a lease in use may be idle by now."""
        self.until: datetime | None = None
        """How long we may give addresses away; None: the leases are not known yet."""
        self.wake: Callable[[], None] = lambda: None
        """Called when a stock ran out."""
        self.on_grant: Callable[[Sequence[Grant]], None] = lambda _grants: None
        """Hears what was given away, once it is written."""
        self.append: Callable[[Record, Callable[[bool], None]], bool] = lambda _record, _answer: False
        """The journal's."""

    def use(self, directory: Directory) -> None:
        """These are the pools now."""
        before, self.stocks = self.stocks, {}
        for pool in directory.pools:
            stock = self.stocks[pool.id] = before.get(pool.id) or Stock(pool)
            stock.changed |= stock.pool is not pool
            stock.pool = pool

    def lease(self, service: ServiceAccess, station: bytes | None, nas_id: str) -> Leased | Reject | None:
        """What the service gets of its pools now. None: it is on its way here; let the NAS ask again."""
        asked = _Asked(service, None if station is None else station.decode("utf-8", "replace")[:64], nas_id)
        now = self._clock.now()
        may_give = self.until is not None and now < self.until
        attributes, grants = b"", []
        is_fresh = self._clock.monotonic_s() < self.fresh_until_s
        for pool in service.pools:
            holding = self._holding(pool, asked, may_give=may_give)
            if holding is not None:
                attributes += encoded(pool, holding.network)
                if holding.idle or not holding.written or not is_fresh:
                    grants.append(Grant(holding.network, pool.id, service.id, asked.station, nas_id, now))
                continue
            stock = self.stocks.get(pool.id)
            if stock is not None:
                stock.missed = True
            waits = (
                stock is not None and not pool.draining and self._clock.monotonic_s() >= stock.empty_until_s
            )
            if may_give and waits:
                self.wake()
                return None
            if pool.when_full == "nas_pool":
                attributes += attribute(_POOL_NAMES[pool.kind], pool.name.encode())
                continue
            return _exhausted(service, pool, may_give=may_give)
        return Leased(attributes, tuple(grants))

    def _holding(self, pool: AddressPool, asked: _Asked, *, may_give: bool) -> Holding | None:
        """What the device has, else something new, else what another device of the service had."""
        if not may_give:
            return None
        key = (pool.id, asked.service.id)
        held: Sequence[Holding] = self._held.get(key, _NOTHING)
        if held and (asked.service.addresses == 1 or len(held) > asked.service.addresses):
            return self._preferred(held, asked.station)
        for one in held:
            if one.station == asked.station:
                return one
        if len(held) < asked.service.addresses and not pool.draining:
            new = self._take(key, asked.station)
            if new is not None:
                return new
        idle = [one for one in held if one.idle]
        if idle or (held and len(held) >= asked.service.addresses):
            return self._moved((idle or held)[0], asked.station)
        return None

    def _preferred(self, held: Sequence[Holding], station: str | None) -> Holding:
        """Of several that are left from times when it might have more: the device's own, else one in use."""
        own = [one for one in held if one.station == station]
        return min(own or held, key=lambda one: one.idle)

    def _moved(self, holding: Holding, station: str | None) -> Holding:
        """Another device of the service takes the place of one."""
        holding.station, holding.written = station, False
        return holding

    def _take(self, key: tuple[str, str], station: str | None) -> Holding | None:
        stock = self.stocks.get(key[0])
        if stock is None or not stock.free:
            return None
        network = next(iter(stock.free))
        del stock.free[network]
        if len(stock.free) < stock.low:
            self.wake()
        holding = Holding(network, station, idle=True, written=False)
        self._held.setdefault(key, []).append(holding)
        self._whose[network] = key
        return holding

    def write(self, grants: Sequence[Grant], answer: Callable[[bool], None]) -> bool:
        """Have grants on disk, then call ``answer``; False: the journal takes no more."""

        for grant in grants:
            self._unconfirmed.setdefault(grant.network, self.version)
            self._in_journal.pop(grant.network, None)  # the newest record of it is not there yet

        def written(committed: bool) -> None:
            if committed:
                for grant in grants:
                    self._mark_written(grant)
                self.on_grant(grants)
            else:  # nobody was told
                for grant in grants:
                    self._unconfirmed.pop(grant.network, None)
            answer(committed)

        return self.append(grant_record(grants), written)

    def _mark_written(self, grant: Grant) -> None:
        if grant.network in self._unconfirmed:
            self._written += 1
            self._in_journal[grant.network] = self._written
        for one in self._held.get((grant.pool_id, grant.service_id), _NOTHING):
            if one.network == grant.network:
                one.written = True

    def hear_all(self, grants: Iterable[Grant]) -> None:
        """Another process has given these away, if the leases are known here at all."""
        if self.until is not None:
            for grant in grants:
                self.hear(grant)

    def hear(self, grant: Grant) -> None:
        """Another process, or one before us, has given something away."""
        if self._whose.get(grant.network) != (grant.pool_id, grant.service_id):
            self._forget(grant.network)
            self._hold(grant.network, (grant.pool_id, grant.service_id), grant.station, idle=True)

    def apply(self, row: Any, owner: str) -> None:
        """A lease as the database has it."""
        network, key = str(row.network), (str(row.pool_id), str(row.service_id))
        if row.service_id is None:
            if row.owner == owner:
                return  # set aside for us: in the stock, or given away and not yet taken over
            self._forget(network)
            self._leave(str(row.pool_id), network)
            return
        self._leave(str(row.pool_id), network)
        if self._whose.get(network) == key:
            for one in self._held[key]:
                if one.network == network:
                    one.idle, one.station = row.idle_since is not None, row.station
            return
        self._forget(network)
        self._hold(network, key, row.station, idle=row.idle_since is not None)

    def _leave(self, pool_id: str, network: str) -> None:
        """It is not ours to give any more."""
        stock = self.stocks.get(pool_id)
        if stock is not None:
            stock.free.pop(network, None)

    def _hold(self, network: str, key: tuple[str, str], station: str | None, *, idle: bool) -> None:
        self._held.setdefault(key, []).append(Holding(network, station, idle=idle, written=True))
        self._whose[network] = key

    def _forget(self, network: str) -> None:
        key = self._whose.pop(network, None)
        if key is None:
            return
        left = [one for one in self._held.get(key, _NOTHING) if one.network != network]
        if left:
            self._held[key] = left
        else:
            self._held.pop(key, None)

    def stock_up(self, networks: Mapping[str, Iterable[str]]) -> None:
        """These were set aside for us, by pool."""
        for pool_id, some in networks.items():
            stock = self.stocks.get(pool_id)
            if stock is not None:
                stock.free.update(dict.fromkeys(one for one in some if one not in self._whose))
                stock.missed = False
                stock.low = max(1, len(stock.free) // 2)
                stock.empty_until_s = 0.0

    def let_go(self, networks: Iterable[str]) -> None:
        """These are ours to give no more."""
        for stock in self.stocks.values():
            for network in networks:
                stock.free.pop(network, None)

    def note_empty(self, pool_ids: Iterable[str]) -> None:
        """Nothing is left of these pools."""
        for pool_id in pool_ids:
            stock = self.stocks.get(pool_id)
            if stock is not None:
                stock.empty_until_s = self._clock.monotonic_s() + _EMPTY_FOR_S

    @property
    def vouched_version(self) -> int:
        """The change up to which we know everything, and the database knows everything we gave away."""
        return min(self._unconfirmed.values(), default=self.version)

    @property
    def in_journal(self) -> dict[str, int]:
        """What we gave away and wrote to the journal, and do not know to be in the database: the how manieth
        writing of all each was."""
        return dict(self._in_journal)

    def confirm(self, written: Mapping[str, int]) -> None:
        """These writings are in the database; what was given anew since then may not be."""
        for network, number in written.items():
            if self._in_journal.get(network) == number:
                del self._in_journal[network]
                self._unconfirmed.pop(network, None)

    def clear(self) -> None:
        """Know nothing any more: the leases are read anew."""
        self._held.clear()
        self._whose.clear()
        self.until = None
        for stock in self.stocks.values():
            stock.free.clear()

    @property
    def known(self) -> int:
        """How many leases are known."""
        return len(self._whose)


def _exhausted(service: ServiceAccess, pool: AddressPool, *, may_give: bool) -> Reject:
    if may_give:
        why = f"the pool {pool.name} has nothing left to give" + (": it drains" if pool.draining else "")
        remedy = "give the pool another range (hilltop pool change), or let the service use another pool"
    else:
        why = f"this process has not seen the database for so long that it may not give away {pool.name}"
        remedy = "bring the database back"
    return Reject(POOL_EXHAUSTED, "", why, remedy, service.id)


def encoded(pool: AddressPool, network: str) -> bytes:
    """The attributes of an address or prefix (RFC 2865 sections 5.8 and 5.9, RFC 3162, RFC 4818)."""
    if pool.kind == "ipv4":
        octets = attribute(Attr.FRAMED_IP_ADDRESS, IPv4Address(network).packed)
        if pool.netmask_bits is None:
            return octets
        mask = IPv4Network(f"0.0.0.0/{pool.netmask_bits}").netmask
        return octets + attribute(_FRAMED_IP_NETMASK, mask.packed)
    prefix = IPv6Network(network)
    needed = (prefix.prefixlen + 7) // 8
    value = bytes((0, prefix.prefixlen)) + prefix.network_address.packed[:needed]
    return attribute(_PREFIXES[pool.kind], value)


def grant_record(grants: Sequence[Grant]) -> Record:
    """Grants of one sign-in as they stand in the journal."""
    first = grants[0]
    told = [[one.network, one.pool_id, one.service_id, one.station] for one in grants]
    return Record(to_microseconds(first.at), first.nas_id, SOURCE, json.dumps(told).encode())


def grants_of(received_us: int, nas_id: str, datagram: bytes) -> list[Grant]:
    """The grants in a record of the journal. Raises ``ValueError`` for what is none."""
    at = from_microseconds(received_us)
    return [
        Grant(str(network), str(pool_id), str(service_id), station, nas_id, at)
        for network, pool_id, service_id, station in json.loads(datagram)
    ]
