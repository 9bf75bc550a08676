"""What a customer sees behind a link to pay or to save a card: on the panel's address and on the portal's.

The card itself is typed at the gateway's page. Here nothing is told but what the invoice in his hand says.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from billing.config import BillingSettings
from billing.payments.gateways.hosted_pages import open_hosted_page
from billing.payments.gateways.look_after_charges import GatewayKeeper
from billing.payments.gateways.open_gateways import Gateways
from billing.payments.gateways.pay_link import is_genuine, pay_path
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Workplace
from ui.config import UiSettings
from ui.read.gateways import OpenPage, PayView, open_pages_of, pay_view
from ui.web.guard import CSP
from ui.web.render import Templates
from ui.web.visit import Panel

_PATIENCE_S = 20.0
_ACTOR = "customer:link"


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
        return self._page("pay.html", view=await self._view(subject), trouble="", again=str(request.path))

    async def go(self, request: web.Request) -> web.Response:
        """The way to the gateway's page; one click more, for a form may not lead elsewhere by itself."""
        subject = self._subject(request)
        view = await self._view(subject)
        wants_autopay = (await request.post()).get("autopay") == "yes"
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
            found = await pay_view(connection, subject)
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
        text = self.templates.render(template, settings=self.settings, **context)
        return web.Response(text=text, status=status, content_type="text/html")


def pay_desk_of(panel: Panel) -> PayDesk:
    """The desk over the panel's own house."""
    return PayDesk(
        panel.workplace, panel.sealer, panel.gateways, panel.templates, panel.settings, panel.billing
    )
