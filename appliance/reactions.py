"""The one table that joins facts to commands: money and access meet here and nowhere else."""

from __future__ import annotations

from functools import partial

from aaa.domain.effect import Effect
from aaa.facts import AddressChanged, EntitlementChanged, ProfileRedefined
from aaa.move_sessions import move_sessions_of
from aaa.place_hold import lift_hold, place_hold
from aaa.set_up import change_profile
from billing.config import BillingSettings
from billing.delivery.queue import queue_invoice, queue_message, queue_receipt
from billing.delivery.send_sms import queue_sms
from billing.facts import (
    AutopayFailed,
    DunningStageChanged,
    InvoiceFinalised,
    NoticeDue,
    PaymentReceived,
    QuotaAlert,
    QuotaCleared,
    QuotaReached,
    SubscriptionTurned,
)
from core.facts import RecordedFact
from core.outbox import Reaction
from core.refusal import Refusal, granted
from core.work import Work
from provisioning.request_enforcement import request_enforcement

EFFECT_OF_STAGE = {
    "clear": Effect.NONE,
    "reminded": Effect.NONE,
    "restricted": Effect.THROTTLE,
    "suspended": Effect.WALLED_GARDEN,
    "ended": Effect.BLOCK,
}

_NOTHING_TO_HOLD = {"service.ended", "service.unknown"}


async def follow_dunning(work: Work, fact: RecordedFact) -> None:
    """A dunning stage becomes dunning's own hold on each service, or its lifting.

    A service that ended meanwhile has nothing left to hold, and must not keep its account's facts waiting.
    """
    effect = EFFECT_OF_STAGE[fact.payload["to_stage"]]
    because = str(fact.payload["because"])
    for service_id in fact.payload["service_ids"]:
        if effect is Effect.NONE:
            outcome = await lift_hold(work, service_id=service_id, holder="dunning", reason=because)
        else:
            outcome = await place_hold(
                work, service_id=service_id, holder="dunning", effect=effect, reason=because
            )
        _held(outcome)


async def follow_cap(work: Work, fact: RecordedFact) -> None:
    """A cap that is reached becomes the hold of the holder ``cap`` on each of its services."""
    because, effect = str(fact.payload["because"]), Effect(fact.payload["effect"])
    for service_id in fact.payload["service_ids"]:
        _held(await place_hold(work, service_id=service_id, holder="cap", effect=effect, reason=because))


async def follow_cap_cleared(work: Work, fact: RecordedFact) -> None:
    """No cap of the services is reached any longer."""
    because = str(fact.payload["because"])
    for service_id in fact.payload["service_ids"]:
        _held(await lift_hold(work, service_id=service_id, holder="cap", reason=because))


def _held(outcome: int | Refusal) -> None:
    if not isinstance(outcome, Refusal) or outcome.code not in _NOTHING_TO_HOLD:
        granted(outcome)


async def follow_subscription(work: Work, fact: RecordedFact) -> None:
    """A line on another plan gets its profile; paused or sold to nobody, it is held by its contract.

    A hold and no end of the service: who subscribes anew is served again with the same sign-ins.
    """
    service_id, profile_id = fact.payload["service_id"], fact.payload["service_profile_id"]
    ended = bool(fact.payload.get("ended"))
    outcomes: list[object] = []
    if profile_id is not None and not ended:
        outcomes.append(await change_profile(work, service_id, profile_id))
    if ended or fact.payload["paused"]:
        outcomes.append(
            await place_hold(
                work, service_id=service_id, holder="contract",
                effect=Effect.BLOCK if ended else Effect.WALLED_GARDEN,
                reason="the subscription ended" if ended else "the subscription is paused",
            )
        )  # fmt: skip
    else:
        outcomes.append(
            await lift_hold(work, service_id=service_id, holder="contract", reason="the subscription runs")
        )
    for outcome in outcomes:
        if not isinstance(outcome, Refusal) or outcome.code not in _NOTHING_TO_HOLD:
            granted(outcome)


async def enforce_entitlement(work: Work, fact: RecordedFact) -> None:
    """A new entitlement, or a new address of a restricted service, must be made true on the network."""
    await request_enforcement(
        work,
        service_id=fact.payload["service_id"],
        generation=fact.payload["generation"],
        effect=Effect(fact.payload["effect"]),
        cause=str(fact.payload.get("cause", "its address changed")),
    )


async def follow_redefinition(work: Work, fact: RecordedFact) -> None:
    """The live sessions of a profile that says something else get another generation."""
    await move_sessions_of(
        work,
        profile_id=fact.payload["profile_id"],
        after=fact.payload["after"],
        cause=fact.payload["cause"],
    )


async def mail_invoice(work: Work, fact: RecordedFact) -> None:
    """Whoever an invoice is for is told, by mail or on paper."""
    await queue_invoice(work, fact.payload["invoice_id"])


async def mail_receipt(work: Work, fact: RecordedFact) -> None:
    """Whoever paid gets a receipt."""
    await queue_receipt(work, fact.payload["payment_id"])


async def deliver_notice(work: Work, fact: RecordedFact, settings: BillingSettings | None = None) -> None:
    """A notice of dunning goes out by mail, as a letter or as a text message."""
    told = fact.payload
    if told["channel"] == "sms":
        await queue_sms(
            work, source=told["source"], account_id=told["account_id"], template=told["template"],
            context=told["context"], settings=settings,
        )  # fmt: skip
    if told["channel"] in {"email", "letter"}:
        await queue_message(
            work, source=told["source"], account_id=told["account_id"], template=told["template"],
            params=told["context"], channel=told["channel"],
        )  # fmt: skip


async def tell_of_declined_payment(work: Work, fact: RecordedFact) -> None:
    """Whose automatic payment was declined is told when it is tried again, and not what his bank said."""
    told = fact.payload
    await queue_message(
        work, source=f"autopay:{told['charge_id']}", account_id=told["account_id"], template="autopay_failed",
        params={name: told.get(name) for name in ("amount_minor", "currency", "next_try_on", "invoice_id")},
    )  # fmt: skip


_OCTET_UNITS = {"GB", "GiB"}


async def tell_of_usage(work: Work, fact: RecordedFact) -> None:
    """Whose usage comes near what is included is told once in each window, where it is counted in octets."""
    told = fact.payload
    if told["unit"] in _OCTET_UNITS and told["included"]:
        await queue_message(
            work, source=f"quota:{told['bucket']}:{told['window_start']}:{told['percent']}",
            account_id=told["account_id"], template="quota_alert",
            params={name: told[name] for name in ("percent", "used", "included", "window_end")},
        )  # fmt: skip


REACTIONS: dict[str, Reaction] = {
    DunningStageChanged.kind: follow_dunning,
    QuotaReached.kind: follow_cap,
    QuotaCleared.kind: follow_cap_cleared,
    InvoiceFinalised.kind: mail_invoice,
    PaymentReceived.kind: mail_receipt,
    NoticeDue.kind: deliver_notice,
    AutopayFailed.kind: tell_of_declined_payment,
    QuotaAlert.kind: tell_of_usage,
    SubscriptionTurned.kind: follow_subscription,
    EntitlementChanged.kind: enforce_entitlement,
    AddressChanged.kind: enforce_entitlement,
    ProfileRedefined.kind: follow_redefinition,
}


def reactions_of(settings: BillingSettings) -> dict[str, Reaction]:
    """The table for a house with these settings: its language is that of whoever has none of his own."""
    return {**REACTIONS, NoticeDue.kind: partial(deliver_notice, settings=settings)}
