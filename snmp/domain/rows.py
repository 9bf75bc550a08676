"""Interface rows as a device answered them: known by name, never by index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from snmp.domain import oids
from snmp.domain.oids import Answer, number_of, text_of

_TURN_32 = 1 << 32
_FEWEST_OCTETS = 20  # an IPv4 header without anything in it (RFC 791 section 3.1)
_FEWEST_PACKETS = 1_000  # below that the ratio says nothing
_MOST_OCTETS = 1_500
_DOWN = (2, 6, 7)  # ifOperStatus: down, notPresent, lowerLayerDown


@dataclass(frozen=True, slots=True)
class InterfaceRow:
    """One interface at one instant, directions the device's own; ``width_bits`` 32 or 64.

    ``last_change_ticks`` is ifLastChange: sysUpTime when the row came up or down. None: not told.
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
    last_change_ticks: int | None = None
    is_down: bool = False
    packets_in: int | None = None
    packets_out: int | None = None


@dataclass(frozen=True, slots=True)
class NameMap:
    """Where the interfaces of each name are: one index, or several where a name is borne more than once."""

    name_column: str
    indexes: dict[str, tuple[int, ...]]

    def index_of(self, name: str) -> int | None:
        """The index of a name that one row bears."""
        indexes = self.indexes.get(name, ())
        return indexes[0] if len(indexes) == 1 else None

    def ambiguous(self, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Those of the names that several rows bear, which cannot say whose the octets are."""
        return {name: self.indexes[name] for name in names if len(self.indexes.get(name, ())) > 1}

    def settle(self, is_down: Mapping[int, bool]) -> NameMap:
        """Names of which one row alone is not down are that row's.

        net-snmp shows an interface for five minutes after it is gone (snmpd.conf: interface_fadeout).
        """
        settled = dict(self.indexes)
        for name, indexes in self.indexes.items():
            living = tuple(index for index in indexes if not is_down.get(index, True))
            if len(indexes) > 1 and len(living) == 1:
                settled[name] = living
        return NameMap(self.name_column, settled)


def map_names(name_column: str, walked: Iterable[tuple[str, int | str]]) -> NameMap:
    """The map out of a walk of ifName or ifDescr; rows without a name are left out."""
    indexes: dict[str, tuple[int, ...]] = {}
    for oid, name in walked:
        if isinstance(name, str) and name:
            indexes[name] = (*indexes.get(name, ()), int(oid.rpartition(".")[2]))
    return NameMap(name_column, indexes)


def read_is_down(answer: Answer, index: int) -> bool:
    """Whether ifOperStatus says so; a device that does not tell is taken to be up."""
    return number_of(answer, f"{oids.IF_OPER_STATUS}.{index}") in _DOWN


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
    return InterfaceRow(
        at, index, name, octets_in, octets_out, width_bits,
        number_of(answer, oids.SYS_UPTIME),
        number_of(answer, oids.ENGINE_BOOTS),
        number_of(answer, f"{oids.IF_DISCONTINUITY}.{index}"),
        number_of(answer, f"{oids.IF_LAST_CHANGE}.{index}"),
        read_is_down(answer, index),
        number_of(answer, f"{oids.IF_IN_PACKETS}.{index}"),
        number_of(answer, f"{oids.IF_OUT_PACKETS}.{index}"),
    )  # fmt: skip


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
