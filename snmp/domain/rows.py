"""Interface rows as a device answered them: known by name, never by index."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from snmp.domain import oids
from snmp.domain.oids import Answer, number_of, text_of

_TURN_32 = 1 << 32
_FEWEST_OCTETS = 20  # an IPv4 header without anything in it (RFC 791 section 3.1)
_FEWEST_PACKETS = 1_000  # below that the ratio says nothing
_MOST_OCTETS = 1_500


@dataclass(frozen=True, slots=True)
class InterfaceRow:
    """One interface at one instant, directions the device's own; ``width_bits`` 32 or 64.

    ``age_s`` is how long a dynamic row has existed. None: the device does not tell.
    """

    at: datetime
    if_index: int
    if_name: str
    octets_in: int
    octets_out: int
    width_bits: int
    sys_uptime_ticks: int | None = None
    engine_boots: int | None = None
    discontinuity_ticks: int | None = None
    age_s: float | None = None
    packets_in: int | None = None
    packets_out: int | None = None


@dataclass(frozen=True, slots=True)
class NameMap:
    """Index by interface name. A name that two rows bear is nobody's: it cannot say whose the octets are."""

    name_column: str
    index: dict[str, int]
    ambiguous: frozenset[str] = frozenset()


def map_names(name_column: str, walked: Iterable[tuple[str, int | str]]) -> NameMap:
    """The map out of a walk of ifName or ifDescr; rows without a name are left out."""
    index: dict[str, int] = {}
    twice: set[str] = set()
    for oid, name in walked:
        if not isinstance(name, str) or not name:
            continue
        if name in index:
            twice.add(name)
        index[name] = int(oid.rpartition(".")[2])
    return NameMap(
        name_column, {name: at for name, at in index.items() if name not in twice}, frozenset(twice)
    )


def read_row(
    answer: Answer, index: int, name_column: str, width_bits: int, at: datetime
) -> InterfaceRow | None:
    """The row as of ``at``, or None when the answer holds no name or no pair of counters of that width."""
    wide = width_bits == 64
    name = text_of(answer, f"{name_column}.{index}")
    octets_in = number_of(answer, f"{oids.IF_HC_IN_OCTETS if wide else oids.IF_IN_OCTETS}.{index}")
    octets_out = number_of(answer, f"{oids.IF_HC_OUT_OCTETS if wide else oids.IF_OUT_OCTETS}.{index}")
    if name is None or octets_in is None or octets_out is None:
        return None
    uptime = number_of(answer, oids.SYS_UPTIME)
    return InterfaceRow(
        at, index, name, octets_in, octets_out, width_bits, uptime,
        number_of(answer, oids.ENGINE_BOOTS),
        number_of(answer, f"{oids.IF_DISCONTINUITY}.{index}"),
        _age_s(name, uptime, number_of(answer, f"{oids.IF_LAST_CHANGE}.{index}")),
        number_of(answer, f"{oids.IF_IN_PACKETS}.{index}"),
        number_of(answer, f"{oids.IF_OUT_PACKETS}.{index}"),
    )  # fmt: skip


def _age_s(name: str, uptime: int | None, last_change: int | None) -> float | None:
    """How long a dynamic row (RouterOS: ``<pppoe-user>``) has existed; a static one only changes its state.

    A row that never changed says 0 (RFC 2863 ifLastChange), so 0 tells nothing.
    """
    if not name.startswith("<") or uptime is None or not last_change or last_change > uptime:
        return None
    return (uptime - last_change) / 100


def counts_other_than_octets(before: InterfaceRow, after: InterfaceRow) -> bool:
    """True when fewer octets than any packet has passed per packet: the columns count something else.

    Some radios report kilobytes or packets in the octet columns.
    """
    if not _same_epoch(before, after):
        return False
    return _too_light(
        (before.octets_in, after.octets_in), (before.packets_in, after.packets_in), after.width_bits
    ) or _too_light(
        (before.octets_out, after.octets_out), (before.packets_out, after.packets_out), after.width_bits
    )


def _same_epoch(before: InterfaceRow, after: InterfaceRow) -> bool:
    return (
        (before.if_index, before.width_bits, before.engine_boots, before.discontinuity_ticks)
        == (after.if_index, after.width_bits, after.engine_boots, after.discontinuity_ticks)
    ) and (before.sys_uptime_ticks or 0) <= (after.sys_uptime_ticks or 0)


def _too_light(octets: tuple[int, int], packets: tuple[int | None, int | None], width_bits: int) -> bool:
    old, new = packets
    if old is None or new is None:
        return False
    passed = (new - old) % _TURN_32
    if width_bits == 32 and passed * _MOST_OCTETS >= _TURN_32:
        return False  # the octets may have turned over more than once
    risen = (octets[1] - octets[0]) % (1 << width_bits)
    return passed >= _FEWEST_PACKETS and risen < passed * _FEWEST_OCTETS
