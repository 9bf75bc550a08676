"""What the panel asks of whoever puts it together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.live_scope import LiveScope, ReappliedPage
from aaa.set_up import NewCredential
from billing.ports import DailyUsageSource, LiveUsageSource, UsageSource, WatchedUsage
from core.refusal import Refusal
from core.work import Work, Workplace

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class Usage(UsageSource, LiveUsageSource, DailyUsageSource, WatchedUsage, Protocol):
    """The meters of the house: closed usage with its evidence; usage so far, by day, of many at once."""


AbsentRoles = Callable[[], Collection[str]]
"""Names of roles that ran on this machine and whose process is gone."""

RadiusMetrics = Callable[[], Awaitable[Sequence["Metric"]]]
"""What the radius processes of this machine count, as families of samples."""


@dataclass(frozen=True, slots=True)
class NewService:
    """One access line to be sold: a plan (code or version), how it signs in, the devices that enforce it."""

    plan: str
    label: str
    credentials: Sequence[NewCredential]
    framed_ip: str | None = None
    device_ids: Sequence[str] = ()
    starts_on: date | None = None


@dataclass(frozen=True, slots=True)
class ImportFault:
    """One thing wrong with one line of an import (line 1 is the header)."""

    line: int
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did: with any error ``created`` is 0 and nothing was kept."""

    created: int
    errors: list[ImportFault] = field(default_factory=list)


ImportSubscribers = Callable[[Work, str], Awaitable[ImportReport]]
"""Import accounts and services from CSV text inside the given work; the panel rolls back on errors."""

AddService = Callable[[Work, str, NewService], Awaitable[str | Refusal]]
"""Sell one more service to the account; returns the service id."""

ChangePlan = Callable[[Work, str, str], Awaitable[date | Refusal]]
"""Move a service to another plan (code) from the account's today on; returns that day."""

EndLine = Callable[[Work, str, str], Awaitable[date | Refusal | None]]
"""End a service for a reason; returns the day up to which it is billed, None if it was not."""


@dataclass(frozen=True, slots=True)
class OrderOutcome:
    """What came of an order to the NAS of a live session.

    ``outcome``: disconnected, moved, nothing_live (the NAS has no such session: closed by inference),
    refused, silent.
    """

    outcome: str
    detail: str


OrderSession = Callable[[Workplace, str, str], Awaitable[OrderOutcome | Refusal]]
"""Order the NAS of the session with that id something, in the name of an actor."""


@dataclass(frozen=True, slots=True)
class ReapplyQuestion:
    """Which live sessions are to be brought to their present terms: a page of them, in whose name."""

    scope: LiveScope
    actor: str
    after: str = ""
    limit: int = 200


ReapplySessions = Callable[[Workplace, ReapplyQuestion], Awaitable[ReappliedPage]]
"""Order the NASes of many live sessions to change them; nobody is disconnected."""


@dataclass(frozen=True, slots=True)
class SignInQuestion:
    """A sign-in that is to be explained: who, when, on which NAS (by name), from which CPE, at which port.

    None: on any NAS, and from where the login may come.
    """

    username: str
    now: datetime
    nas: str | None = None
    cpe: str | None = None
    port: str | None = None


Explain = Callable[[AsyncConnection, SignInQuestion], Awaitable[dict[str, Any] | Refusal]]
"""Why that sign-in is accepted, walled or rejected."""


@dataclass(frozen=True, slots=True)
class ReplyQuestion:
    """Which RADIUS reply is to be looked at: of a service or a profile, on a NAS, under an effect.

    ``effect`` empty: the service's own, a profile's none. ``draft`` are lines as if they stood for
    ``scope`` (profile, NAS, dialect: None is any).
    """

    nas_id: str
    profile_id: str | None = None
    service_id: str | None = None
    effect: str = ""
    draft: str | None = None
    scope: tuple[str | None, str | None, str | None] = (None, None, None)


@dataclass(frozen=True, slots=True)
class ReplyAttribute:
    """One attribute of a reply; ``octets`` are the complete ones in hexadecimal."""

    name: str
    value: str
    octets: str
    origin: str


@dataclass(frozen=True, slots=True)
class ReplyPreview:
    """What an Accept and a CoA would carry; ``admitted``: False is a reject."""

    profile: str
    nas: str
    dialect: str
    effect: str
    admitted: bool
    accept: list[ReplyAttribute]
    coa: list[ReplyAttribute]
    remarks: list[str]
    troubles: list[str]


PreviewReply = Callable[[AsyncConnection, ReplyQuestion], Awaitable[ReplyPreview | Refusal]]
"""Render a reply as the RADIUS server would."""

CheckLines = Callable[[str], Refusal | None]
"""Refuses reply lines that cannot be sent."""


@dataclass(frozen=True, slots=True)
class CrossRoomActs:
    """What touches several rooms in one transaction: made by whoever knows them all."""

    import_subscribers: ImportSubscribers
    add_service: AddService
    change_plan: ChangePlan
    end_line: EndLine
    disconnect_session: OrderSession
    reapply_session: OrderSession
    reapply_sessions: ReapplySessions
    explain: Explain
    preview_reply: PreviewReply
    check_reply_lines: CheckLines
    placeholders: Callable[[], Mapping[str, str]]
    """What may stand in braces in a reply line."""
