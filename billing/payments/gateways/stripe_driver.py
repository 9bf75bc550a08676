"""Stripe, through its own library. Loaded when something is charged: the library is no part of an idle role.

Charges are PaymentIntents confirmed off-session, pages are Checkout Sessions (docs.stripe.com/api).
"""

from __future__ import annotations

import calendar
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import aiohttp
import stripe

from billing.domain.gateway_charges import ChargeAnswer, ChargeState, Decline, DeclineKind
from billing.payments.gateways.port import (
    LONGEST_CALL_S,
    BadSignatureError,
    ChargeOrder,
    ChargeQuestion,
    GatewayAccess,
    GatewayBusyError,
    GatewayEvent,
    GatewayLockedError,
    GatewayRefusedError,
    GatewaySilentError,
    HostedPage,
    PageWish,
    Refund,
    SavedMethod,
)
from core.secrets import Secret

stripe.enable_telemetry = False  # nobody else is told how long our requests take

_OURS = "hilltop"
"""The key of our metadata on what is Stripe's."""
_PAGES_AT_MOST = 10
_HARD = frozenset({
    "account_closed", "authentication_required", "bank_account_restricted", "card_not_supported",
    "currency_not_supported", "debit_not_authorized", "do_not_try_again", "expired_card", "fraudulent",
    "incorrect_cvc", "incorrect_number", "invalid_account", "invalid_cvc", "invalid_expiry_month",
    "invalid_expiry_year", "invalid_number", "lost_card", "merchant_blacklist",
    "new_account_information_available", "no_account", "pickup_card", "restricted_card",
    "revocation_of_all_authorizations", "revocation_of_authorization", "security_violation",
    "service_not_allowed", "stolen_card", "stop_payment_order", "transaction_not_allowed",
})  # fmt: skip
"""Decline codes after which the same card or account will not pay (docs.stripe.com/declines/codes)."""
_STATE_OF = {
    "succeeded": ChargeState.SUCCEEDED,
    "processing": ChargeState.IN_FLIGHT,
    "requires_capture": ChargeState.IN_FLIGHT,
    "canceled": ChargeState.FAILED,
    "requires_payment_method": ChargeState.FAILED,
    "requires_action": ChargeState.FAILED,  # off-session there is nobody to act
    "requires_confirmation": ChargeState.FAILED,
}
_METHOD_EVENTS = {
    "payment_method.attached", "payment_method.detached", "payment_method.updated",
    "payment_method.automatically_updated",
}  # fmt: skip


