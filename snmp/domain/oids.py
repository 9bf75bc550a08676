"""The objects we ask for, by number (RFC 2863 IF-MIB, RFC 3411 engine, RFC 3418 system)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SYS_UPTIME = "1.3.6.1.2.1.1.3.0"
SYS_NAME = "1.3.6.1.2.1.1.5.0"
ENGINE_BOOTS = "1.3.6.1.6.3.10.2.1.2.0"
IF_NUMBER = "1.3.6.1.2.1.2.1.0"
IF_DESCR = "1.3.6.1.2.1.2.2.1.2"
IF_OPER_STATUS = "1.3.6.1.2.1.2.2.1.8"
IF_LAST_CHANGE = "1.3.6.1.2.1.2.2.1.9"
IF_IN_OCTETS = "1.3.6.1.2.1.2.2.1.10"
IF_IN_PACKETS = "1.3.6.1.2.1.2.2.1.11"
IF_OUT_OCTETS = "1.3.6.1.2.1.2.2.1.16"
IF_OUT_PACKETS = "1.3.6.1.2.1.2.2.1.17"
IF_NAME = "1.3.6.1.2.1.31.1.1.1.1"
IF_HC_IN_OCTETS = "1.3.6.1.2.1.31.1.1.1.6"
IF_HC_OUT_OCTETS = "1.3.6.1.2.1.31.1.1.1.10"
IF_DISCONTINUITY = "1.3.6.1.2.1.31.1.1.1.19"

SYSTEM_OBJECTS = (SYS_UPTIME, ENGINE_BOOTS, IF_NUMBER, SYS_NAME)
EPOCH_OBJECTS = (SYS_UPTIME, ENGINE_BOOTS)
ROW_COLUMNS = (IF_DISCONTINUITY, IF_OPER_STATUS, IF_LAST_CHANGE, IF_IN_PACKETS, IF_OUT_PACKETS)

Answer = Mapping[str, int | str]
"""Objects by number. What the device does not have is absent."""


def row_objects(indexes: Iterable[int], name_column: str, width_bits: int) -> tuple[str, ...]:
    """What is asked of some rows in one request.

    Name and epoch come with the counters, so that all of them are of one row and one moment.
    """
    counters = (IF_HC_IN_OCTETS, IF_HC_OUT_OCTETS) if width_bits == 64 else (IF_IN_OCTETS, IF_OUT_OCTETS)
    columns = (name_column, *counters, *ROW_COLUMNS)
    return (*EPOCH_OBJECTS, *(f"{column}.{index}" for index in indexes for column in columns))


def number_of(answer: Answer, oid: str) -> int | None:
    """An integer of an answer; None when it is absent or something else."""
    value = answer.get(oid)
    return value if isinstance(value, int) else None


def text_of(answer: Answer, oid: str) -> str | None:
    """A text of an answer; None when it is absent, empty or something else."""
    value = answer.get(oid)
    return value if isinstance(value, str) and value else None
