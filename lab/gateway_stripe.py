"""A gateway that speaks as Stripe does, written from docs.stripe.com/api and /webhooks.

Form-encoded requests with brackets, bearer keys, idempotency keys that are kept with their answer,
PaymentIntents, Customers, Checkout Sessions, Refunds, Disputes, and events signed with ``Stripe-Signature``.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from core.clock import Clock
from lab.gateway_world import HABITS, GatewayWorld, Habit, Hook, Mishap, page_of_cards

Thing = dict[str, Any]
_Act = Callable[[web.Request, Thing], Awaitable[Thing]]
_MISHAP = web.RequestKey("mishap", Mishap)

_MESSAGES = {
    "generic_decline": "Your card was declined.",
    "do_not_honor": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "lost_card": "Your card was declined.",
    "expired_card": "Your card has expired.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
    "debit_not_authorized": "The customer has notified their bank that this payment was unauthorized.",
}
_OWN_CODE = {"expired_card", "authentication_required", "debit_not_authorized"}
_TAKEN = {
    "payment_intents": {
        "amount", "currency", "customer", "payment_method", "payment_method_types", "confirm",
        "off_session", "description", "metadata", "statement_descriptor_suffix", "receipt_email", "mandate",
        "capture_method",
        "error_on_requires_action", "setup_future_usage", "return_url",
    },
    "customers": {"name", "email", "description", "metadata", "phone", "address"},
    "sessions": {
        "mode", "currency", "customer", "client_reference_id", "metadata", "success_url", "cancel_url",
        "line_items", "payment_intent_data", "payment_method_types", "setup_intent_data", "locale",
        "expires_at",
    },
    "refunds": {"payment_intent", "charge", "amount", "metadata", "reason"},
}  # fmt: skip
_SMALLEST = {"usd": 50}


class _Refused(Exception):  # noqa: N818 - the word of the glossary
    def __init__(self, status: int, error: Thing) -> None:
        super().__init__(error.get("message", ""))
        self.status, self.error = status, error


def _again(kept: tuple[str, int, Thing] | None, mark: str) -> tuple[int, Thing]:
    error: Thing = {"type": "idempotency_error"}
    if kept is None:
        return 409, {
            "error": {**error, "code": "idempotency_key_in_use", "message": "A request is under way."}
        }
    if kept[0] != mark:
        words = "Keys for idempotent requests can only be used with the same parameters."
        return 400, {"error": {**error, "message": words}}
    return kept[1], kept[2]


def _invalid(message: str, code: str | None = None, param: str | None = None, status: int = 400) -> _Refused:
    error: Thing = {"type": "invalid_request_error", "message": message}
    return _Refused(status, error | ({"code": code} if code else {}) | ({"param": param} if param else {}))


class StripeSandbox:
    """One test account. ``key`` opens it, ``signing_secret`` signs its webhooks."""

    def __init__(self, clock: Clock, key: str = "sk_test_lab", signing_secret: str = "whsec_lab") -> None:
        self.world = GatewayWorld(clock)
        self.key = key
        self.signing_secret = signing_secret
        self.customers: dict[str, Thing] = {}
        self.methods: dict[str, Thing] = {}
        self.intents: dict[str, Thing] = {}
        self.sessions: dict[str, Thing] = {}
        self.refunds: dict[str, Thing] = {}
        self.disputes: dict[str, Thing] = {}
        self._habits: dict[str, Habit] = {}
        self._kept: dict[str, tuple[str, int, Thing] | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        """Its HTTP."""
        app = web.Application()
        for method, path, act in (
            ("POST", "/v1/customers", self._make_customer),
            ("GET", "/v1/customers/{id}/payment_methods", self._list_methods),
            ("POST", "/v1/payment_methods/{id}/detach", self._detach),
            ("POST", "/v1/payment_intents", self._make_intent),
            ("GET", "/v1/payment_intents", self._list_intents),
            ("GET", "/v1/payment_intents/{id}", self._get_intent),
            ("POST", "/v1/checkout/sessions", self._make_session),
            ("GET", "/v1/checkout/sessions/{id}", self._get_session),
            ("POST", "/v1/refunds", self._make_refund),
            ("GET", "/v1/refunds", self._list_refunds),
            ("GET", "/v1/balance", self._balance),
        ):
            app.router.add_route(method, path, self._served(act))
        app.router.add_get("/c/pay/{id}", self._page)
        app.router.add_post("/c/pay/{id}", self._typed)
        return app

    # What a test or the lab does to the world.

    def save_card(self, customer: str, number: str = "4242424242424242") -> str:
        """The customer saved a card or bank account some time ago; returns its id."""
        return str(self._attach(customer, HABITS[number])["id"])

    def type_card(self, session_id: str, number: str = "4242424242424242") -> str:
        """The customer completes a Checkout page; returns where his browser is sent."""
        session, habit = self.sessions[session_id], HABITS[number]
        if session["status"] != "open":
            raise ValueError(f"the session is {session['status']}")
        method = self._attach(session["customer"], habit)
        if session["mode"] == "setup":
            session |= {"status": "complete", "setup_intent": f"seti_{self.world.number()}"}
            self._tell("setup_intent.succeeded", {"id": session["setup_intent"], "object": "setup_intent"})
        else:
            asked = session["_intent"]
            intent = self._intent({**asked, "customer": session["customer"], "payment_method": method["id"]})
            self._confirm(intent, habit, habit.verdict)
            if intent["status"] == "requires_payment_method":
                return str(session["url"])  # the page shows the decline and lets him try another card
            paid = "paid" if intent["status"] == "succeeded" else "unpaid"
            session |= {"status": "complete", "payment_intent": intent["id"], "payment_status": paid}
        self._tell("checkout.session.completed", _shown(session))
        return str(session["success_url"])

    def expire(self, session_id: str) -> None:
        """A day has passed on an open Checkout page."""
        self.sessions[session_id]["status"] = "expired"
        self._tell("checkout.session.expired", _shown(self.sessions[session_id]))

    def settle(self) -> None:
        """The banks have answered: debits that were processing succeed or fail."""
        for intent in self.intents.values():
            if intent["status"] != "processing":
                continue
            habit = self._habits[intent["payment_method"]]
            if habit.verdict == "approve":
                self._succeed(intent)
            else:
                self._fail(intent, habit.verdict)

    def dispute(self, intent_id: str, amount: int | None = None, reason: str = "fraudulent") -> str:
        """The customer's bank takes the money back, weeks later."""
        intent = self.intents[intent_id]
        made: Thing = {
            "id": f"du_{self.world.number()}", "object": "dispute", "amount": amount or intent["amount"],
            "currency": intent["currency"], "charge": intent["latest_charge"], "payment_intent": intent_id,
            "reason": reason, "status": "needs_response", "metadata": {}, "created": self.world.now_s(),
            "evidence_details": {"due_by": self.world.now_s() + 9 * 86_400, "has_evidence": False},
        }  # fmt: skip
        self.disputes[made["id"]] = made
        self._tell("charge.dispute.created", made)
        self._tell("charge.dispute.funds_withdrawn", made)
        return str(made["id"])

    def fail_refund(self, refund_id: str) -> None:
        """The customer's bank does not take a refund back, days later."""
        self.refunds[refund_id]["status"] = "failed"
        self._tell("refund.failed", self.refunds[refund_id])

    def close_dispute(self, dispute_id: str, *, won: bool) -> None:
        """The bank has decided; what was won comes back."""
        made = self.disputes[dispute_id]
        made["status"] = "won" if won else "lost"
        if won:
            self._tell("charge.dispute.funds_reinstated", made)
        self._tell("charge.dispute.closed", made)

    # Requests.

    def _served(self, act: _Act) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            self.world.asked.append(f"{request.method} {request.path}")
            raw = await request.text() if request.method == "POST" else request.query_string
            status, told = await self._answer(request, act, raw)
            if self.world.delivers_itself:
                self._spawn(self.world.deliver_by_itself())
            if (mishap := request.get(_MISHAP)) is not None:
                failed = await self._befall(request, mishap)
                status, told = failed or (status, told)
            headers = {"Request-Id": f"req_{self.world.number()}"}
            return web.json_response(_shown(told), status=status, headers=headers)

        return answer

    async def _befall(self, request: web.Request, mishap: Mishap) -> tuple[int, Thing] | None:
        """What happens after the charge was made and before the answer leaves."""
        if mishap.hook_first:
            await self.world.deliver()
        if mishap.wire == "gate":
            await self.world.gate.wait()
        if (what := mishap.strikes("after")) == "error":
            return 500, {"error": {"type": "api_error", "message": "An unknown error occurred"}}
        await self.world.strike(request, what)
        return None

    async def _answer(self, request: web.Request, act: _Act, raw: str) -> tuple[int, Thing]:
        """The answer, and the one that was given before to the same idempotency key."""
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return 401, {"error": _invalid("Invalid API Key provided: sk_test_****").error}
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        mark = hashlib.sha256(f"{request.path}\n{raw}".encode()).hexdigest()
        if key in self._kept:
            return _again(self._kept[key], mark)
        if key:
            self._kept[key] = None
        try:
            told: tuple[int, Thing] = 200, await act(request, _nested(raw))
        except _Refused as refused:
            told = refused.status, {"error": refused.error}
        except BaseException:
            self._kept.pop(key or "", None)
            raise
        if told[0] == 429:
            self._kept.pop(key or "", None)
        elif key:
            self._kept[key] = (mark, told[0], copy.deepcopy(told[1]))
        return told

    async def _balance(self, _request: web.Request, _asked: Thing) -> Thing:
        return {"object": "balance", "livemode": False, "available": [], "pending": []}

    async def _make_customer(self, _request: web.Request, asked: Thing) -> Thing:
        _only("customers", asked)
        made = {
            "id": f"cus_{self.world.number()}",
            "object": "customer",
            "created": self.world.now_s(),
            **asked,
        }
        self.customers[made["id"]] = made
        return made

    async def _list_methods(self, request: web.Request, asked: Thing) -> Thing:
        customer = self._customer(request.match_info["id"])
        return _page_of([one for one in self.methods.values() if one["customer"] == customer], asked)

    async def _detach(self, request: web.Request, _asked: Thing) -> Thing:
        method = self.methods.get(request.match_info["id"])
        if method is None or method["customer"] is None:
            raise _invalid(
                "The payment method you provided is not attached to a customer so detachment is impossible."
            )
        before, method["customer"] = method["customer"], None
        self._tell("payment_method.detached", method, {"customer": before})
        return method

    async def _make_intent(self, request: web.Request, asked: Thing) -> Thing:
        mishap = self.world.next_mishap()
        await self._before(request, mishap.strikes("before"))
        _only("payment_intents", asked)
        if asked.get("off_session") == "true" and asked.get("confirm") != "true":
            raise _invalid("You cannot use off_session without confirm=true.", param="off_session")
        method = self.methods.get(str(asked.get("payment_method")))
        if method is None:
            raise _invalid(
                f"No such PaymentMethod: '{asked.get('payment_method')}'",
                "resource_missing",
                "payment_method",
            )
        if method["customer"] != self._customer(asked.get("customer")):
            raise _invalid(
                "The PaymentMethod does not belong to the Customer.", "payment_method_customer_mismatch"
            )
        if method["type"] not in (asked.get("payment_method_types") or ["card"]):
            raise _invalid(
                "The PaymentMethod provided is of a type that is not allowed.", param="payment_method_types"
            )
        habit = self._habits[method["id"]]
        intent = self._intent(asked)
        self._confirm(intent, habit, mishap.verdict or habit.verdict)
        request[_MISHAP] = mishap
        if intent["status"] == "requires_payment_method":
            raise _Refused(402, {**intent["last_payment_error"], "payment_intent": intent})
        return intent

    async def _before(self, request: web.Request, what: str) -> None:
        if what == "error":
            raise _Refused(500, {"type": "api_error", "message": "An unknown error occurred"})
        if what == "busy":
            raise _Refused(
                429, {"type": "invalid_request_error", "code": "rate_limit", "message": "Too many requests"}
            )
        await self.world.strike(request, what)

    async def _list_intents(self, _request: web.Request, asked: Thing) -> Thing:
        since = int((asked.get("created") or {}).get("gte", 0))
        found = [
            one for one in self.intents.values()
            if one["created"] >= since and one["customer"] == asked.get("customer", one["customer"])
        ]  # fmt: skip
        return _page_of(found[::-1], asked)

    async def _get_intent(self, request: web.Request, _asked: Thing) -> Thing:
        return self._found(self.intents, request.match_info["id"], "payment_intent")

    async def _make_session(self, request: web.Request, asked: Thing) -> Thing:
        _only("sessions", asked)
        if asked.get("mode") not in ("payment", "setup"):
            raise _invalid("You must provide mode.", param="mode")
        if (asked["mode"] == "setup") != ("line_items" not in asked):
            raise _invalid("line_items go with mode payment.", param="line_items")
        number = self.world.number()
        made: Thing = {
            "id": f"cs_test_{number}", "object": "checkout.session", "status": "open", "mode": asked["mode"],
            "url": f"{request.url.origin()}/c/pay/cs_test_{number}", "payment_status": "unpaid",
            "customer": self._customer(asked.get("customer")), "success_url": asked["success_url"],
            "client_reference_id": asked.get("client_reference_id"), "metadata": asked.get("metadata", {}),
            "payment_intent": None, "setup_intent": None, "created": self.world.now_s(),
        }  # fmt: skip
        if asked["mode"] == "payment":
            price = asked["line_items"][0]["price_data"]
            made["_intent"] = {
                "amount": int(price["unit_amount"]) * int(asked["line_items"][0]["quantity"]),
                "currency": price["currency"], **asked.get("payment_intent_data", {}),
            }  # fmt: skip
        self.sessions[made["id"]] = made
        return made

    async def _get_session(self, request: web.Request, _asked: Thing) -> Thing:
        return self._found(self.sessions, request.match_info["id"], "checkout.session")

    async def _make_refund(self, _request: web.Request, asked: Thing) -> Thing:
        _only("refunds", asked)
        intent = self._found(self.intents, str(asked.get("payment_intent")), "payment_intent")
        amount = int(asked.get("amount") or intent["amount"])
        if intent["status"] != "succeeded":
            raise _invalid("This PaymentIntent does not have a successful charge to refund.")
        if intent["amount_refunded"] + amount > intent["amount"]:
            raise _invalid(
                "Refund amount is greater than unrefunded amount on charge.", "charge_already_refunded"
            )
        intent["amount_refunded"] += amount
        made: Thing = {
            "id": f"re_{self.world.number()}", "object": "refund", "amount": amount, "status": "succeeded",
            "currency": intent["currency"], "payment_intent": intent["id"], "charge": intent["latest_charge"],
            "metadata": asked.get("metadata", {}), "created": self.world.now_s(),
        }  # fmt: skip
        self.refunds[made["id"]] = made
        self._tell("refund.created", made)
        return made

    async def _list_refunds(self, _request: web.Request, asked: Thing) -> Thing:
        wanted = asked.get("payment_intent")
        return _page_of(
            [one for one in self.refunds.values() if wanted in (None, one["payment_intent"])], asked
        )

    # Things.

    def _intent(self, asked: Mapping[str, Any]) -> Thing:
        amount, currency = int(asked["amount"]), str(asked["currency"])
        if currency != currency.lower():
            raise _invalid("Invalid currency.", param="currency")
        if amount < _SMALLEST.get(currency, 1):
            raise _invalid("Amount must be at least $0.50 usd", "amount_too_small", "amount")
        made: Thing = {
            "id": f"pi_{self.world.number()}", "object": "payment_intent", "amount": amount,
            "amount_received": 0, "amount_refunded": 0, "currency": currency, "livemode": False,
            "customer": asked.get("customer"),
            "payment_method": asked.get("payment_method"), "metadata": dict(asked.get("metadata") or {}),
            "description": asked.get("description"), "status": "requires_confirmation",
            "last_payment_error": None, "latest_charge": None, "created": self.world.now_s(),
        }  # fmt: skip
        self.intents[made["id"]] = made
        self._tell("payment_intent.created", made)
        return made

    def _confirm(self, intent: Thing, habit: Habit, verdict: str) -> None:
        if habit.kind == "bank":
            intent |= {"status": "processing", "latest_charge": f"py_{self.world.number()}"}
            self._tell("payment_intent.processing", intent)
        elif verdict == "approve":
            self._succeed(intent)
        else:
            self._fail(intent, verdict)

    def _succeed(self, intent: Thing) -> None:
        charge = intent["latest_charge"] or f"ch_{self.world.number()}"
        intent |= {"status": "succeeded", "amount_received": intent["amount"], "latest_charge": charge}
        self._tell("payment_intent.succeeded", intent)

    def _fail(self, intent: Thing, verdict: str) -> None:
        error: Thing = {
            "type": "card_error", "code": verdict if verdict in _OWN_CODE else "card_declined",
            "decline_code": verdict, "message": _MESSAGES[verdict],
        }  # fmt: skip
        intent |= {"status": "requires_payment_method", "last_payment_error": error}
        self._tell("payment_intent.payment_failed", intent)

    def _attach(self, customer: str, habit: Habit) -> Thing:
        made: Thing = {
            "id": f"pm_{self.world.number()}", "object": "payment_method", "customer": customer,
            "type": "card" if habit.kind == "card" else "us_bank_account", "created": self.world.now_s(),
        }  # fmt: skip
        if habit.kind == "card":
            year, month = habit.expires
            made["card"] = {"brand": habit.brand, "last4": habit.last4, "exp_month": month, "exp_year": year}
        else:
            made["us_bank_account"] = {
                "bank_name": habit.brand,
                "last4": habit.last4,
                "account_type": "checking",
            }
        self.methods[made["id"]] = made
        self._habits[made["id"]] = habit
        self._tell("payment_method.attached", made)
        return made

    def _customer(self, customer_id: Any) -> str:
        return str(self._found(self.customers, str(customer_id), "customer")["id"])

    @staticmethod
    def _found(things: dict[str, Thing], thing_id: str, name: str) -> Thing:
        if thing_id not in things:
            raise _invalid(f"No such {name}: '{thing_id}'", "resource_missing", status=404)
        return things[thing_id]

    # Webhooks.

    def _tell(self, kind: str, thing: Thing, before: Thing | None = None) -> None:
        event_id = f"evt_{self.world.number()}"
        data: Thing = {"object": copy.deepcopy(_shown(thing))}
        if before is not None:
            data["previous_attributes"] = before
        event = {
            "id": event_id, "object": "event", "type": kind, "created": self.world.now_s(), "livemode": False,
            "api_version": "2025-01-27", "pending_webhooks": 1, "request": None, "data": data,
        }  # fmt: skip
        body = json.dumps(event, indent=2).encode()
        self.world.hooks.append(_hook(event_id, kind, body, self.signing_secret))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The page that a customer sees.

    async def _page(self, request: web.Request) -> web.Response:
        session = self.sessions.get(request.match_info["id"])
        if session is None or session["status"] != "open":
            return web.Response(status=404, text="This page is no longer open.")
        return web.Response(text=page_of_cards(f"/c/pay/{session['id']}", {}), content_type="text/html")

    async def _typed(self, request: web.Request) -> web.Response:
        form = await request.post()
        where = self.type_card(request.match_info["id"], str(form.get("number", "")))
        if self.world.delivers_itself:
            self._spawn(self.world.deliver_by_itself())
        return web.Response(status=303, headers={"Location": where})