class StripeGateway:
    """One Stripe account."""

    def __init__(self, access: GatewayAccess) -> None:
        self._access = access
        http = stripe.AIOHTTPClient(timeout=cast(Any, aiohttp.ClientTimeout(total=LONGEST_CALL_S)))
        self._http = http
        self._stripe = stripe.StripeClient(
            access.key.reveal(),
            base_addresses={"api": access.base_url.rstrip("/")} if access.base_url else None,
            http_client=http,
            max_network_retries=0,  # we look up instead: a charge may be tried again only when we know
        )

    async def check(self) -> str:
        """Asks for the balance."""
        async with _asking():
            balance = await self._stripe.v1.balance.retrieve_async()
        return "Stripe, live" if balance.livemode else "Stripe, test mode"

    async def open_customer(self, key: str, name: str, email: str | None) -> str:
        """A Customer."""
        params: dict[str, Any] = {"name": name, "metadata": {_OURS: key}}
        if email:
            params["email"] = email
        async with _asking():
            made = await self._stripe.v1.customers.create_async(
                cast(Any, params), {"idempotency_key": f"customer-{key}"}
            )
        return made.id

    async def open_page(self, wish: PageWish) -> HostedPage:
        """A Checkout Session: mode payment or setup."""
        ours = {_OURS: wish.key}
        params: dict[str, Any] = {
            "customer": wish.customer, "client_reference_id": wish.key, "metadata": ours,
            "success_url": wish.back_url, "cancel_url": wish.back_url,
        }  # fmt: skip
        if wish.purpose == "save":
            params |= {"mode": "setup", "currency": wish.currency.lower()}
        else:
            price = {
                "currency": wish.currency.lower(), "unit_amount": wish.amount_minor,
                "product_data": {"name": wish.title},
            }  # fmt: skip
            params |= {
                "mode": "payment", "line_items": [{"price_data": price, "quantity": 1}],
                "payment_intent_data": {"metadata": ours, "description": wish.title},
            }  # fmt: skip
        async with _asking():
            made = await self._stripe.v1.checkout.sessions.create_async(
                cast(Any, params), {"idempotency_key": wish.key}
            )
        if not made.url:
            raise GatewayRefusedError("Stripe gave no address for the page")
        return HostedPage(made.url, made.id)

    async def methods_of(self, customer: str) -> list[SavedMethod]:
        """Cards and US bank accounts attached to the Customer."""
        async with _asking():
            found = await self._stripe.v1.customers.payment_methods.list_async(customer, {"limit": 100})
        return [method for one in found.data if (method := _method(one)) is not None]

    async def forget_method(self, customer: str, token: Secret) -> None:
        """Detach."""
        try:
            async with _asking():
                await self._stripe.v1.payment_methods.detach_async(token.reveal())
        except GatewayRefusedError as trouble:
            if "resource_missing" not in str(trouble) and "not attached" not in str(trouble):
                raise

    async def charge(self, order: ChargeOrder) -> ChargeAnswer:
        """A PaymentIntent, confirmed at once."""
        types = ["us_bank_account"] if order.kind == "bank" else ["card"]
        params: dict[str, Any] = {
            "amount": order.amount_minor, "currency": order.currency.lower(), "customer": order.customer,
            "payment_method": order.token.reveal(), "payment_method_types": types, "confirm": True,
            "off_session": True, "description": order.description, "metadata": {_OURS: order.key},
        }  # fmt: skip
        try:
            async with _asking():
                made = await self._stripe.v1.payment_intents.create_async(
                    cast(Any, params), {"idempotency_key": order.key}
                )
        except _Declined as declined:
            return declined.answer
        return _answer(made)

    async def look_up(self, question: ChargeQuestion) -> ChargeAnswer | None:
        """By its id, else among the Customer's PaymentIntents, which are listed as soon as they are made."""
        async with _asking():
            if question.reference:
                return _answer(await self._stripe.v1.payment_intents.retrieve_async(question.reference))
            if question.customer is None:
                return None
            params: dict[str, Any] = {
                "customer": question.customer, "limit": 100,
                "created": {"gte": int((question.since - timedelta(days=1)).timestamp())},
            }  # fmt: skip
            for _ in range(_PAGES_AT_MOST):
                page = await self._stripe.v1.payment_intents.list_async(cast(Any, params))
                for one in page.data:
                    if _plain(one.metadata).get(_OURS) == question.key:
                        return _answer(one)
                if not page.has_more:
                    return None
                params["starting_after"] = page.data[-1].id
        raise GatewaySilentError("Stripe lists more charges of this customer than can be looked through")

    async def refund(self, refund: Refund) -> str:
        """A Refund of the PaymentIntent, unless it has one with our key."""
        async with _asking():
            made_before = await self._stripe.v1.refunds.list_async(
                {"payment_intent": refund.reference, "limit": 100}
            )
            for one in made_before.data:
                if _plain(one.metadata).get(_OURS) == refund.key:
                    return one.id
            made = await self._stripe.v1.refunds.create_async(
                {
                    "payment_intent": refund.reference,
                    "amount": refund.amount_minor,
                    "metadata": {_OURS: refund.key},
                },
                {"idempotency_key": refund.key},
            )
        return made.id

    def read_event(self, body: bytes, headers: Mapping[str, str], now: datetime) -> GatewayEvent:
        """A snapshot event; the library checks ``Stripe-Signature`` and its age (five minutes)."""
        if self._access.webhook_key is None:
            raise BadSignatureError("no webhook signing secret is set")
        try:
            stripe.WebhookSignature.verify_header(
                body, headers.get("Stripe-Signature"), self._access.webhook_key.reveal(), 300
            )
            event = json.loads(body)
            return _event(event)
        except stripe.SignatureVerificationError:
            raise BadSignatureError("the signature is not Stripe's") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadSignatureError("this is no event") from None

    async def close(self) -> None:
        """End the library's session."""
        await self._http.close_async()  # type: ignore[no-untyped-call]


class _Declined(Exception):  # noqa: N818 - the word of the glossary
    def __init__(self, answer: ChargeAnswer) -> None:
        super().__init__("declined")
        self.answer = answer


@asynccontextmanager
async def _asking() -> AsyncIterator[None]:
    """Turns the library's errors into the port's; a decline of a charge is an answer."""
    try:
        yield
    except stripe.CardError as trouble:
        raise _Declined(_decline_of(trouble)) from None
    except stripe.RateLimitError:
        raise GatewayBusyError("Stripe answers that too much is asked at once") from None
    except (stripe.AuthenticationError, stripe.PermissionError) as trouble:
        raise GatewayLockedError(f"Stripe does not take the key: {_words(trouble)}") from None
    except stripe.InvalidRequestError as trouble:
        raise GatewayRefusedError(f"{trouble.code or 'invalid_request'}: {_words(trouble)}") from None
    except stripe.StripeError as trouble:  # 409, 500 and no connection among them
        raise GatewaySilentError(f"Stripe: {type(trouble).__name__}") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as trouble:
        raise GatewaySilentError(f"Stripe: {type(trouble).__name__}") from None


def _words(trouble: stripe.StripeError) -> str:
    """The message without what looks like a key: Stripe repeats the ends of a wrong one."""
    said = trouble.user_message or type(trouble).__name__
    return " ".join("…" if "k_" in word else word for word in said.split())[:300]


