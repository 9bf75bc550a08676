"""A gateway that speaks as Authorize.net does, written from developer.authorize.net/api/reference.

One address for every request; JSON whose elements stand in the order of the XML schema, or E00003; answers
behind a byte order mark, always HTTP 200; charges found by ``invoiceNumber``; no idempotency keys, but a
window in which the same amount, card and invoice is a duplicate; webhooks signed with ``X-ANET-Signature``.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from aiohttp import web

from core.clock import Clock
from lab.gateway_world import HABITS, GatewayWorld, Habit, Hook, Mishap, page_of_cards

Thing = dict[str, Any]

_BOM = b"\xef\xbb\xbf"
_REASONS = {  # response code and reason code of our verdicts, from the tool of response reason codes
    "generic_decline": ("2", "2", "This transaction has been declined."),
    "do_not_honor": ("2", "2", "This transaction has been declined."),
    "insufficient_funds": ("2", "2", "This transaction has been declined."),
    "authentication_required": ("2", "2", "This transaction has been declined."),
    "lost_card": ("2", "4", "This transaction has been declined."),
    "expired_card": ("3", "8", "The credit card has expired."),
}
_ORDER = {  # of the elements of each request, AnetApiSchema.xsd
    "authenticateTestRequest": ("merchantAuthentication", "refId"),
    "createCustomerProfileRequest": ("merchantAuthentication", "refId", "profile", "validationMode"),
    "getCustomerProfileRequest": (
        "merchantAuthentication", "refId", "customerProfileId", "merchantCustomerId", "email",
        "unmaskExpirationDate", "includeIssuerInfo",
    ),
    "deleteCustomerPaymentProfileRequest": (
        "merchantAuthentication", "refId", "customerProfileId", "customerPaymentProfileId",
    ),
    "getHostedProfilePageRequest": (
        "merchantAuthentication", "refId", "customerProfileId", "hostedProfileSettings",
    ),
    "getHostedPaymentPageRequest": (
        "merchantAuthentication", "refId", "transactionRequest", "hostedPaymentSettings",
    ),
    "createTransactionRequest": ("merchantAuthentication", "refId", "transactionRequest"),
    "getTransactionDetailsRequest": ("merchantAuthentication", "refId", "transId"),
    "getTransactionListForCustomerRequest": (
        "merchantAuthentication", "refId", "customerProfileId", "customerPaymentProfileId", "sorting",
        "paging",
    ),
}  # fmt: skip
_TRANSACTION = (
    "transactionType", "amount", "currencyCode", "payment", "profile", "solution", "callId", "terminalNumber",
    "authCode", "refTransId", "splitTenderId", "order", "lineItems", "tax", "duty", "shipping", "taxExempt",
    "poNumber", "customer", "billTo", "shipTo", "customerIP", "cardholderAuthentication", "retail",
    "employeeId", "transactionSettings", "userFields",
)  # fmt: skip


class _Refused(Exception):  # noqa: N818 - the word of the glossary
    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class AuthorizeNetSandbox:
    """One merchant account. ``login`` and ``key`` open it, ``signature_key`` signs its webhooks."""

    def __init__(
        self,
        clock: Clock,
        login: str = "lab-login",
        key: str = "lab-transaction-key",
        signature_key: str = "5A" * 64,
    ) -> None:
        self.world = GatewayWorld(clock)
        self.login, self.key, self.signature_key = login, key, signature_key
        self.profiles: dict[str, Thing] = {}
        self.transactions: dict[str, Thing] = {}
        self._methods: dict[str, tuple[str, Habit]] = {}
        self._pages: dict[str, Thing] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._acts: dict[str, Callable[[Thing], Thing]] = {
            "authenticateTestRequest": lambda _: {},
            "createCustomerProfileRequest": self._make_profile,
            "getCustomerProfileRequest": self._get_profile,
            "deleteCustomerPaymentProfileRequest": self._delete_method,
            "getHostedProfilePageRequest": self._profile_page,
            "getHostedPaymentPageRequest": self._payment_page,
            "createTransactionRequest": self._transact,
            "getTransactionDetailsRequest": self._details,
            "getTransactionListForCustomerRequest": self._list,
        }

    def app(self) -> web.Application:
        """Its HTTP."""
        app = web.Application()
        app.router.add_post("/xml/v1/request.api", self._serve)
        app.router.add_post("/payment/payment", self._show_page)
        app.router.add_post("/customer/addPayment", self._show_page)
        app.router.add_post("/typed", self._typed)
        return app

    # What a test or the lab does to the world.

    def save_card(self, customer: str, number: str = "4242424242424242") -> str:
        """The customer saved a card or bank account some time ago; returns the payment profile's id."""
        method_id = str(900_000 + self.world.number())
        self._methods[method_id] = (customer, HABITS[number])
        payload = {
            "customerProfileId": int(customer),
            "entityName": "customerPaymentProfile",
            "id": method_id,
        }
        self._tell("net.authorize.customer.paymentProfile.created", payload)
        return method_id

    def type_card(self, token: str, number: str = "4242424242424242") -> str:
        """The customer completes a hosted page; returns where his browser is sent."""
        page = self._pages[token]
        if page["purpose"] == "save":
            self.save_card(page["customer"], number)
            return str(page["back"])
        request: Thing = page["request"]
        made = self._charge(request, page["customer"], HABITS[number], page["refId"], HABITS[number].verdict)
        if made["responseCode"] == 1:
            self._pages.pop(token)
        return str(page["back"])

    def settle(self) -> None:
        """The nightly settlement; the banks have answered electronic cheques."""
        for one in self.transactions.values():
            if one["transactionStatus"] != "capturedPendingSettlement":
                continue
            habit = one["_habit"]
            if habit.kind == "bank" and habit.verdict != "approve":
                self.give_back(one["transId"], "R01", "Insufficient Funds")
            elif one["transactionType"] == "refundTransaction":
                one["transactionStatus"] = "refundSettledSuccessfully"
            else:
                one["transactionStatus"] = "settledSuccessfully"

    def give_back(self, trans_id: str, code: str, description: str) -> None:
        """An electronic cheque comes back, also weeks after it was settled. No webhook tells of it."""
        item = {"id": trans_id, "code": code, "description": description}
        self.transactions[trans_id] |= {"transactionStatus": "returnedItem", "returnedItems": [item]}

    # Requests.

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        try:
            ((name, content),) = json.loads(await request.text(), parse_float=Decimal).items()
        except (ValueError, AttributeError):
            return _answer(_messages("Error", "E00003", "The request cannot be read."))
        self.world.asked.append(name)
        mishap = self._mishap_of(name, content)
        if mishap.wire == "busy":
            return _answer(
                _messages("Error", "E00053", "The server is currently too busy to service this request.")
            )
        if (what := mishap.strikes("before")) == "error":
            return web.Response(status=500, text="<html>Server Error</html>")
        await self.world.strike(request, what)
        told = self._told(name, content, mishap)
        if self.world.delivers_itself:
            self._spawn()
        if mishap.hook_first:
            await self.world.deliver()
        if mishap.wire == "gate":
            await self.world.gate.wait()
        if (what := mishap.strikes("after")) == "error":
            return web.Response(status=500, text="<html>Server Error</html>")
        await self.world.strike(request, what)
        return _answer(told)

    def _mishap_of(self, name: str, content: Any) -> Mishap:
        wanted = content.get("transactionRequest", {}) if isinstance(content, dict) else {}
        charges = (
            name == "createTransactionRequest" and wanted.get("transactionType") == "authCaptureTransaction"
        )
        return self.world.next_mishap() if charges else Mishap()

    def _told(self, name: str, content: Thing, mishap: Mishap) -> Thing:
        try:
            _check_order(name, content)
            self._check_login(content["merchantAuthentication"])
            if mishap.verdict:
                content = {**content, "_verdict": mishap.verdict}
            told = self._acts[name](content)
        except _Refused as refused:
            told = _messages("Error", refused.code, refused.text)
        told.setdefault("messages", _messages("Ok", "I00001", "Successful.")["messages"])
        return told | ({"refId": content["refId"]} if "refId" in content else {})

    def _check_login(self, login: Thing) -> None:
        if (login.get("name"), login.get("transactionKey")) != (self.login, self.key):
            raise _Refused("E00007", "User authentication failed due to invalid authentication values.")

    def _make_profile(self, asked: Thing) -> Thing:
        profile = asked["profile"]
        if len(str(profile.get("merchantCustomerId", ""))) > 20:
            raise _Refused("E00003", "The actual length is greater than the MaxLength value.")
        for one_id, one in self.profiles.items():
            if one["merchantCustomerId"] == profile["merchantCustomerId"]:
                raise _Refused("E00039", f"A duplicate record with ID {one_id} already exists.")
        profile_id = str(500_000 + self.world.number())
        self.profiles[profile_id] = dict(profile)
        return {"customerProfileId": profile_id, "customerPaymentProfileIdList": []}

    def _get_profile(self, asked: Thing) -> Thing:
        profile_id = str(asked["customerProfileId"])
        profile = self._profile(profile_id)
        unmasked = asked.get("unmaskExpirationDate") == "true"
        payments = [
            {"customerPaymentProfileId": method_id, "payment": _payment_shown(habit, unmasked)}
            for method_id, (owner, habit) in self._methods.items()
            if owner == profile_id
        ]
        shown = {**profile, "customerProfileId": profile_id}
        return {"profile": shown | ({"paymentProfiles": payments} if payments else {})}

    def _delete_method(self, asked: Thing) -> Thing:
        method_id = str(asked["customerPaymentProfileId"])
        if self._methods.get(method_id, ("",))[0] != str(asked["customerProfileId"]):
            raise _Refused("E00040", "The record cannot be found.")
        del self._methods[method_id]
        return {}

    def _profile_page(self, asked: Thing) -> Thing:
        customer = str(asked["customerProfileId"])
        self._profile(customer)
        back = _setting(asked["hostedProfileSettings"], "hostedProfileReturnUrl")
        return self._page({"purpose": "save", "customer": customer, "back": back})

    def _payment_page(self, asked: Thing) -> Thing:
        wanted = asked["transactionRequest"]
        _check_transaction(wanted)
        options = json.loads(_setting(asked["hostedPaymentSettings"], "hostedPaymentReturnOptions"))
        customer = str(wanted.get("profile", {}).get("customerProfileId", ""))
        return self._page({
            "purpose": "pay", "customer": customer, "request": wanted, "refId": asked.get("refId"),
            "back": options["url"],
        })  # fmt: skip

    def _page(self, page: Thing) -> Thing:
        token = hashlib.sha256(str(self.world.number()).encode()).hexdigest()
        self._pages[token] = page
        return {"token": token}

    def _transact(self, asked: Thing) -> Thing:
        wanted = asked["transactionRequest"]
        _check_transaction(wanted)
        kind = wanted["transactionType"]
        if kind == "authCaptureTransaction":
            customer = str(wanted["profile"]["customerProfileId"])
            method_id = str(wanted["profile"]["paymentProfile"]["paymentProfileId"])
            if self._methods.get(method_id, ("",))[0] != customer:
                raise _Refused("E00040", "Customer Profile ID or Customer Payment Profile ID not found.")
            habit = self._methods[method_id][1]
            if self._is_duplicate(wanted, habit):
                words = "A duplicate transaction has been submitted."
                return _unsuccessful({"responseCode": "3", "transId": "0", "errors": [_error("11", words)]})
            made = self._charge(
                wanted, customer, habit, asked.get("refId"), asked.get("_verdict") or habit.verdict
            )
            return _response_of(made)
        return self._give_money_back(kind, wanted)

    def _is_duplicate(self, wanted: Thing, habit: Habit) -> bool:
        window = timedelta(
            seconds=int(_setting(wanted.get("transactionSettings", {}), "duplicateWindow") or 120)
        )
        since = self.world.clock.now() - window
        return any(
            one["_habit"] == habit
            and one["authAmount"] == Decimal(str(wanted["amount"]))
            and one["order"].get("invoiceNumber") == wanted.get("order", {}).get("invoiceNumber")
            and one["_at"] > since
            for one in self.transactions.values()
        )

    def _charge(self, wanted: Thing, customer: str, habit: Habit, ref_id: Any, verdict: str) -> Thing:
        verdict = "approve" if habit.kind == "bank" else verdict  # a bank says no days later
        response, reason, text = _REASONS.get(verdict, ("1", "1", "This transaction has been approved."))
        amount = Decimal(str(wanted["amount"]))
        made = self._transaction({
            "transactionType": "authCaptureTransaction", "order": wanted.get("order", {}),
            "transactionStatus": "capturedPendingSettlement" if response == "1" else "declined",
            "responseCode": int(response), "responseReasonCode": int(reason),
            "responseReasonDescription": text,
            "authAmount": amount, "settleAmount": amount, "payment": _payment_shown(habit, unmasked=False),
            "profile": {"customerProfileId": customer}, "_habit": habit,
        })  # fmt: skip
        payload = {
            "responseCode": int(response), "authCode": "0LAB00", "avsResponse": "Y",
            "authAmount": float(amount), "invoiceNumber": made["order"].get("invoiceNumber"),
            "entityName": "transaction",
            "id": made["transId"], **({"merchantReferenceId": ref_id} if ref_id else {}),
        }  # fmt: skip
        self._tell("net.authorize.payment.authcapture.created", payload)
        return made

    def _give_money_back(self, kind: str, wanted: Thing) -> Thing:
        first = self.transactions.get(str(wanted.get("refTransId")))
        if first is None:
            return _unsuccessful(
                {
                    "responseCode": "3",
                    "transId": "0",
                    "errors": [_error("16", "The transaction was not found.")],
                }
            )
        settled = first["transactionStatus"] == "settledSuccessfully"
        if kind == "voidTransaction" and not settled:
            first["transactionStatus"] = "voided"
            return {"transactionResponse": {"responseCode": "1", "transId": first["transId"]}}
        if kind != "refundTransaction" or not settled or not _same_account(wanted, first):
            words = "The referenced transaction does not meet the criteria for issuing a credit."
            return _unsuccessful({"responseCode": "3", "transId": "0", "errors": [_error("54", words)]})
        amount = Decimal(str(wanted["amount"]))
        made = self._transaction({
            **{name: first[name] for name in ("payment", "profile", "_habit")},
            "order": wanted.get("order", {}),
            "transactionType": "refundTransaction", "transactionStatus": "refundPendingSettlement",
            "responseCode": 1, "responseReasonCode": 1, "responseReasonDescription": "Approval",
            "authAmount": amount, "settleAmount": amount, "refTransId": first["transId"],
        })  # fmt: skip
        return _response_of(made)

    def _details(self, asked: Thing) -> Thing:
        found = self.transactions.get(str(asked["transId"]))
        if found is None:
            raise _Refused("E00040", "The record cannot be found.")
        return {"transaction": {name: value for name, value in found.items() if not name.startswith("_")}}

    def _list(self, asked: Thing) -> Thing:
        customer = str(asked["customerProfileId"])
        self._profile(customer)
        names = ("transId", "submitTimeUTC", "transactionStatus", "settleAmount")
        found = [
            {**{name: one[name] for name in names}, **({"invoiceNumber": number} if number else {})}
            for one in reversed(self.transactions.values())
            if one["profile"]["customerProfileId"] == customer
            for number in [one["order"].get("invoiceNumber")]
        ]
        limit = int(asked.get("paging", {}).get("limit", 1000))
        return {"totalNumInResultSet": len(found), **({"transactions": found[:limit]} if found else {})}

    # Things.

    def _profile(self, profile_id: str) -> Thing:
        if profile_id not in self.profiles:
            raise _Refused("E00040", "The record cannot be found.")
        return self.profiles[profile_id]

    def _transaction(self, values: Thing) -> Thing:
        at = self.world.clock.now()
        trans_id = str(60_000_000_000 + self.world.number())
        made = {"transId": trans_id, "submitTimeUTC": f"{at:%Y-%m-%dT%H:%M:%SZ}", "_at": at, **values}
        self.transactions[trans_id] = made
        return made

    def _tell(self, kind: str, payload: Thing) -> None:
        at = self.world.clock.now()
        event_id = str(uuid.UUID(int=self.world.number()))
        event = {
            "notificationId": event_id, "eventType": kind, "eventDate": f"{at:%Y-%m-%dT%H:%M:%S}.1234567Z",
            "webhookId": str(uuid.UUID(int=1)), "payload": payload,
        }  # fmt: skip
        body = json.dumps(event, separators=(",", ":")).encode()
        signature = hmac.new(self.signature_key.encode(), body, hashlib.sha512).hexdigest().upper()
        headers = {"X-ANET-Signature": f"sha512={signature}", "Content-Type": "application/json"}
        self.world.hooks.append(Hook(event_id, kind, body, headers))

    def _spawn(self) -> None:
        task = asyncio.get_running_loop().create_task(self.world.deliver_by_itself())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The pages that a customer sees.

    async def _show_page(self, request: web.Request) -> web.Response:
        token = str((await request.post()).get("token", ""))
        if token not in self._pages:
            return web.Response(status=404, text="Missing or invalid token.")
        return web.Response(text=page_of_cards("/typed", {"token": token}), content_type="text/html")

    async def _typed(self, request: web.Request) -> web.Response:
        form = await request.post()
        where = self.type_card(str(form.get("token", "")), str(form.get("number", "")))
        if self.world.delivers_itself:
            self._spawn()
        return web.Response(status=303, headers={"Location": where})


