"""Hostile text in every place where people or the network can write, past every check, straight into the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import JSON, Column, Table, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store import tables as aaa
from billing.store import tables as billing
from core.store import tables as core
from core.work import Workplace
from provisioning.store import tables as provisioning
from snmp.store import tables as snmp

PAYLOADS = (
    "<script>window.hacked=1</script>", "\"><script>window.hacked=1</script>", "'><script>window.hacked=1</script>",
    "</title><script>window.hacked=1</script>", "</textarea><script>window.hacked=1</script>",
    "</select><script>window.hacked=1</script>", "</pre><img src=x onerror=window.hacked=1>",
    "<img src=x onerror=window.hacked=1>", "\"><img src=x onerror=window.hacked=1>", "<svg onload=window.hacked=1>",
    "<svg/onload=window.hacked=1//", "\" onmouseover=window.hacked=1 x=\"", "' onfocus=window.hacked=1 autofocus '",
    "\" autofocus onfocus=window.hacked=1 x=\"", "javascript:window.hacked=1", "JaVaScRiPt:window.hacked=1",
    "data:text/html,<script>window.hacked=1</script>", "<a href=javascript:window.hacked=1>x</a>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'>", "<object data=javascript:window.hacked=1>",
    "<form action=//evil.example><button>", "<base href=//evil.example/>", "<meta http-equiv=refresh content=0>",
    "<link rel=stylesheet href=//evil.example>", "<style>*{display:none}</style>", "<!--", "--><script>1</script>",
    "<![CDATA[<script>1</script>]]>", "{{ 7*7 }}", "${7*7}#{7*7}", "{% raw %}", "&lt;script&gt;", "&#60;script&#62;",
    "%3Cscript%3E", "\u202egnirts\u2066", "\ufeff=HYPERLINK(\"//evil.example\")", "=cmd|'/c calc'!A0", "@SUM(1)",
    "<template><script>1</script></template>", "<math><mtext></p><script>window.hacked=1</script>",
)  # fmt: skip

# Every text that is shown somewhere: typed by people, or said by devices and CPEs.
PLACES: dict[Table, tuple[str, ...]] = {
    billing.account: ("number", "name", "email", "phone", "street", "city", "region", "postal_code"),
    billing.plan: ("code", "name"),
    billing.invoice: ("number", "bill_to"),
    billing.invoice_line: ("description", "quantity"),
    billing.payment: ("note", "recorded_by", "reversal_reason", "reference"),
    billing.payment: ("note", "recorded_by", "reversal_reason"),
    billing.mail_message: ("subject", "reason", "to_address"),
    billing.sms_message: ("text", "reason", "to_number"),
    billing.dunning_event: ("because",),
    billing.promotion: ("name", "created_by"),
    billing.equipment_loan: ("name", "serial", "recorded_by"),
    billing.bill_run: ("parked",),
    billing.draft: ("lines", "reason", "decided_by"),
    billing.parked: ("reason",),
    aaa.nas: ("name", "network", "identifier"),
    aaa.service_profile: ("name", "pool", "filter_id", "router_group", "ipv6_pool"),
    aaa.service: ("label",),
    aaa.credential: ("username",),
    aaa.session: (
        "username",
        "calling_station",
        "close_cause",
        "nas_port_id",
        "acct_session_id",
        "framed_ip",
    ),
    aaa.dynauth_client: ("name", "network"),
    aaa.dynauth_exchange: ("actor", "sent", "detail"),
    aaa.hold: ("reason", "placed_by"),
    aaa.entitlement: ("because",),
    aaa.entitlement_change: ("because", "changed_by"),
    aaa.reject: ("identity", "explanation", "remedy", "calling_station"),
    provisioning.site: ("name",),
    provisioning.device: ("name", "address", "username", "host_key", "facts", "options"),
    provisioning.task: ("cause", "last_error", "proof"),
    provisioning.transcript: ("exchanges",),
    provisioning.observation: ("entries", "drift"),
    snmp.target: ("name", "address", "username", "last_error", "sys_name"),
    snmp.binding: ("if_name",),
    core.audit: ("actor", "action", "subject", "detail"),
    core.health_issue: ("title", "remedy"),
}

_FEW = (
    provisioning.site, provisioning.device, aaa.nas, snmp.target, aaa.reject, core.health_issue,
    aaa.service_profile,
)  # fmt: skip
BRANCHES = 10
Text = Callable[[int, int], str]  # of row and place


def hostile(turn: int) -> Text:
    """In ``len(PAYLOADS) / BRANCHES`` turns every place has held every payload."""
    return lambda row, place: PAYLOADS[(row + place + BRANCHES * turn) % len(PAYLOADS)]


def harmless(row: int, place: int) -> str:
    """Text of the same shape without any meaning."""
    return f"plain {row} words {place}"


async def poison(workplace: Workplace, text: Text) -> None:
    """Write ``text`` into every place of every row."""
    place = 0
    async with workplace.work("system:test") as work:
        await _multiply(work.connection)
        for table, names in PLACES.items():
            rows = (await work.connection.execute(select(table).order_by(*table.primary_key))).all()
            for name in names:
                place += 1
                for number, row in enumerate(rows):
                    column = table.c[name]
                    value = _poisoned(column, getattr(row, name), text(number, place), number)
                    key = [one == getattr(row, one.name) for one in table.primary_key]
                    await work.connection.execute(update(table).where(*key).values({name: value}))


def _poisoned(column: Column[Any], value: Any, text: str, number: int) -> Any:
    if isinstance(column.type, JSON):
        return _leaves(value, text)
    unique = column.unique or column.name in {"number", "name", "network", "username", "code", "if_name"}
    return f"{text} {number}" if unique else text


def _leaves(value: Any, text: str) -> Any:
    """The same structure with every string in it replaced; empty structures get one."""
    if isinstance(value, dict):
        return {name: _leaves(one, text) for name, one in value.items()} or {"said": text}
    if isinstance(value, list):
        return [_leaves(one, text) for one in value]
    return text if isinstance(value, str) else value


async def _agree(connection: AsyncConnection) -> None:
    """A promotion and something lent; written twice it stands once."""
    if (await connection.execute(select(billing.promotion.c.id))).first() is not None:
        return
    sold = (await connection.execute(select(billing.subscription).limit(1))).one()
    await connection.execute(
        insert(billing.promotion).values(
            id="prm_1", code="SPRING", name="x", percent_ppm=500_000, item_kinds=["recurring"], item_codes=[],
            plan_codes=[], new_only=False, created_at=sold.created_at, created_by="x",
        )
    )  # fmt: skip
    await connection.execute(
        insert(billing.equipment_loan).values(
            id="loan_1", account_id=sold.account_id, subscription_id=sold.id, name="x", serial="x",
            value_minor=100, lent_on=sold.starts_on, recorded_at=sold.created_at, recorded_by="x",
        )
    )  # fmt: skip


async def _multiply(connection: AsyncConnection) -> None:
    """At least one row a branch of what the valley has few of, and one of what it has none of."""
    await _agree(connection)
    for table in _FEW:
        rows = (await connection.execute(select(table))).all()
        for number in range(len(rows), BRANCHES):
            values = dict(rows[number % len(rows)]._mapping)
            for column in table.columns:
                if column.primary_key and column.autoincrement is True:
                    values.pop(column.name)
                elif column.primary_key or column.unique or column.name == "identity":
                    values[column.name] = f"{values[column.name]}x{number}"
            await connection.execute(insert(table).values(values))
