"""Authorize.net, by its JSON interface (developer.authorize.net/api/reference). Loaded when one is charged.

Its JSON is XML in disguise: elements stand in the order of its schema, amounts are decimals, the answer
begins with a byte order mark, and HTTP says 200 to everything.
"""

from __future__ import annotations

import calendar
import hmac
import json
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp

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
from core.instants import read_instant
from core.money import minor_digits, parse_amount
from core.secrets import Secret

_API, _PAGES = "https://api.authorize.net", "https://accept.authorize.net"
_PAGES_OF = {"https://apitest.authorize.net": "https://test.authorize.net"}
_OLDEST_EVENT = timedelta(days=8)
"""Authorize.net gives up delivering before; what is older was kept by somebody."""
_LARGEST_ANSWER = 4 * 2**20
_LISTED_AT_ONCE = 1000

_HARD = frozenset({
    "4", "6", "7", "8", "9", "10", "17", "18", "27", "28", "37", "41", "44", "45", "65", "78", "127", "128",
    "165", "250", "251", "254", "315", "316", "317",
})  # fmt: skip
"""Response reason codes after which it will not pay: pick up, expired, wrong number, AVS, CVV, fraud."""
_DUPLICATE = "11"
_IN_FLIGHT = {
    "authorizedPendingCapture", "FDSPendingReview", "FDSAuthorizedPendingReview", "underReview",
    "authorizedPendingRelease", "approvedReview",
}  # fmt: skip
_FAILED = {
    "declined": DeclineKind.SOFT, "expired": DeclineKind.HARD, "voided": DeclineKind.HARD,
    "failedReview": DeclineKind.HARD, "generalError": DeclineKind.SOFT,
    "communicationError": DeclineKind.SOFT, "settlementError": DeclineKind.SOFT,
    "couldNotVoid": DeclineKind.SOFT,
}  # fmt: skip
_TAKEN_BACK = {"returnedItem", "chargeback"}


