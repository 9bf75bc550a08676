"""Rows become counter samples in the subscriber's directions."""

from __future__ import annotations

from aaa.domain.metering import CounterSample
from snmp.domain.rows import InterfaceRow


def meter_key(target_id: str, if_name: str) -> str:
    """The meter of an interface: by device and name, because indexes move."""
    return f"snmp|{target_id}|{if_name}"


def sample_of(row: InterfaceRow, *, is_reversed: bool) -> CounterSample:
    """The sample of an interface towards the subscriber: what the device takes in is the upload.

    ``is_reversed`` for an interface that looks the other way (a CPE's own, an uplink).
    """
    upload, download = row.octets_in, row.octets_out
    if is_reversed:
        upload, download = download, upload
    return CounterSample(
        upload, download, row.width_bits, row.at, row.sys_uptime_ticks, row.engine_boots,
        row.discontinuity_ticks, row.age_s, row.if_index,
    )  # fmt: skip
