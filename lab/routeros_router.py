"""The router behind the console: its state, and the commands that read and change it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from core.clock import Clock
from lab.routeros_menus import (
    ConsoleError,
    Item,
    Menu,
    MenuTree,
    format_duration,
    is_dns_name,
    menu_specs,
    parse_duration,
)
from lab.routeros_print import Printer
from lab.routeros_script import (
    ICE,
    Argument,
    Block,
    Code,
    Command,
    Enter,
    Expression,
    Field,
    Inner,
    Operation,
    ParseError,
    Parser,
    Template,
    Variable,
    Word,
    verbs_in,
)

ADDRESS_LIST = ("ip", "firewall", "address-list")
ADDRESS_LIST_6 = ("ipv6", "firewall", "address-list")
CONNECTION = ("ip", "firewall", "connection")
PPP_ACTIVE = ("ppp", "active")
PPP_SECRET = ("ppp", "secret")
INTERFACE = ("interface",)
WRITES = frozenset({"add", "set", "remove", "enable", "disable", "comment", "reboot"})

Value = Any
"""What a script handles: text, numbers, truth, None, lists, records; the language has no declared types."""


@dataclass(slots=True)
class Outcome:
    """What a line came to: what is printed, the menu one is in afterwards, and whether the session ends."""

    lines: list[str] = field(default_factory=list)
    menu: tuple[str, ...] = ()
    quits: bool = False
    reboots: bool = False
    wrote: bool = False
    paged: bool = False


class Router:
    """One RouterOS device without its wires. All sessions share it, and it outlives them."""

    def __init__(
        self,
        identity: str,
        version: str,
        clock: Clock,
        dns: Mapping[str, Sequence[str]] | None = None,
        *,
        ipv6: bool = True,
    ) -> None:
        self.version_text = version
        self.version = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
        self.clock = clock
        self.dns = dict(dns or {})
        self.lying = False
        self.booted_at = clock.now()
        specs = tuple(spec for spec in menu_specs(self.version) if ipv6 or spec.path[0] != "ipv6")
        self.tree = MenuTree(specs, slash_paths=self.version >= (7,))
        self.menus = {spec.path: Menu(spec) for spec in specs}
        self._furnish(identity)

    def _furnish(self, identity: str) -> None:
        self.menus[("system", "identity")].add({"name": identity})
        self.menus[("system", "resource")].add({})
        self.menus[("system", "clock")].add({})
        self.menus[("radius", "incoming")].add({"accept": "no", "port": "3799"})
        for index in (1, 2, 3):
            mac = f"48:8F:5A:00:00:0{index}"
            port = self.menus[INTERFACE].add(
                {"name": f"ether{index}", "type": "ether", "mtu": "1500", "mac-address": mac}
            )
            port.marks = "R"
        self.menus[("ppp", "profile")].add({"name": "default"}).marks = "*"
        self.menus[("ppp", "profile")].add({"name": "default-encryption"}).marks = "*"

    @property
    def identity(self) -> str:
        """The name in the prompt."""
        return self.menus[("system", "identity")].items[0].values["name"]

    @property
    def printer(self) -> Printer:
        """The printer for now."""
        return Printer(self.version, self.clock.now())

    def menu(self, path: tuple[str, ...]) -> Menu:
        """The menu with what has expired taken out and what changes by itself brought up to date."""
        menu = self.menus[path]
        menu.expire(self.clock.now())
        if path == ("system", "resource"):
            menu.items[0].values = self._resource()
        if path == ("system", "clock"):
            now = self.clock.now()
            date, _, time = self.printer.timestamp(now).partition(" ")
            menu.items[0].values = {"time": time, "date": date, "time-zone-name": "UTC"}
        return menu

    def uptime(self) -> timedelta:
        """Time since the last boot, on the clock the router was given."""
        return self.clock.now() - self.booted_at

    def _resource(self) -> dict[str, str]:
        return {
            "uptime": format_duration(self.uptime()),
            "version": f"{self.version_text} ({'stable' if self.version >= (7,) else 'long-term'})",
            "build-time": "2024-09-20 13:00:27" if self.version >= (7,) else "Jul/12/2023 11:08:12",
            "free-memory": "876.2MiB",
            "total-memory": "1024.0MiB",
            "cpu": "ARM64",
            "cpu-count": "4",
            "cpu-load": "1%",
            "architecture-name": "arm64",
            "board-name": "RB5009UPr+S+",
            "platform": "MikroTik",
        }

    def reboot(self) -> None:
        """What was dynamic is gone; configuration stays."""
        for menu in self.menus.values():
            if menu.spec.path in (CONNECTION, ("ipv6", "firewall", "connection"), PPP_ACTIVE):
                for item in list(menu):
                    menu.remove(item)
            menu.reboot()
        self.booted_at = self.clock.now()

    def would_write(self, text: str, menu: tuple[str, ...] = ()) -> bool:
        """Whether the text holds a command that changes something."""
        try:
            return any(verb in WRITES for verb in verbs_in(Parser(text, self.tree, menu).parse()))
        except ParseError:
            return False

    def run(self, text: str, menu: tuple[str, ...] = (), *, may_write: bool = True) -> Outcome:
        """Run one text as typed in ``menu``. Complaints are lines of the outcome, as on the real console."""
        outcome = Outcome(menu=menu)
        try:
            block = Parser(text, self.tree, menu).parse()
        except ParseError as mistake:
            outcome.lines.append(str(mistake))
            return outcome
        run = _Run(self, outcome, may_write)
        try:
            run.block(block, at_top=True)
        except ConsoleError as complaint:
            outcome.lines.append(str(complaint))
        return outcome


class _Run:
    """One text being run."""

    def __init__(self, router: Router, outcome: Outcome, may_write: bool) -> None:
        self._router = router
        self._outcome = outcome
        self._may_write = may_write
        self._variables: dict[str, Value] = {}
        self._inside = 0  # depth of [ ]: what is printed there is a value

    def block(self, block: Block, at_top: bool = False) -> Value:
        result: Value = None
        for one in block.commands:
            match one:
                case Enter():
                    if at_top:
                        self._outcome.menu = one.menu
                case Code():
                    self.block(one.block)
                case Command():
                    result = self._command(one, aloud=at_top or not self._inside)
        return result

    def _inner(self, inner: Inner) -> Value:
        self._inside += 1
        try:
            return self.block(inner.block)
        finally:
            self._inside -= 1

    def _command(self, command: Command, aloud: bool) -> Value:
        if command.menu == (ICE,):
            return self._language(command)
        if command.verb in WRITES and not self._may_write:
            raise ConsoleError("not enough permissions (9)")
        if command.verb in ("quit", "reboot"):
            self._outcome.quits = True
            self._outcome.reboots = command.verb == "reboot"
            return None
        if command.verb == "export":
            self._export(command)
            return None
        menu = self._router.menu(command.menu)
        if command.verb in WRITES:
            self._outcome.wrote = True
            return None if self._router.lying else self._write(command, menu)
        return self._read(command, menu, aloud)

    def _read(self, command: Command, menu: Menu, aloud: bool) -> Value:
        if command.verb == "find":
            return [item.id for item in self._matching(menu, command.where)]
        if command.verb == "get":
            return self._get(command, menu)
        return self._print(command, menu, aloud)

    # -- the language

    def _language(self, command: Command) -> Value:
        plain = [one for one in command.arguments if one.name is None]
        named = {one.name: one.value for one in command.arguments if one.name is not None}
        match command.verb:
            case "put":
                text = self._text(self._first(plain))
                self._outcome.lines += text.replace("\r\n", "\n").split("\n")
            case "error":
                raise ConsoleError(self._text(self._first(plain)))
            case "do":
                self._do(plain, named)
            case "if":
                chosen = named.get("do") if self._true(self._first(plain)) else named.get("else")
                self._run_code(chosen)
            case "foreach":
                self._foreach(plain, named)
            case "local" | "global" | "set":
                self._assign(plain)
            case "len" | "tostr" | "tonum" | "typeof":
                return self._converted(command.verb, self._first(plain))
            case _:
                pass  # :nothing and :delay leave no trace
        return None

    def _converted(self, verb: str, value: Value) -> Value:
        text = self._text(value)
        answers: dict[str, Value] = {
            "len": len(value) if isinstance(value, (str, list)) else 0,
            "tostr": text,
            "tonum": int(text) if re.fullmatch(r"-?\d+", text) else None,
            "typeof": _type_of(value),
        }
        return answers[verb]

    def _first(self, arguments: Sequence[Argument]) -> Value:
        return self.evaluate(arguments[0].value) if arguments else None

    def _run_code(self, code: Expression | None) -> None:
        if isinstance(code, Code):
            self.block(code.block)
        elif code is not None:
            raise ConsoleError("invalid value for argument do")

    def _do(self, plain: Sequence[Argument], named: Mapping[str, Expression | None]) -> None:
        body = plain[0].value if plain else None
        try:
            self._run_code(body)
        except ConsoleError:
            if "on-error" not in named:
                raise
            self._run_code(named["on-error"])

    def _foreach(self, plain: Sequence[Argument], named: Mapping[str, Expression | None]) -> None:
        name = self._text(self._first(plain))
        values = self.evaluate(named.get("in"))
        for value in values if isinstance(values, list) else [values]:
            self._variables[name] = value
            self._run_code(named.get("do"))

    def _assign(self, plain: Sequence[Argument]) -> None:
        name = self._text(self._first(plain))
        self._variables[name] = self.evaluate(plain[1].value) if len(plain) > 1 else None

    # -- values

    def evaluate(  # noqa: PLR0911 - one return a kind of expression
        self, expression: Expression | None, item: Item | None = None, menu: Menu | None = None
    ) -> Value:
        """The value of an expression; ``item`` is the one in question inside ``where``."""
        match expression:
            case None:
                return None
            case Word():
                return expression.text
            case Variable():
                return self._variables.get(expression.name)
            case Template():
                return "".join(self._text(self.evaluate(part)) if isinstance(part, Variable) else part
                               for part in expression.parts)  # fmt: skip
            case Inner():
                return self._inner(expression)
            case Field():
                return self._field(expression.name, item, menu)
            case Operation():
                return self._operate(expression, item, menu)
            case Code():
                raise ConsoleError("syntax error")

    def _field(self, name: str, item: Item | None, menu: Menu | None) -> Value:
        if item is None or menu is None:
            return name
        if name == ".id":
            return item.id
        for letter, meaning in (*menu.spec.flags, ("X", "disabled"), ("D", "dynamic")):
            if name == meaning:
                return item.flag(letter)
        return self._router.printer.values(item, menu.spec).get(name, item.values.get(name))

    def _operate(self, operation: Operation, item: Item | None, menu: Menu | None) -> Value:
        left = self.evaluate(operation.left, item, menu)
        if operation.operator == "not":
            return not self._true(left)
        if operation.operator == "and":
            return self._true(left) and self._true(self.evaluate(operation.right, item, menu))
        if operation.operator == "or":
            return self._true(left) or self._true(self.evaluate(operation.right, item, menu))
        right = self.evaluate(operation.right, item, menu)
        if operation.operator == "~":
            return self._matches(self._text(left), self._text(right))
        if operation.operator in ("=", "!="):
            equal = _same_address(left, operation.right) or (
                self._equal(left, right) and not _is_operators(operation.right)
            )
            return equal == (operation.operator == "=")
        return self._calculate(operation.operator, left, right)

    def _calculate(self, operator: str, left: Value, right: Value) -> Value:
        if operator == ".":
            return self._text(left) + self._text(right)
        try:
            a, b = int(self._text(left)), int(self._text(right))
        except ValueError:
            raise ConsoleError("Script Error: cannot compare if string is less or more than string") from None
        answers: dict[str, Value] = {
            "+": a + b,
            "-": a - b,
            "<": a < b,
            ">": a > b,
            "<=": a <= b,
            ">=": a >= b,
        }
        return answers[operator]

    @staticmethod
    def _matches(text: str, pattern: str) -> bool:
        try:
            return re.search(pattern, text) is not None
        except re.error:
            raise ConsoleError("error in regular expression") from None

    def _equal(self, left: Value, right: Value) -> bool:
        if left is None:
            return False  # a property that is not set is not the empty string
        if isinstance(left, bool) and right in ("yes", "no", "true", "false"):
            return left == (right in ("yes", "true"))
        return self._text(left) == self._text(right)

    @staticmethod
    def _true(value: Value) -> bool:
        return value not in (None, False, "", "no", "false", [])

    def _text(self, value: Value) -> str:
        match value:
            case None:
                return ""
            case bool():
                return "true" if value else "false"
            case list():
                return ";".join(self._text(one) for one in value)
            case dict():
                return ";".join(f"{name}={self._text(one)}" for name, one in value.items())
            case _:
                return str(value)

    # -- reading

    def _matching(self, menu: Menu, where: Expression | None) -> list[Item]:
        if where is None:
            return list(menu)
        return [item for item in menu if self._true(self.evaluate(where, item, menu))]

    def _print(self, command: Command, menu: Menu, aloud: bool) -> Value:
        words = {one.name for one in command.arguments}
        printer = self._router.printer
        spec = menu.spec
        if spec.singleton:
            record = printer.record(menu.items[0], spec)
            if "as-value" not in words and aloud:
                self._outcome.lines += [*printer.setting(menu.items[0], spec), ""]
            return record
        chosen = self._matching(menu, command.where)
        for name, wanted in (("dynamic", True), ("static", False)):
            if name in words:
                chosen = [item for item in chosen if item.dynamic == wanted]
        if "count-only" in words:
            if aloud:
                self._outcome.lines.append(str(len(chosen)))
            return len(chosen)
        if "as-value" in words or not aloud:
            return [printer.record(item, spec) for item in chosen]
        numbered = [(menu.items.index(item), item) for item in chosen]
        if command.where is not None:
            numbered = list(enumerate(chosen))
        shape = printer.terse if "terse" in words else printer.detail if "detail" in words else printer.table
        self._outcome.lines += shape(numbered, spec)
        self._outcome.paged = "without-paging" not in words
        return None

    def _get(self, command: Command, menu: Menu) -> Value:
        named = {one.name: one.value for one in command.arguments if one.name is not None}
        plain = [one.value for one in command.arguments if one.name is None]
        item = menu.items[0] if menu.spec.singleton else None
        if item is None:
            which = named["number"] if "number" in named else plain.pop(0) if plain else None
            items = self._items(menu, self.evaluate(which))
            if not items:
                raise ConsoleError("no such item")
            item = items[0]
        record = self._router.printer.record(item, menu.spec)
        name = named.get("value-name") or (plain[0] if plain else None)
        return record if name is None else self._got(menu, item, record, self._text(self.evaluate(name)))

    @staticmethod
    def _got(menu: Menu, item: Item, record: dict[str, str], name: str) -> Value:
        if name == "disabled":
            return item.disabled
        if name not in {one.name for one in menu.spec.properties} | {"comment"}:
            raise ConsoleError("input does not match any value of value-name")
        return record.get(name, "")

    def _export(self, command: Command) -> None:
        router = self._router
        sensitive = any(one.name == "show-sensitive" for one in command.arguments) or router.version < (7,)
        lines = [
            f"# {router.printer.timestamp(router.clock.now())} by RouterOS {router.version_text}",
            "# software id = LAB0-HILL",
            "#",
            "# model = RB5009UPr+S+",
        ]
        for path in sorted(router.menus):
            if path[: len(command.menu)] == command.menu:
                lines += router.printer.export(router.menu(path), sensitive)
        self._outcome.lines += lines
        self._outcome.paged = False

    # -- writing

    def _items(self, menu: Menu, value: Value) -> list[Item]:
        """The items meant by ids, numbers or names; one that is not there is an error."""
        wanted = (
            value if isinstance(value, list) else self._text(value).split(",") if value is not None else []
        )
        return [self._item(menu, self._text(one)) for one in wanted]

    @staticmethod
    def _item(menu: Menu, text: str) -> Item:
        for index, item in enumerate(menu.items):
            if text in (item.id, str(index)) or ("name" in item.values and text == item.values["name"]):
                return item
        raise ConsoleError("no such item")

    def _values(self, command: Command, menu: Menu) -> dict[str, str]:
        given = {}
        for one in command.arguments:
            if one.name is None or one.name in ("numbers", "copy-from", "place-before"):
                continue
            text = self._text(self.evaluate(one.value))
            if one.name not in ("comment", "disabled"):
                check = menu.spec.property_named(one.name).check
                text = check(text) if check is not None else text
            given[one.name] = text
        if given.get("disabled", "no") not in ("yes", "no"):
            raise ConsoleError("invalid value of disabled, should be yes or no")
        return given

    def _write(self, command: Command, menu: Menu) -> Value:
        if command.verb == "add":
            places = [one.value for one in command.arguments if one.name == "place-before"]
            before = self._items(menu, self.evaluate(places[0])) if places else []
            return self._add(menu, self._values(command, menu), before[0] if before else None)
        if menu.spec.singleton:
            menu.change(menu.items[0], self._values(command, menu))
            return None
        for item in self._targets(command, menu):
            self._apply(command, menu, item)
        return None

    def _targets(self, command: Command, menu: Menu) -> list[Item]:
        named = [one.value for one in command.arguments if one.name == "numbers"]
        plain = [one.value for one in command.arguments if one.name is None]
        if not named and not plain:
            raise ConsoleError("missing value(s) of argument(s) numbers")
        return self._items(menu, self.evaluate((named or plain)[0]))

    def _apply(self, command: Command, menu: Menu, item: Item) -> None:
        if command.verb == "remove":
            menu.remove(item)
        elif command.verb in ("enable", "disable"):
            item.disabled = command.verb == "disable"
        else:
            self._set(menu, item, self._values(command, menu))

    def _set(self, menu: Menu, item: Item, values: dict[str, str]) -> None:
        if "disabled" in values:
            item.disabled = values.pop("disabled") == "yes"
        if "timeout" in values:
            item.expires_at = self._router.clock.now() + parse_duration(values.pop("timeout"))
            item.dynamic = True
        self._check_profile(menu, values)
        menu.change(item, values)

    def _add(self, menu: Menu, values: dict[str, str], before: Item | None) -> str:
        missing = [one.name for one in menu.spec.properties if one.required and not values.get(one.name)]
        if missing:
            raise ConsoleError(f"missing value(s) of argument(s) {' '.join(missing)}")
        self._check_profile(menu, values)
        disabled = values.pop("disabled", "no") == "yes"
        timeout = values.pop("timeout", "")
        if menu.spec.path in (ADDRESS_LIST, ADDRESS_LIST_6):
            values["creation-time"] = self._router.printer.timestamp(self._router.clock.now())
        item = menu.add(values, dynamic=bool(timeout), disabled=disabled)
        if timeout:
            item.expires_at = self._router.clock.now() + parse_duration(timeout)
        if before is not None:
            menu.place_before(item, before)
        self._resolve(menu, item)
        return item.id

    def _resolve(self, menu: Menu, item: Item) -> None:
        """A DNS name in an address list makes dynamic entries for what it resolves to."""
        if menu.spec.path not in (ADDRESS_LIST, ADDRESS_LIST_6) or not is_dns_name(item.values["address"]):
            return
        name = item.values["address"]
        for address in self._router.dns.get(name, ()):
            menu.add({**item.values, "address": address, "comment": name}, dynamic=True)

    def _check_profile(self, menu: Menu, values: dict[str, str]) -> None:
        profile = values.get("profile")
        if menu.spec.path != PPP_SECRET or profile is None:
            return
        names = {one.values["name"] for one in self._router.menus[("ppp", "profile")]}
        if profile not in names:
            raise ConsoleError("input does not match any value of profile")


def _same_address(left: Value, expression: Expression | None) -> bool:
    """An unquoted IPv6 address is a value of its own kind: the prefix of all its bits (unproven on gear)."""
    if not isinstance(expression, Word) or expression.quoted or not isinstance(left, str):
        return False
    if "/" in expression.text or ":" not in expression.text:
        return False
    try:
        return ipaddress.IPv6Network(left) == ipaddress.IPv6Network(expression.text)
    except ValueError:
        return False


def _is_operators(expression: Expression | None) -> bool:
    """Unquoted ``/`` and ``:`` are operators in a ``where``: what they make equals nothing."""
    return isinstance(expression, Word) and not expression.quoted and bool(set("/:") & set(expression.text))


def _type_of(value: Value) -> str:
    if isinstance(value, str):
        return "num" if value.isdigit() else "str"
    names: list[tuple[type | tuple[type, ...], str]] = [(bool, "bool"), (int, "num"), ((list, dict), "array")]
    return next((name for kind, name in names if isinstance(value, kind)), "nil")


def on_removed(menu: Menu, callback: Callable[[Item], None]) -> None:
    """Have ``callback`` told of each item taken out of the menu."""
    menu.removed = callback