def _answer(told: Thing) -> web.Response:
    body = _BOM + json.dumps(told, default=float).encode()
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _messages(verdict: str, code: str, text: str) -> Thing:
    return {"messages": {"resultCode": verdict, "message": [{"code": code, "text": text}]}}


def _error(code: str, text: str) -> Thing:
    return {"errorCode": code, "errorText": text}


def _unsuccessful(response: Thing) -> Thing:
    return {
        "transactionResponse": response,
        **_messages("Error", "E00027", "The transaction was unsuccessful."),
    }


def _response_of(made: Thing) -> Thing:
    response: Thing = {
        "responseCode": str(made["responseCode"]), "authCode": "0LAB00", "avsResultCode": "Y",
        "transId": made["transId"], "accountNumber": f"XXXX{made['_habit'].last4}",
    }  # fmt: skip
    code, text = str(made["responseReasonCode"]), made["responseReasonDescription"]
    if made["responseCode"] == 1:
        return {"transactionResponse": {**response, "messages": [{"code": code, "description": text}]}}
    response["errors"] = [_error(code, text)]
    return {"transactionResponse": response} if made["responseCode"] == 2 else _unsuccessful(response)


def _payment_shown(habit: Habit, unmasked: bool) -> Thing:
    if habit.kind == "bank":
        return {
            "bankAccount": {
                "accountType": "checking", "routingNumber": f"XXXX{habit.routing[-4:]}",
                "accountNumber": f"XXXX{habit.last4}", "nameOnAccount": "Lab", "bankName": habit.brand,
            }
        }  # fmt: skip
    year, month = habit.expires
    expires = f"{year}-{month:02d}" if unmasked else "XXXX"
    return {
        "creditCard": {
            "cardNumber": f"XXXX{habit.last4}", "expirationDate": expires,
            "cardType": habit.brand.capitalize(),
        }
    }  # fmt: skip