class AuthorizeNetGateway:
    """One Authorize.net merchant account, in its one currency."""

    def __init__(self, access: GatewayAccess) -> None:
        self._access = access
        base = (access.base_url or _API).rstrip("/")
        self._api = f"{base}/xml/v1/request.api"
        self._pages = _PAGES if base == _API else _PAGES_OF.get(base, base)
        self._session: aiohttp.ClientSession | None = None

    async def check(self) -> str:
        """``authenticateTestRequest``."""
        await self._ask("authenticateTestRequest", {})
        return "Authorize.net"

    async def open_customer(self, key: str, name: str, email: str | None) -> str:
        """A customer profile; one that was made before is found again by its ``merchantCustomerId``."""
        profile = {"merchantCustomerId": key[-20:], "description": name[:255]}
        if email:
            profile["email"] = email
        told = await self._ask("createCustomerProfileRequest", {"profile": profile}, fine={"E00039"})
        if made := told.get("customerProfileId"):
            return str(made)
        found = re.search(r"ID (\d+)", _message(told)[1])
        if found is None:
            raise GatewayRefusedError(f"Authorize.net: {_message(told)[1]}")
        return found[1]

    async def open_page(self, wish: PageWish) -> HostedPage:
        """Accept Hosted to pay, Accept Customer to save; the browser posts the token there."""
        if wish.purpose == "save":
            told = await self._ask(
                "getHostedProfilePageRequest",
                {
                    "customerProfileId": wish.customer,
                    "hostedProfileSettings": _settings(hostedProfileReturnUrl=wish.back_url),
                },
            )
            return HostedPage(f"{self._pages}/customer/addPayment", None, {"token": str(told["token"])})
        back = {"showReceipt": False, "url": wish.back_url, "cancelUrl": wish.back_url}
        told = await self._ask(
            "getHostedPaymentPageRequest",
            {
                "refId": wish.key,
                "transactionRequest": {
                    "transactionType": "authCaptureTransaction",
                    "amount": _amount(wish.amount_minor or 0, wish.currency),
                    "currencyCode": wish.currency,
                    "profile": {"customerProfileId": wish.customer},
                    "order": {"invoiceNumber": wish.key, "description": wish.title[:255]},
                },
                "hostedPaymentSettings": _settings(
                    hostedPaymentReturnOptions=json.dumps(back),
                    hostedPaymentCustomerOptions=json.dumps({"showEmail": False, "addPaymentProfile": True}),
                ),
            },
        )
        return HostedPage(f"{self._pages}/payment/payment", None, {"token": str(told["token"])})

    async def methods_of(self, customer: str) -> list[SavedMethod]:
        """The payment profiles of the customer profile."""
        told = await self._ask(
            "getCustomerProfileRequest", {"customerProfileId": customer, "unmaskExpirationDate": "true"}
        )
        return [_method(one) for one in _several(told.get("profile", {}).get("paymentProfiles"))]

    async def forget_method(self, customer: str, token: Secret) -> None:
        """Delete the payment profile."""
        await self._ask(
            "deleteCustomerPaymentProfileRequest",
            {"customerProfileId": customer, "customerPaymentProfileId": token.reveal()},
            fine={"E00040"},
        )

    async def charge(self, order: ChargeOrder) -> ChargeAnswer:
        """``authCaptureTransaction`` with a payment profile.

        ``invoiceNumber`` carries our key: by it a charge is found again. There are no idempotency keys here;
        the window against duplicates stands at its longest, eight hours.
        """
        told = await self._ask(
            "createTransactionRequest",
            {
                "refId": order.key,
                "transactionRequest": {
                    "transactionType": "authCaptureTransaction",
                    "amount": _amount(order.amount_minor, order.currency),
                    "currencyCode": order.currency,
                    "profile": {
                        "customerProfileId": order.customer,
                        "paymentProfile": {"paymentProfileId": order.token.reveal()},
                    },
                    "order": {"invoiceNumber": order.key, "description": order.description[:255]},
                    "transactionSettings": _settings(duplicateWindow="28800"),
                },
            },
            fine={"E00027"},
        )
        return _answer_of_charge(told.get("transactionResponse") or {}, order.kind)

    async def look_up(self, question: ChargeQuestion) -> ChargeAnswer | None:
        """``getTransactionDetails`` by the id, which is first found by ``invoiceNumber`` when we lack it."""
        reference = question.reference
        if reference is None:
            reference = await self._find(question.key, question.customer)
        if reference is None:
            return None
        told = await self._details(reference)
        return None if told is None else _answer_of_details(told, question.currency)

    async def _find(self, key: str, customer: str | None) -> str | None:
        if customer is None:
            return None
        told = await self._ask(
            "getTransactionListForCustomerRequest",
            {
                "customerProfileId": customer,
                "sorting": {"orderBy": "submitTimeUTC", "orderDescending": "true"},
                "paging": {"limit": str(_LISTED_AT_ONCE), "offset": "1"},
            },
            fine={"E00040"},
        )
        for one in _several(told.get("transactions")):
            if one.get("invoiceNumber") == key:
                return str(one["transId"])
        return None

    async def _details(self, reference: str) -> dict[str, Any] | None:
        told = await self._ask("getTransactionDetailsRequest", {"transId": reference}, fine={"E00040"})
        found = told.get("transaction")
        return found if isinstance(found, dict) else None

    async def refund(self, refund: Refund) -> str:
        """A refund of a settled charge; one not settled is voided, which takes all of it.

        Raises ``GatewayBusyError`` for a part of what is not settled: that is possible a day later.
        """
        told = await self._details(refund.reference)
        if told is None:
            raise GatewayRefusedError("Authorize.net does not know this charge")
        if (before := await self._refunded_before(refund, told)) is not None:
            return before
        amount = _amount(refund.amount_minor, refund.currency)
        if told.get("transactionStatus") == "capturedPendingSettlement":
            if parse_amount(str(told.get("authAmount")), refund.currency) != refund.amount_minor:
                raise GatewayBusyError("a part can be given back when the charge is settled, a day later")
            wanted: dict[str, Any] = {"transactionType": "voidTransaction", "refTransId": refund.reference}
        else:
            wanted = {
                "transactionType": "refundTransaction", "amount": amount, "payment": _masked(told),
                "refTransId": refund.reference, "order": {"invoiceNumber": refund.key},
            }  # fmt: skip
        made = await self._ask(
            "createTransactionRequest", {"refId": refund.key, "transactionRequest": wanted}, fine={"E00027"}
        )
        response = made.get("transactionResponse") or {}
        if str(response.get("responseCode")) != "1":
            raise GatewayRefusedError(f"Authorize.net: {_reason(response)[1]}")
        return str(response["transId"])

    async def _refunded_before(self, refund: Refund, told: Mapping[str, Any]) -> str | None:
        if told.get("transactionStatus") == "voided":
            return refund.reference
        customer = (told.get("profile") or {}).get("customerProfileId")
        return await self._find(refund.key, None if customer is None else str(customer))

    def read_event(self, body: bytes, headers: Mapping[str, str], now: datetime) -> GatewayEvent:
        """A notification; ``X-ANET-Signature`` is ``sha512=`` and the body's HMAC under the signature key."""
        key = self._access.webhook_key
        if key is None:
            raise BadSignatureError("no signature key is set")
        scheme, _, signature = headers.get("X-ANET-Signature", "").partition("=")
        right = hmac.new(key.reveal().encode(), body, "sha512").hexdigest()
        if scheme.lower() != "sha512" or not hmac.compare_digest(signature.lower().encode(), right.encode()):
            raise BadSignatureError("the signature is not Authorize.net's")
        try:
            told = _read(body)
            event = _event(told)
            sent_at = read_instant(str(told["eventDate"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadSignatureError("this is no event") from None
        if sent_at < now - _OLDEST_EVENT:
            raise BadSignatureError("this event is too old")
        return event

    async def close(self) -> None:
        """End the session."""
        if self._session is not None:
            await self._session.close()

    async def _ask(
        self, name: str, content: Mapping[str, Any], fine: frozenset[str] | set[str] = frozenset()
    ) -> dict[str, Any]:
        """One request; ``fine`` are error codes that the caller understands."""
        login = {"name": self._access.login or "", "transactionKey": self._access.key.reveal()}
        told = await self._send({name: {"merchantAuthentication": login, **content}})
        code, text = _message(told)
        if (told.get("messages") or {}).get("resultCode") == "Ok" or code in fine:
            return told
        if code in ("E00005", "E00006", "E00007", "E00008"):
            raise GatewayLockedError("Authorize.net does not take the API login id and transaction key")
        if code == "E00053":
            raise GatewayBusyError("Authorize.net answers that it is too busy")
        if code in ("", "E00001"):
            raise GatewaySilentError(f"Authorize.net: {text or 'an error of its own'}")
        raise GatewayRefusedError(f"{code}: {text}"[:300])

    async def _send(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LONGEST_CALL_S))
        try:
            async with self._session.post(self._api, json=asked, allow_redirects=False) as response:
                body = await response.content.read(_LARGEST_ANSWER)
                while part := await response.content.read(_LARGEST_ANSWER):
                    body += part
                    if len(body) > _LARGEST_ANSWER:
                        raise GatewaySilentError("Authorize.net: an answer without end")
                if response.status == 429:
                    raise GatewayBusyError("Authorize.net answers that too much is asked at once")
                if response.status != 200:
                    raise GatewaySilentError(f"Authorize.net: HTTP {response.status}")
                return _read(body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as trouble:
            raise GatewaySilentError(f"Authorize.net: {type(trouble).__name__}") from None


def _read(body: bytes) -> dict[str, Any]:
    """JSON behind a byte order mark (RFC 8259 section 8.1: a reader may ignore it); amounts stay decimal."""
    told = json.loads(body.decode("utf-8-sig"), parse_float=Decimal)
    if not isinstance(told, dict):
        raise ValueError("no object")  # noqa: TRY004 - what is read is the trouble, not the program
    return told


def _several(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [] if found is None else [found]


def _settings(**values: str) -> dict[str, Any]:
    return {"setting": [{"settingName": name, "settingValue": value} for name, value in values.items()]}


def _message(told: Mapping[str, Any]) -> tuple[str, str]:
    first = _several((told.get("messages") or {}).get("message"))[:1]
    return (str(first[0].get("code", "")), str(first[0].get("text", ""))) if first else ("", "")


def _amount(amount_minor: int, currency: str) -> str:
    digits = minor_digits(currency)
    return f"{Decimal(amount_minor).scaleb(-digits):.{digits}f}"


def _reason(response: Mapping[str, Any]) -> tuple[str, str]:
    for one in _several(response.get("errors")):
        return str(one.get("errorCode", "")), str(one.get("errorText", ""))
    for one in _several(response.get("messages")):
        return str(one.get("code", "")), str(one.get("description", ""))
    return "", "no reason given"


def _answer_of_charge(response: Mapping[str, Any], kind: str) -> ChargeAnswer:
    verdict = str(response.get("responseCode", ""))
    reference = str(response.get("transId") or "0")
    known = None if reference == "0" else reference
    if verdict == "1":
        # An electronic cheque that was taken is not money yet: the bank answers days later.
        state = ChargeState.IN_FLIGHT if kind == "bank" else ChargeState.SUCCEEDED
        return ChargeAnswer(state, known)
    if verdict == "4":
        return ChargeAnswer(ChargeState.IN_FLIGHT, known)
    code, text = _reason(response)
    if verdict not in ("2", "3") or code == _DUPLICATE:
        raise GatewaySilentError(f"Authorize.net: {text}")  # the first of the two is looked up
    return ChargeAnswer(ChargeState.FAILED, known, _decline(code, text))


def _decline(code: str, text: str) -> Decline:
    return Decline(DeclineKind.HARD if code in _HARD else DeclineKind.SOFT, code[:60], text[:300])


def _answer_of_details(told: Mapping[str, Any], currency: str) -> ChargeAnswer:
    status, reference = str(told.get("transactionStatus")), str(told["transId"])
    is_bank = "bankAccount" in (told.get("payment") or {})
    if status == "settledSuccessfully" or (status == "capturedPendingSettlement" and not is_bank):
        amount = told.get("settleAmount") or told.get("authAmount")
        return ChargeAnswer(
            ChargeState.SUCCEEDED,
            reference,
            None,
            None if amount is None else parse_amount(str(amount), currency),
        )
    if status == "capturedPendingSettlement" or status in _IN_FLIGHT:
        return ChargeAnswer(ChargeState.IN_FLIGHT, reference)
    if status in _TAKEN_BACK:
        item = (_several(told.get("returnedItems")) or [{}])[0]
        code, said = (
            str(item.get("code") or status),
            str(item.get("description") or "Taken back by the bank."),
        )
        return ChargeAnswer(
            ChargeState.CHARGED_BACK, reference, Decline(DeclineKind.HARD, code[:60], said[:300])
        )
    if status in _FAILED:
        code = str(told.get("responseReasonCode") or status)
        said = str(told.get("responseReasonDescription") or status)
        hard = DeclineKind.HARD if code in _HARD else _FAILED[status]
        return ChargeAnswer(ChargeState.FAILED, reference, Decline(hard, code[:60], said[:300]))
    return ChargeAnswer(ChargeState.UNKNOWN, reference)


def _masked(told: Mapping[str, Any]) -> dict[str, Any]:
    """How a refund names the card or account of its charge: as masked as it was told."""
    payment = told.get("payment") or {}
    if bank := payment.get("bankAccount"):
        names = ("accountType", "routingNumber", "accountNumber", "nameOnAccount")
        return {"bankAccount": {name: bank[name] for name in names if name in bank}}
    number = str((payment.get("creditCard") or {}).get("cardNumber", ""))
    return {"creditCard": {"cardNumber": number[-4:], "expirationDate": "XXXX"}}


def _method(told: Mapping[str, Any]) -> SavedMethod:
    token, payment = Secret(str(told["customerPaymentProfileId"])), told.get("payment") or {}
    if bank := payment.get("bankAccount"):
        return SavedMethod(
            token, "bank", str(bank.get("bankName") or "bank")[:40], str(bank["accountNumber"])[-4:], None
        )
    card = payment.get("creditCard") or {}
    brand = str(card.get("cardType") or "card").lower()[:40]
    return SavedMethod(
        token, "card", brand, str(card.get("cardNumber", ""))[-4:], _last_day(card.get("expirationDate"))
    )


def _last_day(expires: Any) -> date | None:
    found = re.fullmatch(r"(\d{4})-(\d{2})", str(expires or ""))
    if found is None:
        return None
    year, month = int(found[1]), int(found[2])
    return date(year, month, calendar.monthrange(year, month)[1]) if 1 <= month <= 12 else None


def _event(told: Mapping[str, Any]) -> GatewayEvent:
    kind, payload = str(told["eventType"])[:80], told["payload"]
    base: dict[str, Any] = {"event_id": str(told["notificationId"])[:80], "kind": kind}
    if ".customer.paymentProfile." in kind:
        return GatewayEvent(**base, what="methods", customer=str(payload["customerProfileId"]))
    if ".payment." in kind and payload.get("entityName") == "transaction" and ".refund." not in kind:
        key = payload.get("invoiceNumber") or payload.get("merchantReferenceId")
        return GatewayEvent(**base, what="look", reference=str(payload["id"]), key=str(key) if key else None)
    return GatewayEvent(**base, what="nothing")
