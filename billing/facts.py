"""What the billing room tells the house: past-tense facts, published through the outbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from core.facts import Fact


@dataclass(frozen=True, slots=True)
class DunningStageChanged(Fact):
    """An account moved on the dunning ladder; ``service_ids`` are the services it holds at that moment.

    Stages are clear, reminded, restricted, suspended and ended. One fact tells the whole move, even when a
    catch-up passed several stages: the steps between are in ``billing_dunning_event``.
    """

    kind: ClassVar[str] = "billing.dunning_stage_changed"

    account_id: str
    service_ids: list[str]
    from_stage: str
    to_stage: str
    because: str

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class SubscriptionTurned(Fact):
    """From today on a service is on another plan version, or paused, or resumed, or no longer sold."""

    kind: ClassVar[str] = "billing.subscription_turned"

    subscription_id: str
    account_id: str
    service_id: str
    plan_version_id: str
    service_profile_id: str | None
    paused: bool
    ended: bool = False

    def subject(self) -> str:
        return self.service_id


@dataclass(frozen=True, slots=True)
class InvoiceFinalised(Fact):
    """An invoice got its number and can no longer change."""

    kind: ClassVar[str] = "billing.invoice_finalised"

    invoice_id: str
    account_id: str
    number: str
    total_minor: int

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class AutopayFailed(Fact):
    """Automatic payment of an account was declined.

    ``decline`` is soft or hard; ``code`` and ``said`` are the gateway's own words, for operators: a
    subscriber is not told that his bank calls his card stolen. ``next_try_on`` is an ISO date; None: nothing
    more is tried by itself.
    """

    kind: ClassVar[str] = "billing.autopay_failed"

    charge_id: str
    account_id: str
    invoice_id: str
    amount_minor: int
    currency: str
    decline: str
    code: str
    said: str
    next_try_on: str | None

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class PaymentReceived(Fact):
    """Money arrived for an account."""

    kind: ClassVar[str] = "billing.payment_received"

    payment_id: str
    account_id: str
    amount_minor: int

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class PaymentReversed(Fact):
    """Money that had been recorded was taken back (chargeback, bounced cheque, typing error)."""

    kind: ClassVar[str] = "billing.payment_reversed"

    payment_id: str
    account_id: str
    amount_minor: int

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class PaymentRestored(Fact):
    """Money of a payment that had been taken back is there again: a dispute was won."""

    kind: ClassVar[str] = "billing.payment_restored"

    payment_id: str
    account_id: str
    amount_minor: int

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class RefundOrdered(Fact):
    """Money is owed back to a customer. Method ``gateway``: by the way that ``payment_id`` came.

    Whoever pays it out says so with ``end_refund``.
    """

    kind: ClassVar[str] = "billing.refund_ordered"

    refund_id: str
    account_id: str
    payment_id: str | None
    method: str
    amount_minor: int
    currency: str

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class RefundEnded(Fact):
    """A refund was paid out, or failed and is credit again (``outcome``: paid, failed)."""

    kind: ClassVar[str] = "billing.refund_ended"

    refund_id: str
    account_id: str
    outcome: str
    amount_minor: int

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class NoticeDue(Fact):
    """The subscriber is to be told something: by which channel (email, sms, letter), from which template.

    ``source`` is unique: the same words are due once. ``context`` is what the template may say, JSON values;
    amounts are in minor units of ``currency``, days are ISO dates of the account.
    """

    kind: ClassVar[str] = "billing.notice_due"

    account_id: str
    channel: str
    template: str
    source: str
    context: dict[str, Any]

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class InvoiceWrittenOff(Fact):
    """A claim was given up, or (a negative amount) came in after all."""

    kind: ClassVar[str] = "billing.invoice_written_off"

    invoice_id: str
    account_id: str
    number: str
    amount_minor: int

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class QuotaAlert(Fact):
    """Usage reached ``percent`` of what is included (of the cap where everything is); once in each window.

    ``used`` and ``included`` in what the terms count (octets unless told otherwise by ``unit``).
    """

    kind: ClassVar[str] = "billing.quota_alert"

    account_id: str
    service_ids: list[str]
    bucket: str
    percent: int
    used: int
    included: int | None
    unit: str
    window_start: str
    window_end: str

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class QuotaReached(Fact):
    """What a plan caps is used up: ``effect`` (throttle, walled_garden) is due to the services."""

    kind: ClassVar[str] = "billing.quota_reached"

    account_id: str
    service_ids: list[str]
    effect: str
    because: str

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class QuotaCleared(Fact):
    """No cap of the services is reached any longer: a new window began, or there is more to use."""

    kind: ClassVar[str] = "billing.quota_cleared"

    account_id: str
    service_ids: list[str]
    because: str

    def subject(self) -> str:
        return self.account_id


@dataclass(frozen=True, slots=True)
class ToppedUp(Fact):
    """A top-up was bought: by an operator, on the portal, or automatically."""

    kind: ClassVar[str] = "billing.topped_up"

    top_up_id: str
    account_id: str
    subscription_id: str
    name: str
    amount: int
    price_minor: int
    how: str
    closes_on: str

    def subject(self) -> str:
        return self.account_id
