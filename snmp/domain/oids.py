"""The objects we ask for, by number, and what their answers say (RFC 2863, RFC 3411, RFC 3418)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

SYS_UPTIME = "1.3.6.1.2.1.1.3.0"
SYS_NAME = "1.3.6.1.2.1.1.5.0"
ENGINE_BOOTS = "1.3.6.1.6.3.10.2.1.2.0"
IF_NUMBER = "1.3.6.1.2.1.2.1.0"
IF_DESCR = "1.3.6.1.2.1.2.2.1.2"
IF_LAST_CHANGE = "1.3.6.1.2.1.2.2.1.9"
IF_IN_OCTETS = "1.3.6.1.2.1.2.2.1.10"
IF_OUT_OCTETS = "1.3.6.1.2.1.2.2.1.16"
IF_NAME = "1.3.6.1.2.1.31.1.1.1.1"
IF_HC_IN_OCTETS = "1.3.6.1.2.1.31.1.1.1.6"
IF_HC_OUT_OCTETS = "1.3.6.1.2.1.31.1.1.1.10"
IF_DISCONTINUITY = "1.3.6.1.2.1.31.1.1.1.19"

SYSTEM_OBJECTS = (SYS_UPTIME, ENGINE_BOOTS, IF_NUMBER, SYS_NAME)

Answer = Mapping[str, int | str]
"""Objects by number. What the device does not have is absent."""


@dataclass(frozen=True, slots=True)
class Row:
    """One interface as it answered, directions the device's own; ``width_bits`` 32 or 64."""

    at: datetime
    if_index: int
    if_name: str
    octets_in: int
    octets_out: int
    width_bits: int
    sys_uptime_ticks: int | None
    discontinuity_ticks: int | None
    age_s: float | None


def wide_objects(index: int) -> tuple[str, ...]:
    """What is asked of a row at once, uptime among it so that counters and epoch are of one moment."""
    columns = (IF_NAME, IF_DESCR, IF_HC_IN_OCTETS, IF_HC_OUT_OCTETS, IF_DISCONTINUITY, IF_LAST_CHANGE)
    return (SYS_UPTIME, *(f"{column}.{index}" for column in columns))


def narrow_objects(index: int) -> tuple[str, ...]:
    """The same of a device without 64-bit counters."""
    columns = (IF_NAME, IF_DESCR, IF_IN_OCTETS, IF_OUT_OCTETS, IF_DISCONTINUITY, IF_LAST_CHANGE)
    return (SYS_UPTIME, *(f"{column}.{index}" for column in columns))


def read_row(index: int, answer: Answer, at: datetime) -> Row | None:
    """The row as of ``at``, or None when the answer holds no pair of counters."""
    name = _text(answer, f"{IF_NAME}.{index}") or _text(answer, f"{IF_DESCR}.{index}")
    for width, column_in, column_out in (
        (64, IF_HC_IN_OCTETS, IF_HC_OUT_OCTETS),
        (32, IF_IN_OCTETS, IF_OUT_OCTETS),
    ):
        octets_in = _number(answer, f"{column_in}.{index}")
        octets_out = _number(answer, f"{column_out}.{index}")
        if octets_in is not None and octets_out is not None:
            uptime = _number(answer, SYS_UPTIME)
            return Row(
                at, index, name, octets_in, octets_out, width, uptime,
                _number(answer, f"{IF_DISCONTINUITY}.{index}"),
                _age_s(name, uptime, _number(answer, f"{IF_LAST_CHANGE}.{index}")),
            )  # fmt: skip
    return None


def _age_s(name: str, uptime: int | None, last_change: int | None) -> float | None:
    """How long a dynamic row (RouterOS: ``<pppoe-user>``) has existed; a static one only changes its state.

    A row that never changed says 0 (RFC 2863 ifLastChange), so 0 tells nothing.
    """
    if not name.startswith("<") or uptime is None or not last_change or last_change > uptime:
        return None
    return (uptime - last_change) / 100


def _number(answer: Answer, oid: str) -> int | None:
    value = answer.get(oid)
    return value if isinstance(value, int) else None


def _text(answer: Answer, oid: str) -> str:
    value = answer.get(oid)
    return value if isinstance(value, str) else ""


def number_of(answer: Answer, oid: str) -> int | None:
    """An integer of an answer; None when it is absent or something else."""
    return _number(answer, oid)


def text_of(answer: Answer, oid: str) -> str | None:
    """A text of an answer; None when it is absent, empty or something else."""
    return _text(answer, oid) or None
