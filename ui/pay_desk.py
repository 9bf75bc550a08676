"""What a customer sees behind a link to pay or to save a card: on the panel's address and on the portal's.

The card itself is typed at the gateway's page. Here nothing is told but what the invoice in his hand says.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from aiohttp import web

from billing.config import BillingSettings
from billing.payments.gateways.hosted_pages import open_hosted_page
from billing.payments.gateways.look_after_charges import GatewayKeeper
from billing.payments.gateways.open_gateways import Gateways
from billing.payments.gateways.pay_link import is_genuine, pay_path
from billing.payments.gateways.saved_methods import remove_method
from billing.payments.gateways.set_autopay import set_autopay
from billing.subscriptions.redeem_promotion import redeem_promotion
from core.refusal import Refusal, Refused, granted
from core.secrets import Sealer
from core.work import Workplace
from ui.config import UiSettings
from ui.read.gateways import OpenPage, PayView, open_pages_of, pay_view
from ui.read.promotions import note_refused_code, refused_codes
from ui.web.guard import CSP
from ui.web.render import Templates
from ui.web.visit import Panel

_PATIENCE_S = 20.0
_ACTOR = "customer:link"
_GUESSING = timedelta(hours=1)
_MOST_GUESSES = 10


_DONE = {
    "forget": "It is forgotten, here and at our payment provider.",
    "autopay_on": "Your invoices are paid by themselves from now on.",
    "autopay_off": "Nothing is charged by itself any more; please pay your invoices when they come.",
    "code": "Thank you: the code counts from your next invoice on.",
}


@dataclass(frozen=True, slots=True)
class PayDesk:
    """Shows and opens what a link is for."""

    workplace: Workplace
    sealer: Sealer
    gateways: Gateways
    templates: Templates
    settings: UiSettings
    billing: BillingSettings

    async def show(self, request: web.Request) -> web.Response:
        """What the link is for; after the gateway's page, what became of it."""
        subject = self._subject(request)
        if "back" in request.query:
            await self._settle(subject)
        done = _DONE.get(request.query.get("done", ""), "")
        view = await self._view(subject)
        return self._page("pay.html", view=view, trouble="", done=done, again=str(request.path))

    async def go(self, request: web.Request) -> web.Response:
        """What the customer asks for: a change of his account's payment, a code, or the gateway's page."""
        subject = self._subject(request)
        view = await self._view(subject)
        posted = await request.post()
        act = str(posted.get("act", ""))
        if act and view.invoice_id is None:
            refusal = await self._change(view, act, str(posted.get("value", ""))[:80])
            if refusal is None:
                return web.Response(status=303, headers={"Location": f"{request.path}?done={act}"})
            trouble = refusal.message
            return self._page("pay.html", view=view, trouble=trouble, again=str(request.path), status=422)
        if not view.takes_cards:  # the page says so itself, in the customer's words
            return self._page("pay.html", view=view, trouble="", again=str(request.path), status=422)
        return await self._lead(request, subject, view, wants_autopay=posted.get("autopay") == "yes")

    async def _change(self, view: PayView, act: str, value: str) -> Refusal | None:
        """Only his own: a card is forgotten, automatic payment switched, a code redeemed."""
        if act == "forget":
            if value not in {one.id for one in view.methods}:
                return None  # it is gone already
            return await remove_method(
                self.workplace, self.gateways, self.sealer, method_id=value, actor=_ACTOR
            )
        if act == "code":
            return await self._redeem(view.account_id, value)
        if act not in {"autopay_on", "autopay_off"}:
            return Refusal("unknown_act", "open the page again and choose once more")
        async with self.workplace.work(_ACTOR) as work:
            return await set_autopay(
                work, account_id=view.account_id, enabled=act == "autopay_on", settings=self.billing
            )

    async def _redeem(self, account_id: str, code: str) -> Refusal | None:
        """Whoever has the link may try a few codes an hour, not all there are."""
        now = self.workplace.clock.now()
        async with self.workplace.reading() as connection:
            if await refused_codes(connection, account_id, now - _GUESSING) >= _MOST_GUESSES:
                return Refusal("too_many", "too many codes were tried; please try again in an hour")
        try:
            async with self.workplace.work(_ACTOR) as work:
                granted(await redeem_promotion(work, code=code, account_id=account_id))
        except Refused as refused:
            async with self.workplace.work(_ACTOR) as work:
                await note_refused_code(work, account_id, refused.refusal)
            return refused.refusal
        return None

    async def _lead(
        self, request: web.Request, subject: str, view: PayView, *, wants_autopay: bool
    ) -> web.Response:
        """The way to the gateway's page; one click more, for a form may not lead elsewhere by itself."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                page = await open_hosted_page(
                    self.workplace, self.gateways, account_id=view.account_id, actor=_ACTOR,
                    purpose="save" if view.invoice_id is None else "pay", invoice_id=view.invoice_id,
                    autopay=wants_autopay, back_url=self._back_url(request, subject),
                )  # fmt: skip
        except TimeoutError:
            page = Refusal("slow", "the payment page does not answer; try again in a while")
        if isinstance(page, Refusal):
            return self._page(
                "pay.html", view=view, trouble=page.message, again=str(request.path), status=422
            )
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(page.url))
        answer = self._page("pay_go.html", view=view, page=page)
        answer.headers["Content-Security-Policy"] = CSP.replace(
            "form-action 'self'", f"form-action 'self' {origin}"
        )
        return answer

    def _subject(self, request: web.Request) -> str:
        subject = request.match_info["subject"]
        if len(subject) > 60 or not is_genuine(self.sealer, subject, request.match_info["mark"]):
            raise web.HTTPNotFound(text="There is no such page. Please use the whole link from your invoice.")
        return subject

    async def _view(self, subject: str) -> PayView:
        async with self.workplace.reading() as connection:
            found = await pay_view(connection, subject, self.workplace.clock.now())
        if found is None:
            raise web.HTTPNotFound(text="This invoice or account is not here any more.")
        return found

    async def _settle(self, subject: str) -> None:
        """Ask the gateway about what this customer has just done; later the worker would."""
        async with self.workplace.reading() as connection:
            pages: list[OpenPage] = await open_pages_of(connection, subject)
        keeper = GatewayKeeper(self.workplace, self.gateways, self.sealer, self.billing)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                for page in pages[:3]:
                    await keeper.settle(page.id, _ACTOR)
        except TimeoutError:
            return

    def _back_url(self, request: web.Request, subject: str) -> str:
        base = self.settings.public_url or f"{request.scheme}://{request.host}"
        return f"{base.rstrip('/')}{pay_path(self.sealer, subject)}?back=1"

    def _page(self, template: str, *, status: int = 200, **context: object) -> web.Response:
        text = self.templates.render(
            template, settings=self.settings, link_to=lambda one: pay_path(self.sealer, one),
            **{"done": "", **context},
        )  # fmt: skip
        return web.Response(text=text, status=status, content_type="text/html")


def pay_desk_of(panel: Panel) -> PayDesk:
    """The desk over the panel's own house."""
    return PayDesk(
        panel.workplace, panel.sealer, panel.gateways, panel.templates, panel.settings, panel.billing
    )