def _decline_of(trouble: stripe.CardError) -> ChargeAnswer:
    body = cast(Mapping[str, Any], trouble.json_body or {})
    error = body.get("error") or {}
    intent = error.get("payment_intent") or {}
    return ChargeAnswer(ChargeState.FAILED, intent.get("id"), _decline(error))


def _decline(error: Mapping[str, Any] | None) -> Decline:
    error = error or {}
    code = str(error.get("decline_code") or error.get("code") or "declined")
    kind = DeclineKind.HARD if code in _HARD or error.get("code") in _HARD else DeclineKind.SOFT
    return Decline(kind, code[:60], str(error.get("message") or "Declined.")[:300])


def _answer(intent: Any) -> ChargeAnswer:
    told = _plain(intent)
    status = str(told.get("status"))
    state = _STATE_OF.get(status, ChargeState.UNKNOWN)
    if state is ChargeState.SUCCEEDED:
        return ChargeAnswer(state, told["id"], amount_minor=told.get("amount_received") or told.get("amount"))
    if state is not ChargeState.FAILED:
        return ChargeAnswer(state, told["id"])
    error = told.get("last_payment_error")
    if error is None and status == "requires_action":
        error = {
            "code": "authentication_required",
            "message": "The bank wants the customer to confirm this payment himself.",
        }
    return ChargeAnswer(state, told["id"], _decline(error or {"code": status}))


def _plain(thing: Any) -> dict[str, Any]:
    """A library object, or what came by a webhook, as plain values."""
    if thing is None:
        return {}
    return thing.to_dict() if isinstance(thing, stripe.StripeObject) else dict(thing)


def _method(found: Any) -> SavedMethod | None:
    told = _plain(found)
    token = Secret(told["id"])
    if told.get("type") == "card":
        card = told["card"]
        month, year = int(card["exp_month"]), int(card["exp_year"])
        last_day = date(year, month, calendar.monthrange(year, month)[1])
        return SavedMethod(token, "card", str(card["brand"])[:40], str(card["last4"])[-4:], last_day)
    if told.get("type") == "us_bank_account":
        bank = told["us_bank_account"]
        return SavedMethod(
            token, "bank", str(bank.get("bank_name") or "bank")[:40], str(bank["last4"])[-4:], None
        )
    return None


def _event(event: Mapping[str, Any]) -> GatewayEvent:  # noqa: PLR0911 - one for each kind
    kind, told = str(event["type"])[:80], event["data"]["object"]
    base: dict[str, Any] = {"event_id": str(event["id"])[:80], "kind": kind}
    if kind in ("payment_intent.succeeded", "payment_intent.processing", "payment_intent.payment_failed"):
        answer = _answer(told)
        decline = answer.decline
        return GatewayEvent(
            **base, what="charge", key=_plain(told.get("metadata")).get(_OURS), reference=told["id"],
            state=answer.state, amount_minor=answer.amount_minor, currency=str(told["currency"]).upper(),
            decline_kind=decline.kind if decline else None, decline_code=decline.code if decline else None,
            said=decline.said if decline else None,
        )  # fmt: skip
    if kind == "checkout.session.completed" and told.get("mode") == "setup":
        return GatewayEvent(
            **base, what="methods", customer=told["customer"], key=told.get("client_reference_id")
        )
    if kind == "checkout.session.expired":
        return GatewayEvent(**base, what="expired", key=told.get("client_reference_id"))
    if kind in _METHOD_EVENTS:
        before = event["data"].get("previous_attributes") or {}
        customer = told.get("customer") or before.get("customer")
        return GatewayEvent(**base, what="methods" if customer else "nothing", customer=customer)
    if kind in ("charge.dispute.created", "charge.dispute.closed"):
        what = "disputed" if kind.endswith("created") else "decided"
        return GatewayEvent(**base, what=what, said=_dispute_words(told), **_case(told))
    if kind in ("charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated"):
        what = "taken_back" if kind.endswith("withdrawn") else "given_back"
        return GatewayEvent(**base, what=what, said=f"dispute: {told.get('reason')}", **_case(told))
    if kind in ("refund.created", "refund.failed"):
        what = "refunded" if kind == "refund.created" else "given_back"
        return GatewayEvent(**base, what=what, key=_plain(told.get("metadata")).get(_OURS), **_case(told))
    return GatewayEvent(**base, what="nothing")


def _dispute_words(told: Mapping[str, Any]) -> str:
    until = (told.get("evidence_details") or {}).get("due_by")
    words = f"{told.get('reason')}, {told.get('status')}"
    return (
        words
        if until is None
        else f"{words}, evidence until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC"
    )


def _case(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "case": told["id"], "reference": told.get("payment_intent"), "amount_minor": int(told["amount"]),
        "currency": str(told["currency"]).upper(),
    }  # fmt: skip
