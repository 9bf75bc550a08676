"""The tree of menus of a RouterOS router: what each holds, and the rules by which it takes changes."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_CLOCK_DURATION = re.compile(r"(?:(\d+)d\s*)?(\d+):(\d+):(\d+)")

PRINT_WORDS = (
    "terse", "detail", "brief", "value-list", "as-value", "count-only", "without-paging", "where",
    "all", "dynamic", "static", "active", "stats",
)  # fmt: skip
LIST_VERBS = frozenset(
    {"print", "find", "get", "add", "set", "remove", "enable", "disable", "comment", "export"}
)
LIVE_VERBS = frozenset({"print", "find", "get", "remove"})
READ_VERBS = frozenset({"print", "find", "get"})
SETTING_VERBS = frozenset({"print", "get", "set", "export"})
VIEW_VERBS = frozenset({"print", "get"})


class ConsoleError(Exception):
    """The router says no; the text is what it prints."""


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a menu's items. ``check`` returns the value as the router stores it, or raises."""

    name: str
    required: bool = False
    read_only: bool = False
    column: bool = True
    secret: bool = False
    check: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class MenuSpec:
    """What the menu is. ``flags`` are letter and meaning, in the order of printing."""

    path: tuple[str, ...]
    properties: tuple[Property, ...]
    verbs: frozenset[str] = LIST_VERBS
    flags: tuple[tuple[str, str], ...] = (("X", "disabled"), ("D", "dynamic"))
    singleton: bool = False
    unique: tuple[str, ...] = ()
    twice: str = "failure: already have such entry"

    def property_named(self, name: str) -> Property:
        """The property; the caller knows that it exists."""
        return next(one for one in self.properties if one.name == name)

    def writable(self) -> tuple[str, ...]:
        """Names that ``add`` and ``set`` take."""
        names = [one.name for one in self.properties if not one.read_only]
        return tuple(names if self.singleton else [*names, "comment", "disabled"])


@dataclass(slots=True)
class Item:
    """One entry of a menu. ``expires_at`` makes it vanish by itself; dynamic items die at a reboot."""

    number: int
    values: dict[str, str]
    dynamic: bool = False
    disabled: bool = False
    marks: str = ""
    expires_at: datetime | None = None

    @property
    def id(self) -> str:
        """The internal id, such as ``*1F``; it is not the same after a reboot."""
        return f"*{self.number:X}"

    def flag(self, letter: str) -> bool:
        """Whether the item carries the flag."""
        if letter == "D":
            return self.dynamic
        return self.disabled if letter == "X" else letter in self.marks


@dataclass(slots=True)
class Menu:
    """A menu with what is in it."""

    spec: MenuSpec
    items: list[Item] = field(default_factory=list)
    next_number: int = 1
    removed: Callable[[Item], None] | None = None

    def add(self, values: dict[str, str], *, dynamic: bool = False, disabled: bool = False) -> Item:
        """Append an item; raises ``ConsoleError`` if the router would not have it."""
        self._refuse_twin(values, None)
        item = Item(self.next_number, values, dynamic=dynamic, disabled=disabled)
        self.next_number += 1
        self.items.append(item)
        return item

    def change(self, item: Item, values: dict[str, str]) -> None:
        """Set properties of an item."""
        merged = {**item.values, **values}
        self._refuse_twin(merged, item)
        item.values = merged

    def _refuse_twin(self, values: dict[str, str], itself: Item | None) -> None:
        if not self.spec.unique:
            return
        key = tuple(values.get(name, "") for name in self.spec.unique)
        for other in self.items:
            if other is not itself and key == tuple(other.values.get(name, "") for name in self.spec.unique):
                raise ConsoleError(self.spec.twice)

    def place_before(self, item: Item, other: Item) -> None:
        """Move an item of an ordered menu in front of another."""
        self.items.remove(item)
        self.items.insert(self.items.index(other), item)

    def remove(self, item: Item) -> None:
        """Take the item out and tell whoever listens."""
        self.items.remove(item)
        if self.removed is not None:
            self.removed(item)

    def expire(self, now: datetime) -> None:
        """Let entries go whose time is over."""
        self.items = [item for item in self.items if item.expires_at is None or item.expires_at > now]

    def reboot(self) -> None:
        """Dynamic entries are gone, and the ids of the others have moved."""
        self.items = [item for item in self.items if not item.dynamic]
        for number, item in enumerate(self.items, start=1):
            item.number = number
        self.next_number = len(self.items) + 1

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)


def parse_duration(text: str) -> timedelta:
    """``1d2h3m4s``, ``1h30m``, ``00:05:00`` or plain seconds."""
    clock = _CLOCK_DURATION.fullmatch(text)
    if clock:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ConsoleError("invalid value for argument timeout")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


