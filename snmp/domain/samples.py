"""Rows become counter samples in the subscriber's directions."""

from __future__ import annotations

from datetime import timedelta

from aaa.domain.metering import CounterSample
from snmp.domain.rows import InterfaceRow

RADIUS_MEMORY = timedelta(days=35)
"""A service that RADIUS accounted for within a billing cycle is billed by RADIUS."""


def meter_key(target_id: str, if_name: str) -> str:
    """The meter of an interface: by device and name, because indexes move."""
    return f"snmp|{target_id}|{if_name}"


def sample_of(
    row: InterfaceRow, *, is_reversed: bool = False, before: InterfaceRow | None = None
) -> CounterSample:
    """The sample of an interface towards the subscriber: what the device takes in is the upload.

    ``is_reversed`` for an interface that looks the other way (a CPE's own, an uplink). ``before`` is the row
    of that name as last seen, if it is known.
    """
    upload, download = row.octets_in, row.octets_out
    if is_reversed:
        upload, download = download, upload
    return CounterSample(
        upload, download, row.width_bits, row.at, row.sys_uptime_ticks, row.engine_boots,
        row.discontinuity_ticks, age_s(row, before), row.if_index,
    )  # fmt: skip


def age_s(row: InterfaceRow, before: InterfaceRow | None) -> float | None:
    """How long a row has existed, if it is one that is born anew; None otherwise, and when not told.

    Those are RouterOS's dynamic ones (``<pppoe-user>``) and all that turn up at another index. Of any other
    ifLastChange tells only when its link last came up, and its counters go on. 0 tells nothing: the row has
    not changed since the agent began (RFC 2863).
    """
    moved = before is not None and before.if_index != row.if_index
    uptime, changed = row.sys_uptime_ticks, row.last_change_ticks
    if not (moved or row.if_name.startswith("<")) or uptime is None or not changed or changed > uptime:
        return None
    return (uptime - changed) / 100
