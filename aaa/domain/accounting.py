"""One accounting report of a NAS in our words: directions are the subscriber's, times are resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class AccountingKind(StrEnum):
    """Acct-Status-Type (RFC 2866 section 5.1)."""

    START = "start"
    INTERIM = "interim"
    STOP = "stop"
    NAS_ON = "nas_on"
    NAS_OFF = "nas_off"


@dataclass(frozen=True, slots=True)
class AccountingEvent:
    """One Accounting-Request, decoded.

    ``octets_in`` is what the subscriber sent (upload), ``octets_out`` what he received (download): the NAS's
    view of RFC 2866, with per-NAS reversal already undone. They are cumulative for the session, low word and
    gigawords joined; None when the attribute was absent. ``occurred_at`` is Event-Timestamp less
    Acct-Delay-Time where sane, else receipt less delay; ``received_at`` is ours.
    """

    nas_id: str
    kind: AccountingKind
    acct_session_id: str
    username: str
    class_token: bytes
    occurred_at: datetime
    received_at: datetime
    octets_in: int | None = None
    octets_out: int | None = None
    gigawords_present: bool = False
    session_time_s: int | None = None
    framed_ip: str | None = None
    framed_ipv6_address: str | None = None
    framed_ipv6_prefix: str | None = None
    delegated_ipv6_prefix: str | None = None
    calling_station: str | None = None
    nas_port_id: str | None = None
    terminate_cause: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
