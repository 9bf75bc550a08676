"""What a page handler is given, and how routes are declared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.effect import Effect
from billing.config import BillingSettings
from billing.payments.gateways.open_gateways import Gateways
from core.clock import Clock
from core.refusal import Refusal, Refused, granted
from core.secrets import Sealer
from core.work import Work, Workplace
from ui.config import UiSettings
from ui.passwords import Passwords
from ui.permissions import Permission, allows
from ui.ports import AbsentRoles, CrossRoomActs, RadiusMetrics, Usage
from ui.sign_in import SignIns
from ui.store.operator_rows import Operator, SignIn
from ui.web.bill_runs import BillRuns
from ui.web.forms import Form
from ui.web.look_backs import LookBacks
from ui.web.render import Templates
from ui.web.webhook_counts import WebhookCounts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Panel:
    """What every page may use; made once by ``build_app``."""

    workplace: Workplace
    sealer: Sealer
    usage: Usage
    settings: UiSettings
    clock: Clock  # the machine's own; records follow ``workplace.clock``
    passwords: Passwords
    sign_ins: SignIns
    templates: Templates
    bill_runs: BillRuns
    look_backs: LookBacks
    billing: BillingSettings
    acts: CrossRoomActs
    effect_of_stage: Mapping[str, Effect]  # what each dunning stage does to services, for the preview
    absent_roles: AbsentRoles
    radius_metrics: RadiusMetrics
    gateways: Gateways
    webhooks: WebhookCounts


PANEL: web.AppKey[Panel] = web.AppKey("panel", Panel)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request: who asks, and what the panel offers to answer it."""

    request: web.Request
    panel: Panel
    sign_in: SignIn | None

    @property
    def operator(self) -> Operator:
        """Who is signed in; only routes that ask for a sign-in may use it."""
        if self.sign_in is None:
            raise RuntimeError("a page for operators was reached without a sign-in")
        return self.sign_in.operator

    @property
    def wants_fragment(self) -> bool:
        """True when htmx asks for a part of the page."""
        return self.request.headers.get("HX-Request") == "true"

    @property
    def wants_csv(self) -> bool:
        """True when the table is asked for as a file."""
        return self.query("format") == "csv"

    def may(self, permission: Permission) -> bool:
        """True when the operator holds ``permission``: decides which buttons a page shows."""
        return self.sign_in is not None and allows(self.operator.role, permission)

    def query(self, name: str, default: str = "") -> str:
        """A query parameter, trimmed and bounded."""
        return self.request.query.get(name, default).strip()[:200]

    def path(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

    async def form(self) -> Form:
        """The posted fields."""
        posted = await self.request.post()
        return Form({name: value for name, value in posted.items() if isinstance(value, str)})

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A snapshot to read from."""
        return self.panel.workplace.reading()

    def work(self) -> AbstractAsyncContextManager[Work]:
        """A transaction in the operator's name."""
        return self.panel.workplace.work(f"operator:{self.operator.name}")

    async def attempt(self, form: Form, action: Callable[[Work], Awaitable[T | Refusal]]) -> T | Refusal:
        """Run a use case in one transaction; a refusal rolls it back and is shown beside its field."""
        try:
            async with self.work() as work:
                return granted(await action(work))
        except Refused as refused:
            form.refuse(refused.refusal)
            return refused.refusal

    def page(self, template: str, *, status: int = 200, **context: object) -> web.Response:
        """A page from a template."""
        text = self.panel.templates.render(template, visit=self, **context)
        return web.Response(text=text, status=status, content_type="text/html")

    def see(self, path: str, notice: str | None = None) -> web.Response:
        """Go on to another page (303), with one of the fixed notices."""
        if notice:
            path += f"{'&' if '?' in path else '?'}notice={notice}"
        return web.Response(status=303, headers={"Location": path})


VISIT: web.RequestKey[Visit] = web.RequestKey("visit", Visit)
Handler = Callable[[Visit], Awaitable[web.StreamResponse]]
MISSING_TEXT = "There is no such thing here. It may have been removed, or the address is mistyped."


def missing() -> web.HTTPNotFound:
    """The page asked for does not exist."""
    return web.HTTPNotFound(text=MISSING_TEXT)


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a route asks of its visitor, and what it grants him."""

    method: str
    path: str
    permission: Permission
    handler: Handler
    keeps_awake: bool = True  # False: an automatic refresh, which does not prolong the sign-in
    largest_body: int = 64 * 1024

    @property
    def knows_visitor(self) -> bool:
        """False for what is the same for everybody and must answer while the database is away."""
        return self.permission is not Permission.PUBLIC or self.path == "/sign-in"


class Routes:
    """The routes of one page module; each is declared with its permission, for there is no other way."""

    def __init__(self) -> None:
        self.declared: list[Declaration] = []

    def get(
        self, path: str, permission: Permission, *, keeps_awake: bool = True
    ) -> Callable[[Handler], Handler]:
        """Declare a page."""
        return self._declare("GET", path, permission, keeps_awake=keeps_awake)

    def post(
        self, path: str, permission: Permission, *, largest_body: int = 64 * 1024
    ) -> Callable[[Handler], Handler]:
        """Declare an action."""
        return self._declare("POST", path, permission, largest_body=largest_body)

    def _declare(
        self,
        method: str,
        path: str,
        permission: Permission,
        *,
        keeps_awake: bool = True,
        largest_body: int = 0,
    ) -> Callable[[Handler], Handler]:
        def keep(handler: Handler) -> Handler:
            self.declared.append(Declaration(method, path, permission, handler, keeps_awake, largest_body))
            return handler

        return keep
