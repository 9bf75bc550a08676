"""Pools of addresses and prefixes that Hilltop hands out itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from aaa.domain.addressing import span
from core.refusal import Refusal

KINDS: Final = {
    "ipv4": "IPv4 addresses (Framed-IP-Address)",
    "ipv6_prefix": "IPv6 prefixes of links (Framed-IPv6-Prefix)",
    "delegated_prefix": "IPv6 prefixes behind CPEs (Delegated-IPv6-Prefix)",
}
WHEN_FULL: Final = ("reject", "nas_pool")
"""What a sign-in gets that no address is left for: no session, or the pool's name, for a NAS that has a pool
of that name."""
USUAL_LENGTH: Final = {"ipv4": 32, "ipv6_prefix": 64, "delegated_prefix": 56}
UNUSED_START_S: Final = 60
"""An address that was given and never shown in use by accounting is free for others after so long."""
SETTLE_S: Final = 120
"""An address taken away from a service rests so long: the service's sign-in with it may be under way."""
MOST_RANGES: Final = 64
MOST_EXCLUDED: Final = 256
_MOST_HANDED: Final = 1 << 40
_NO_HOSTS: Final = tuple(ip_network(one) for one in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3"))


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses from ``first`` to ``last``, as numbers of an IP version."""

    version: int
    first: int
    last: int

    def overlaps(self, other: Span) -> bool:
        """Whether they share an address."""
        return self.version == other.version and self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class AddressPool:
    """One pool. ``spans`` are whole units of what is handed out; positions count them through."""

    id: str
    name: str
    kind: str
    length: int
    spans: tuple[Span, ...]
    excluded: tuple[Span, ...] = ()
    netmask_bits: int | None = None
    keep_s: int | None = None
    rest_s: int = 900
    when_full: str = "reject"
    draining: bool = False

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if self.kind == "ipv4" else 6

    @property
    def step(self) -> int:
        """Addresses in what one device gets."""
        return 1 << ((32 if self.version == 4 else 128) - self.length)

    @property
    def positions(self) -> int:
        """How many positions there are, those excluded too."""
        return sum((one.last - one.first + 1) // self.step for one in self.spans)

    @property
    def size(self) -> int:
        """How many can be handed out."""
        return self.positions - sum(self._excluded_of(one) for one in self.spans)

    def _excluded_of(self, within: Span) -> int:
        """How many positions of a span are excluded; those touched twice count once."""
        count, reached = 0, within.first
        for one in sorted(self.excluded, key=lambda other: other.first):
            if not one.overlaps(within):
                continue
            begin = max(
                within.first + (max(one.first, within.first) - within.first) // self.step * self.step, reached
            )
            end = within.first + ((min(one.last, within.last) - within.first) // self.step + 1) * self.step
            count += max(0, end - begin) // self.step
            reached = max(reached, end)
        return count

    def from_position(self, position: int) -> Iterator[tuple[int, str]]:
        """(position, network) of what can be handed out at ``position`` and after it, in order."""
        at = 0
        for one in self.spans:
            units = (one.last - one.first + 1) // self.step
            for unit in range(max(0, position - at), units):
                first = one.first + unit * self.step
                if not self._is_excluded(first):
                    yield at + unit, self._written(first)
            at += units

    def _is_excluded(self, first: int) -> bool:
        unit = Span(self.version, first, first + self.step - 1)
        return any(unit.overlaps(one) for one in self.excluded)

    def _written(self, first: int) -> str:
        if self.version == 4:
            return str(IPv4Address(first))
        return f"{IPv6Address(first)}/{self.length}"

    def gives(self, network: str) -> bool:
        """Whether ``network`` is one that this pool hands out."""
        unit = read_unit(network)
        if unit is None or unit.version != self.version or unit.last - unit.first + 1 != self.step:
            return False
        inside = any(
            one.first <= unit.first and unit.last <= one.last and (unit.first - one.first) % self.step == 0
            for one in self.spans
        )
        return inside and not self._is_excluded(unit.first)


def read_unit(network: str) -> Span | None:
    """An address or a prefix as a span; None when it is neither."""
    try:
        read = ip_network(network)
    except ValueError:
        return None
    return Span(read.version, int(read.network_address), int(read.broadcast_address))


def first_of(network: str) -> str:
    """Where a network stands in the order of all."""
    return span(network)[0]


def check_ranges(
    kind: str, length: int, ranges: Sequence[str]
) -> tuple[tuple[Span, ...], list[str]] | Refusal:
    """The spans of a pool, and the ranges as they are stored."""
    if not ranges:
        return Refusal(
            "ranges.none", "a pool needs a network or a range; give one like 10.20.0.0/22", "ranges"
        )
    if len(ranges) > MOST_RANGES:
        return Refusal("ranges.many", f"{len(ranges)} ranges; give at most {MOST_RANGES}", "ranges")
    spans: list[Span] = []
    written: list[str] = []
    for text in ranges:
        read = _read_range(text, "ranges")
        if isinstance(read, Refusal):
            return read
        one, shown = read
        refusal = _check_fits(one, shown, kind, length)
        if refusal is not None:
            return refusal
        overlapping = next(
            (other for other, had in zip(written, spans, strict=True) if had.overlaps(one)), None
        )
        if overlapping is not None:
            return Refusal(
                "ranges.overlap", f"{shown} overlaps {overlapping}; leave one of them out", "ranges"
            )
        spans.append(one)
        written.append(shown)
    return tuple(spans), written


def check_excluded(version: int, excluded: Sequence[str]) -> tuple[tuple[Span, ...], list[str]] | Refusal:
    """What is never handed out, and how it is stored."""
    if len(excluded) > MOST_EXCLUDED:
        return Refusal("excluded.many", f"{len(excluded)} entries; give at most {MOST_EXCLUDED}", "excluded")
    spans: list[Span] = []
    written: list[str] = []
    for text in excluded:
        read = _read_range(text, "excluded")
        if isinstance(read, Refusal):
            return read
        if read[0].version != version:
            return Refusal(
                "excluded.version", f"{text} is of IPv{read[0].version}, the pool of IPv{version}; remove it",
                "excluded",
            )  # fmt: skip
        spans.append(read[0])
        written.append(read[1])
    return tuple(spans), written


def _read_range(text: str, field: str) -> tuple[Span, str] | Refusal:
    """A network, an address, or FIRST-LAST."""
    try:
        if "-" in text:
            low, high = (ip_address(one.strip()) for one in text.split("-", 1))
            if low.version != high.version or int(high) < int(low):
                return _malformed(text, field)
            return Span(low.version, int(low), int(high)), f"{low}-{high}"
        network = ip_network(text.strip())
    except ValueError:
        return _malformed(text, field)
    is_host = network.num_addresses == 1
    shown = str(network.network_address) if is_host else str(network)
    return Span(network.version, int(network.network_address), int(network.broadcast_address)), shown


def _malformed(text: str, field: str) -> Refusal:
    return Refusal(
        f"{field}.malformed",
        f"{text!r} is neither a network nor a range; write it like 10.20.0.0/22 (nothing behind its length) "
        "or 10.20.0.10-10.20.0.99",
        field,
    )


def _check_fits(one: Span, shown: str, kind: str, length: int) -> Refusal | None:
    version, bits = (4, 32) if kind == "ipv4" else (6, 128)
    if one.version != version:
        return Refusal(
            "ranges.version", f"{shown} is of IPv{one.version}; this pool is of IPv{version}", "ranges"
        )
    step = 1 << (bits - length)
    if one.first % step or (one.last + 1) % step:
        return Refusal(
            "ranges.unaligned", f"{shown} is not made of whole /{length}; give a network that is", "ranges"
        )
    if (one.last - one.first + 1) // step > _MOST_HANDED:
        return Refusal(
            "ranges.huge", f"{shown} has more than 2^40 of /{length}; give a smaller one", "ranges"
        )
    if version == 4:
        no_host = any(one.overlaps(_span_of(other)) for other in _NO_HOSTS)
    else:
        no_host = any(one.overlaps(_span_of(ip_network(text))) for text in ("::/16", "fe80::/10", "ff00::/8"))
    if no_host:
        return Refusal("ranges.no_host", f"{shown} holds addresses that no subscriber can have", "ranges")
    return None


def _span_of(network: IPv4Network | IPv6Network) -> Span:
    return Span(network.version, int(network.network_address), int(network.broadcast_address))


def edges_of(ranges: Sequence[str]) -> list[str]:
    """The first and last address of IPv4 networks: many devices do not like them as their own."""
    found = []
    for text in ranges:
        if "/" not in text or ":" in text:
            continue
        network = IPv4Network(text)
        if network.prefixlen <= 30:
            found += [str(network.network_address), str(network.broadcast_address)]
    return found