def format_duration(span: timedelta) -> str:
    """As the router prints it: ``1w2d3h4m5s`` without the parts that are nought."""
    left = max(0, int(span.total_seconds()))
    if left == 0:
        return "0s"
    text = ""
    for letter, size in (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        text += f"{count}{letter}" if count else ""
    return text


def ipv4_entry(text: str) -> str:
    """An address-list address: one address, a network, a range; anything else is a DNS name."""
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return _range_or_name(text)
    return str(network.network_address) if network.prefixlen == 32 else str(network)


def _range_or_name(text: str) -> str:
    first, dash, last = text.partition("-")
    try:
        if dash:
            return f"{ipaddress.IPv4Address(first)}-{ipaddress.IPv4Address(last)}"
    except ValueError:
        pass
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ConsoleError("invalid value for argument address")
    return text


def ipv6_entry(text: str) -> str:
    """IPv6 lists always keep the prefix length; a name is taken as a DNS name."""
    try:
        return str(ipaddress.IPv6Network(text, strict=False))
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
            raise ConsoleError("invalid value for argument address") from None
        return text


def is_dns_name(text: str) -> bool:
    """Whether an address-list address is none, but a name to be resolved."""
    if "-" in text and all(part.count(".") == 3 for part in text.split("-")):
        return False
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return True
    return False


def one_of(name: str, allowed: Collection[str]) -> Callable[[str], str]:
    """A check for a property with a fixed set of values."""

    def check(text: str) -> str:
        begun = [value for value in allowed if value.startswith(text)] if text else []
        if text in allowed:
            return text
        if len(begun) != 1:
            raise ConsoleError(f"input does not match any value of {name}")
        return begun[0]

    return check


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ConsoleError("invalid value for argument address") from None


_ADDRESS_LIST = (
    Property("list", required=True),
    Property("address", required=True, check=ipv4_entry),
    Property("creation-time", read_only=True),
    Property("timeout"),
)
_RULE_ACTIONS = (
    "accept", "drop", "reject", "jump", "return", "log", "passthrough", "tarpit", "fasttrack-connection",
    "add-src-to-address-list", "add-dst-to-address-list", "masquerade", "dst-nat", "src-nat", "redirect",
)  # fmt: skip
_RULE = tuple(
    Property(name, check=one_of(name, _RULE_ACTIONS) if name == "action" else None, required=name == "chain")
    for name in (
        "chain", "action", "protocol", "src-address", "dst-address", "src-address-list", "dst-address-list",
        "connection-state", "in-interface", "out-interface", "src-port", "dst-port", "to-addresses",
        "to-ports", "reject-with", "address-list", "address-list-timeout", "jump-target", "log", "log-prefix",
    )
)  # fmt: skip
_CONNECTION_FLAGS = (
    ("E", "expected"), ("S", "seen-reply"), ("A", "assured"), ("C", "confirmed"), ("D", "dying"),
    ("F", "fasttrack"), ("s", "srcnat"), ("d", "dstnat"),
)  # fmt: skip


def _views(*names: str) -> tuple[Property, ...]:
    return tuple(Property(name, read_only=True) for name in names)


_RULE_FLAGS = (("X", "disabled"), ("I", "invalid"), ("D", "dynamic"))
_PPP_SERVICES = ("any", "async", "l2tp", "ovpn", "pppoe", "pptp", "sstp")
_ADDRESS_LIST_6 = tuple(
    Property("address", required=True, check=ipv6_entry) if one.name == "address" else one
    for one in _ADDRESS_LIST
)

_FIREWALL_MENUS = (
    MenuSpec(("ip", "firewall", "address-list"), _ADDRESS_LIST, unique=("list", "address")),
    MenuSpec(("ipv6", "firewall", "address-list"), _ADDRESS_LIST_6, unique=("list", "address")),
    MenuSpec(("ip", "firewall", "filter"), _RULE, flags=_RULE_FLAGS),
    MenuSpec(("ip", "firewall", "nat"), _RULE, flags=_RULE_FLAGS),
    MenuSpec(("ipv6", "firewall", "filter"), _RULE, flags=_RULE_FLAGS),
    MenuSpec(
        ("ip", "address"),
        (Property("address", required=True), Property("network"), Property("interface", required=True)),
        flags=_RULE_FLAGS,
    ),
    MenuSpec(
        ("interface",),
        (
            Property("name"),
            Property("type", read_only=True),
            Property("mtu"),
            Property("mac-address", read_only=True),
        ),
        verbs=frozenset({"print", "find", "get", "set", "enable", "disable", "comment"}),
        flags=(("D", "dynamic"), ("X", "disabled"), ("R", "running"), ("S", "slave")),
        unique=("name",),
    ),
    MenuSpec(
        ("queue", "simple"),
        (
            Property("name"),
            Property("target"),
            Property("parent"),
            Property("max-limit"),
            Property("limit-at", column=False),
        ),
        flags=_RULE_FLAGS,
        unique=("name",),
        twice="failure: already have such name",
    ),
)
_PPP_MENUS = (
    MenuSpec(
        ("ppp", "secret"),
        (
            Property("name", required=True),
            Property("service", check=one_of("service", _PPP_SERVICES)),
            Property("caller-id"),
            Property("password", secret=True),
            Property("profile"),
            Property("local-address", column=False),
            Property("remote-address"),
            Property("last-logged-out", read_only=True, column=False),
        ),
        flags=(("X", "disabled"),),
        unique=("name",),
        twice="failure: secret with the same name already exists",
    ),
    MenuSpec(
        ("ppp", "active"),
        _views("name", "service", "caller-id", "address", "uptime", "encoding", "session-id"),
        verbs=LIVE_VERBS,
        flags=(("R", "radius"),),
    ),
    MenuSpec(
        ("ppp", "profile"),
        (
            Property("name", required=True),
            Property("local-address"),
            Property("remote-address"),
            Property("rate-limit"),
        ),
        flags=(("*", "default"),),
        unique=("name",),
        twice="failure: profile with the same name already exists",
    ),
)
_SYSTEM_MENUS = (
    MenuSpec(
        ("radius",),
        (
            Property("service", required=True),
            Property("address", required=True, check=_host),
            Property("secret", secret=True),
            Property("timeout"),
            Property("src-address"),
        ),
        flags=(("X", "disabled"),),
    ),
    MenuSpec(
        ("radius", "incoming"),
        (Property("accept", check=one_of("accept", ("yes", "no"))), Property("port")),
        verbs=SETTING_VERBS,
        singleton=True,
    ),
    MenuSpec(
        ("user",),
        (Property("name"), Property("group"), Property("address")),
        flags=(("X", "disabled"),),
        verbs=READ_VERBS,
    ),
    MenuSpec(("system", "identity"), (Property("name"),), verbs=SETTING_VERBS, singleton=True),
    MenuSpec(
        ("system", "resource"),
        _views(
            "uptime", "version", "build-time", "free-memory", "total-memory", "cpu", "cpu-count",
            "cpu-load", "architecture-name", "board-name", "platform",
        ),
        verbs=VIEW_VERBS,
        singleton=True,
    ),
    MenuSpec(
        ("system", "clock"), _views("time", "date", "time-zone-name"), verbs=VIEW_VERBS, singleton=True
    ),
)  # fmt: skip


def menu_specs(version: tuple[int, ...]) -> tuple[MenuSpec, ...]:
    """The menus of that version."""
    # Recordings of 2025 have the ports apart from the addresses of a connection; 7.16 and older have not.
    ports = ("src-port", "dst-port") if version >= (7, 18) else ()
    connection = _views(
        "protocol", "src-address", *ports[:1], "dst-address", *ports[1:], "tcp-state", "timeout",
        "orig-bytes", "repl-bytes",
    )  # fmt: skip
    connections = tuple(
        MenuSpec((family, "firewall", "connection"), connection, verbs=LIVE_VERBS, flags=_CONNECTION_FLAGS)
        for family in ("ip", "ipv6")
    )
    return (*_FIREWALL_MENUS, *connections, *_PPP_MENUS, *_SYSTEM_MENUS)


BRANCH_VERBS: dict[tuple[str, ...], frozenset[str]] = {
    (): frozenset({"quit", "export"}),
    ("system",): frozenset({"reboot"}),
}


class MenuTree:
    """The grammar of one router: its menus, their verbs and the words that each verb takes."""

    def __init__(self, specs: tuple[MenuSpec, ...], slash_paths: bool) -> None:
        self.slash_paths = slash_paths
        self.specs = {spec.path: spec for spec in specs}
        self._below: dict[tuple[str, ...], set[str]] = {}
        for path in self.specs:
            for depth in range(len(path)):
                self._below.setdefault(path[:depth], set()).add(path[depth])

    def submenus(self, path: tuple[str, ...]) -> Collection[str]:
        """Names of the menus below ``path``."""
        return self._below.get(path, ())

    def verbs(self, path: tuple[str, ...]) -> Collection[str]:
        """Commands of the menu."""
        spec = self.specs.get(path)
        return (spec.verbs if spec else frozenset()) | BRANCH_VERBS.get(path, frozenset())

    def parameters(self, path: tuple[str, ...], verb: str) -> Collection[str]:
        """Names that take ``=value``."""
        spec = self.specs.get(path)
        if spec is None:
            return ("file",) if verb == "export" else ()
        if verb == "print":
            return ("from", "proplist", "file", "interval")
        if verb == "add":
            return (*spec.writable(), "copy-from", "place-before")
        if verb in ("set", "comment"):
            return spec.writable() if spec.singleton else ("numbers", *spec.writable())
        if verb == "get":
            return ("number", "value-name")
        return ("numbers",) if verb in ("remove", "enable", "disable") else ("file",)

    def words(self, path: tuple[str, ...], verb: str) -> Collection[str]:
        """Bare words, such as ``terse``."""
        if verb == "print":
            spec = self.specs[path]
            return ("without-paging", "as-value") if spec.singleton else PRINT_WORDS
        return ("verbose", "terse", "compact", "show-sensitive", "hide-sensitive") if verb == "export" else ()

    def takes_items(self, verb: str) -> bool:
        """Whether item numbers, ids or names may stand alone."""
        return verb in ("set", "remove", "enable", "disable", "comment", "get")