def _same_account(wanted: Thing, first: Thing) -> bool:
    habit, payment = first["_habit"], wanted.get("payment", {})
    if habit.kind == "bank":
        return bool(str(payment.get("bankAccount", {}).get("accountNumber", ""))[-4:] == habit.last4)
    return bool(payment.get("creditCard") == {"cardNumber": habit.last4, "expirationDate": "XXXX"})


def _setting(settings: Mapping[str, Any], name: str) -> str:
    for one in settings.get("setting", []):
        if one["settingName"] == name:
            return str(one["settingValue"])
    return ""


def _check_order(name: str, content: Any) -> None:
    if name not in _ORDER or not isinstance(content, dict):
        raise _Refused("E00003", f"The element '{name}' is not declared.")
    _in_order(name, content, _ORDER[name])
    if "merchantAuthentication" not in content:
        raise _Refused("E00003", f"The element '{name}' has incomplete content.")
    if len(str(content.get("refId", ""))) > 20:
        raise _Refused("E00003", "The 'refId' element is invalid: longer than 20 characters.")


def _check_transaction(wanted: Thing) -> None:
    _in_order("transactionRequest", wanted, _TRANSACTION)
    if len(str(wanted.get("order", {}).get("invoiceNumber", ""))) > 20:
        raise _Refused("E00003", "The 'invoiceNumber' element is invalid: longer than 20 characters.")


def _in_order(name: str, content: Thing, order: tuple[str, ...]) -> None:
    places = [order.index(one) if one in order else -1 for one in content]
    if -1 in places or places != sorted(places):
        raise _Refused("E00003", f"The element '{name}' has invalid child element, in this place or at all.")
