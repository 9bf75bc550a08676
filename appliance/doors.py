"""The doors of the command line: every command is known by name, its rooms are entered when it is called."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group


@dataclass(frozen=True, slots=True)
class Door:
    """A command or a group: the module in ``appliance.commands`` that has it, and what it is for."""

    module: str
    attribute: str
    help: str


DOORS = {
    "init": Door("setup", "init", "Make settings, database and first operator; print a one-time password."),
    "first-boot": Door("setup", "first_boot", "Make what this machine lacks, before the roles start."),
    "run": Door("roles", "run", "Run everything on this machine: RADIUS, collector, worker, web."),
    "role": Door("roles", "role", "Run one role in this process, as a service unit does."),
    "status": Door("machine", "status", "This machine in a few lines."),
    "console": Door("machine", "console", "The menu on the appliance's screen and serial line."),
    "clock": Door("machine", "clock", "Whether the clock may be billed by."),
    "certificate": Door("machine", "certificate", "The panel's TLS certificate."),
    "settings": Door("setting", "settings_group", "Every setting in force, as TOML; get, set and unset one."),
    "restart": Door("setting", "restart", "Restart the services, so that changed settings are in force."),
    "database": Door("setup", "database", "The database schema."),
    "operator": Door("setup", "operators", "Staff who sign in at the panel."),
    "token": Door("tokens", "tokens", "Tokens of programs that use the API (/api/v1)."),
    "health": Door("setup", "health", "Open health issues with their remedies."),
    "audit": Door("setup", "audit_trail", "Who did what, newest first."),
    "site": Door("network", "sites", "Towers and other places with radios."),
    "device": Door("network", "devices", "Devices on which entitlements are enforced."),
    "nas": Door("network", "nases", "Network access servers that send RADIUS."),
    "discover": Door("network", "discover", "Find MikroTik and Ubiquiti devices on named interfaces."),
    "profile": Door("profiles", "profiles", "Service profiles: the technical half of a plan."),
    "pool": Door("pools", "pools", "Pools of addresses and prefixes that Hilltop hands out itself."),
    "template": Door("reply_templates", "templates", "Your own lines over what RADIUS replies carry."),
    "snmp": Door("snmp", "snmp", "SNMP targets and whose counters they hold."),
    "dynauth": Door(
        "dynauth", "dynauth", "Proxies and scripts that may end or change live sessions (RFC 5176)."
    ),
    "radius": Door("radius", "radius", "RADIUS: explain, preview, test, status."),
    "ca": Door("authority", "authority", "The certificate authority: EAP-TLS and RadSec."),
    "realm": Door("realms", "realms", "Realms: whose sign-ins another server answers, and which are ours."),
    "home-server": Door("realms", "home_servers", "RADIUS servers that sign-ins are forwarded to."),
    "plan": Door("catalogue", "plans", "What is sold."),
    "promotion": Door("promotions", "promotions", "Coupons and referrals: what is given, and who uses it."),
    "equipment": Door(
        "equipment", "equipment", "What of ours stands at customers' places: lent, back, lost."
    ),
    "tax": Door("taxes", "taxes", "Taxes, surcharges and exemptions; what an address is taxed with."),
    "account": Door("subscribers", "accounts", "Who pays."),
    "subscription": Door(
        "subscriptions", "subscriptions", "What accounts subscribe to: plans and add-ons, changed by day."
    ),
    "charge": Door("subscriptions", "charges", "One-off charges and credits."),
    "entity": Door("entities", "entities", "Firms and brands that invoice in a name of their own."),
    "service": Door("subscribers", "services", "Access lines."),
    "sessions": Door("sessions", "sessions", "Who is online, who was, and who had an address."),
    "import": Door("subscribers", "import_csv", "Import accounts and services from CSV, all lines or none."),
    "hold": Door("enforcement", "holds", "Holds on services."),
    "enforcement": Door("enforcement", "enforcement", "Making towers match entitlements."),
    "quota": Door("quota", "quota", "What plans include: used, capped, topped up."),
    "billing": Door("billing", "billing", "Issued periods again, and what if."),
    "bill": Door("bill_runs", "bills", "Bill runs: preview, run, approve, try again."),
    "invoice": Door("invoicing", "invoices", "Invoices."),
    "statement": Door("delivery", "statement", "A statement of account as PDF."),
    "document": Door("delivery", "documents", "What documents look like: logo, templates; deposit slips."),
    "mail": Door("delivery", "mail", "Mail and letters to subscribers: queue, server, words, bounces."),
    "sms": Door("sms", "sms", "Text messages to subscribers: gateway and queue."),
    "explain": Door("invoicing", "explain", "Walk from an invoice line to the counters behind it."),
    "ledger": Door("ledger", "ledger", "The double-entry ledger."),
    "pay": Door("receivables", "pay", "Record a payment; what it settles is restored at once."),
    "reverse": Door("receivables", "reverse", "Take a payment back, whole or in part."),
    "dispute-won": Door("receivables", "win", "The money of a reversed payment came back after all."),
    "payment": Door("receivables", "payments", "Payments."),
    "allocation": Door("money_moves", "allocations", "Which invoice a payment pays, by rule and by hand."),
    "refund": Door("money_moves", "refunds", "Money back to customers."),
    "deposit": Door("money_moves", "deposits", "Security that customers left."),
    "deposit-slip": Door("money_moves", "slips", "Lists of cheques or cash for the bank."),
    "ach": Door("bank_files", "ach", "Debits by ACH file, and what the bank sends back."),
    "bank": Door("bank_files", "bank", "Bank statements, and money nobody was found for."),
    "gateway": Door("gateways", "gateways", "Cards and bank accounts through Stripe and Authorize.net."),
    "reseller": Door("resellers", "resellers", "Who sells for you, and what they earn."),
    "dunning": Door("dunning", "dunning", "The ladder for late accounts."),
    "lab": Door("lab", "lab", "Simulated towers, and the story of a subscriber's month."),
}


class _Behind(MutableMapping[str, Any]):
    """Commands by name; what is behind a door is loaded when it is opened."""

    def __init__(self) -> None:
        self._opened: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._opened:
            self._opened[name] = _open(name, DOORS[name])
        return self._opened[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._opened[name] = command

    def __delitem__(self, name: str) -> None:
        del self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(DOORS)

    def __len__(self) -> int:
        return len(DOORS)


class Doors(TyperGroup):
    """The root of the command line."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Behind()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in ``--help``, without opening a door."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, door.help) for name, door in DOORS.items()])


def _open(name: str, door: Door) -> Any:
    found = getattr(import_module(f"appliance.commands.{door.module}"), door.attribute)
    if isinstance(found, typer.Typer):
        found.rich_markup_mode = None
        group = get_group(found)
        group.name = name
        return group
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    one.command(name)(found)
    return get_command(one)
