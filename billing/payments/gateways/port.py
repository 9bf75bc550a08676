"""What billing asks of a gateway, whoever it is. Drivers are beside this and are loaded when one is used.

Card and bank account numbers never come here: the customer types them at the gateway's own page, and what is
kept is the gateway's token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Protocol

from billing.domain.gateway_charges import ChargeAnswer, ChargeState, Decline, DeclineKind
from core.secrets import Secret

GATEWAYS: Final = ("stripe", "authorizenet")
TELLS_NO_RETURNS: Final = frozenset({"authorizenet"})
"""Gateways that tell nobody when a bank debit comes back after it was paid: they are asked, daily."""
LONGEST_CALL_S: Final = 30.0
"""No call to a gateway takes longer; a charge without an answer by then is looked up."""


class GatewayError(Exception):
    """A gateway did not do what it was asked. The text is for operators and holds no secret."""


class GatewaySilentError(GatewayError):
    """No answer, or none that says what happened: it may have been done."""


class GatewayBusyError(GatewayError):
    """It was not done and may be asked again later (too many requests)."""


class GatewayRefusedError(GatewayError):
    """It was not done and will not be: wrong keys, a form it does not take."""


class GatewayLockedError(GatewayRefusedError):
    """It does not take our keys, or we have none: nothing is done until a person has seen to it."""


class BadSignatureError(GatewayError):
    """A webhook that the gateway did not sign, or that is too old."""


@dataclass(frozen=True, slots=True)
class GatewayAccess:
    """How we come to a gateway. ``base_url`` None: the gateway itself; else one that speaks like it."""

    name: str
    key: Secret
    login: str | None = None
    webhook_key: Secret | None = None
    base_url: str | None = None


@dataclass(frozen=True, slots=True)
class ChargeOrder:
    """A saved method to be charged while its owner is away. ``key`` is ours and unique for this charge."""

    key: str
    customer: str
    token: Secret
    kind: str
    amount_minor: int
    currency: str
    description: str


@dataclass(frozen=True, slots=True)
class ChargeQuestion:
    """A charge to be looked up: by the gateway's id of it when we have that, else by our key."""

    key: str
    customer: str | None
    reference: str | None
    currency: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Refund:
    """Money to be given back by the way it came. ``key`` is ours and unique for this refund."""

    key: str
    reference: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class SavedMethod:
    """A card or bank account that the gateway keeps for a customer."""

    token: Secret
    kind: str  # card, bank
    brand: str
    last4: str
    expires_on: date | None


@dataclass(frozen=True, slots=True)
class PageWish:
    """A page of the gateway on which the customer types his card: to pay an amount, or to save it alone."""

    key: str
    customer: str
    purpose: str  # save, pay
    currency: str
    back_url: str
    amount_minor: int | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class HostedPage:
    """Where the browser goes: to ``url``, by a form that posts ``fields`` when there are some."""

    url: str
    reference: str | None
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GatewayEvent:
    """A webhook in our words. ``what`` says which of the rest counts.

    charge: ``key`` or ``reference`` is in ``state``. look: that charge has changed, ask for it. methods: what
    ``customer`` has saved has changed. expired: the page ``key`` is no longer open. taken_back, given_back:
    ``amount_minor`` of the charge ``reference`` by the dispute or return ``case``. refunded: the same by the
    refund ``case``. disputed, decided: the bank asks about a ``case``, or has judged it. nothing: it does not
    concern us. Nothing else of a webhook is kept.
    """

    event_id: str
    kind: str  # the gateway's own word
    what: str
    key: str | None = None
    reference: str | None = None
    state: ChargeState | None = None
    decline_kind: DeclineKind | None = None
    decline_code: str | None = None
    said: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    customer: str | None = None
    case: str | None = None

    @property
    def answer(self) -> ChargeAnswer:
        """What it says of a charge."""
        if self.state is None:
            raise ValueError(f"event {self.event_id} says nothing of a charge")
        decline = None
        if self.decline_kind is not None:
            decline = Decline(self.decline_kind, self.decline_code or "", self.said or "")
        return ChargeAnswer(self.state, self.reference, decline, self.amount_minor)


class Gateway(Protocol):
    """One gateway. Every method raises ``GatewayError``; one that changes something says which kind."""

    async def check(self) -> str:
        """Whether our keys are right: what they open, in a few words."""

    async def open_customer(self, key: str, name: str, email: str | None) -> str:
        """The gateway's id of the customer that we call ``key``; asked again it gives the same."""

    async def open_page(self, wish: PageWish) -> HostedPage:
        """A page for the customer's browser."""

    async def methods_of(self, customer: str) -> list[SavedMethod]:
        """What the gateway keeps for the customer."""

    async def forget_method(self, customer: str, token: Secret) -> None:
        """The gateway keeps it no longer; what is gone already is no error."""

    async def charge(self, order: ChargeOrder) -> ChargeAnswer:
        """Charge; the same key never charges twice."""

    async def look_up(self, question: ChargeQuestion) -> ChargeAnswer | None:
        """What became of a charge; None: the gateway knows none with that key."""

    async def refund(self, refund: Refund) -> str:
        """Give money back; returns the gateway's id of the refund. The same key gives back once."""

    def read_event(self, body: bytes, headers: Mapping[str, str], now: datetime) -> GatewayEvent:
        """A webhook, after its signature was found right. Raises ``BadSignatureError``."""

    async def close(self) -> None:
        """End its connections."""


def event_content(event: GatewayEvent) -> dict[str, Any]:
    """The event as JSON values; what it leaves empty is left out."""
    names = [name for name in GatewayEvent.__slots__ if name not in ("event_id", "kind")]
    return {name: value for name in names if (value := getattr(event, name)) is not None}


def event_from(event_id: str, kind: str, content: Mapping[str, Any]) -> GatewayEvent:
    """The event as ``event_content`` wrote it."""
    values = dict(content)
    if "state" in values:
        values["state"] = ChargeState(values["state"])
    if "decline_kind" in values:
        values["decline_kind"] = DeclineKind(values["decline_kind"])
    return GatewayEvent(event_id, kind, **values)