def _hook(event_id: str, kind: str, body: bytes, secret: str) -> Hook:
    at = int(time.time())  # the signature's age is judged by the real clock
    signature = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "Stripe-Signature": f"t={at},v1={signature}",
        "Content-Type": "application/json; charset=utf-8",
    }
    return Hook(event_id, kind, body, headers)


def _shown(thing: Thing) -> Thing:
    return {name: value for name, value in thing.items() if not name.startswith("_")}


def _only(what: str, asked: Thing) -> None:
    for name in asked:
        if name not in _TAKEN[what]:
            raise _invalid(f"Received unknown parameter: {name}", "parameter_unknown", name)


def _page_of(things: list[Thing], asked: Thing) -> Thing:
    start = 0
    if after := asked.get("starting_after"):
        start = [one["id"] for one in things].index(after) + 1
    limit = int(asked.get("limit", 10))
    return {
        "object": "list", "data": [_shown(one) for one in things[start : start + limit]],
        "has_more": len(things) > start + limit, "url": "/v1",
    }  # fmt: skip


def _nested(raw: str) -> Thing:
    """``a[b][0]=c`` as Stripe reads it: brackets are objects, and lists where the names are numbers."""
    root: Thing = {}
    for name, value in parse_qsl(raw, keep_blank_values=True):
        path = name.replace("]", "").split("[")
        place = root
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return {name: _listed(value) for name, value in root.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inside = {name: _listed(one) for name, one in value.items()}
    if inside and all(name.isdigit() for name in inside):
        return [inside[name] for name in sorted(inside, key=int)]
    return inside
