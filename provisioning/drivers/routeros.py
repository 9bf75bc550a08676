"""MikroTik RouterOS 6 and 7: an address list whose entries carry our mark as their comment.

Only the comment says whose an entry is: ``.id`` values move at a reboot, and numbers belong to one print.
Commands are one-shot and name list, address and mark, so that none can hit an entry of others. The operator's
own filter and NAT rules act on the list; they must stand above fasttrack.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provisioning.domain.plan import (
    Add,
    Change,
    Observation,
    OwnedEntry,
    Remove,
    canonical_address,
    is_ipv6,
    mark_of,
    owner_of,
)
from provisioning.ports import Command, Reply, Target, Unreadable

DEFAULT_LIST = "hilltop-suspended"
_LIST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}\Z")
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
_COMPLAINT = re.compile(
    r"^\s*(failure:.*|bad command name.*|not enough permissions.*|no such (?:item|command).*|syntax error.*"
    r"|expected (?:end of command|command name|closing).*|invalid (?:value|command).*|input does not match.*"
    r"|unknown parameter.*|ambiguous value.*|value of .* (?:out of range|must).*|interrupted"
    r"|action timed out.*|missing value.*|.* is not a valid .*|error.*)\s*$",
    re.MULTILINE | re.IGNORECASE,
)
_ROW = re.compile(r"^\s*(?P<index>\d+)\s+(?P<flags>[A-Z]*)\s*(?=comment=|list=)(?P<words>.*)$")
# The comment comes first, unquoted, and may hold anything, even ' list=x address=y': take the last ones.
_WORDS = re.compile(
    r"^(?:comment=(?P<comment>.*)\s)?list=(?P<list>\S+)\s+address=(?P<address>\S+)"
    r"(?:\s+(?:creation-time|timeout|dynamic|disabled)=.*)?\s*$"
)
_VERSION = re.compile(r"^\s*version:\s*(\d+(?:\.\d+)*\S*)", re.MULTILINE)
_BOARD = re.compile(r"^\s*board-name:\s*(.+?)\s*$", re.MULTILINE)


class RouterOs:
    """Words of RouterOS; v7 takes its slash paths, anything older or unknown the spaced ones."""

    name = "routeros"
    device_type = "mikrotik_routeros"
    option_names = frozenset({"list", "ipv6"})

    def option_trouble(self, options: Mapping[str, Any]) -> str | None:
        unknown = sorted(set(options) - self.option_names)
        if unknown:
            return f"RouterOS devices have no option {unknown[0]!r}; there are: ipv6, list"
        name = options.get("list", DEFAULT_LIST)
        if not isinstance(name, str) or not _LIST_NAME.match(name):
            return "option list: give a name of letters, digits, '-', '_' and '.', up to 60 characters"
        if not isinstance(options.get("ipv6", True), bool):
            return "option ipv6: give true or false"
        return None

    def typed(self, command: str, nonce: str) -> tuple[str, ...]:
        # On a line of its own: a line with a syntax error would take the mark down with it.
        return command, f':put "hilltop-{nonce}"'

    def end_mark(self, nonce: str) -> str:
        # Typed, the mark stands between quotes; printed, it does not.
        return rf"(?<![\w\"-])hilltop-{nonce}(?![\w\"-])"

    def facts_command(self) -> str:
        return "/system resource print"

    def read_facts(self, reply: Reply) -> dict[str, str]:
        version, board = _VERSION.search(reply.text), _BOARD.search(reply.text)
        if version is None:
            raise Unreadable(self.complaint(reply) or f"no version in {reply.text.strip()[:120]!r}")
        return {"platform": "RouterOS", "version": version[1], "board": board[1] if board else ""}

    def observe_commands(self, target: Target) -> list[str]:
        where = f"where list={_list(target)}"
        commands = []
        for family in _families(target):
            menu = _menu(target, family, "address-list")
            commands += [
                _verb(target, menu, f"print terse without-paging {where}"),
                _verb(target, menu, f"print count-only {where}"),
            ]
        return commands

    def parse_observation(self, target: Target, replies: Sequence[Reply]) -> Observation:
        entries = _Entries()
        for number, family in enumerate(_families(target)):
            rows, count = replies[2 * number : 2 * number + 2]
            if family == "ipv6" and "bad command name" in rows.text:
                continue  # the ipv6 package is off: there is no such list, so nothing of ours is in it
            for row in self._rows(rows, count):
                _sort_in(row, _list_name(target), entries)
        return Observation(frozenset(entries.owned), frozenset(entries.foreign), frozenset(entries.idle))

    def _rows(self, rows: Reply, count: Reply) -> list[str]:
        """One line an entry; the router's own count proves that none was lost on the way.

        Complaints are looked for only where that proof fails: a comment may hold any words.
        """
        lines = _unwrap(rows.text)
        counted = re.search(r"^\s*(\d+)\s*$", count.text, re.MULTILINE)
        if counted is not None and int(counted[1]) == len(lines):
            return lines
        said = counted[1] if counted else "no number"
        complaint = self.complaint(count) or (None if lines else self.complaint(rows))
        raise Unreadable(complaint or f"the list printed {len(lines)} entries but counted {said}")

    def change_commands(self, target: Target, changes: Sequence[Change]) -> list[Command]:
        return [command for change in changes for command in self._commands_for(target, change)]

    def _commands_for(self, target: Target, change: Change) -> list[Command]:
        address = canonical_address(change.address)
        family = "ipv6" if is_ipv6(address) else "ip"
        menu = _menu(target, family, "address-list")
        # Quoted: inside [find …] a bare IPv6 address is not read alike by all versions.
        place = f'list={_list(target)} address="{_spelled(address)}" comment="{mark_of(change.service_id)}"'
        match change:
            case Remove():
                lines = [_verb(target, menu, f"remove [find {place}]")]
            case Add():
                lines = [_verb(target, menu, f"add {place}"), *_cut_flows(target, family, address)]
        return [Command(line, change.service_id) for line in lines]

    def complaint(self, reply: Reply) -> str | None:
        found = _COMPLAINT.search(reply.text)
        return found[1].strip() if found else None


def _list(target: Target) -> str:
    name = str(target.options.get("list", DEFAULT_LIST))
    return name if _PLAIN_NAME.match(name) else f'"{name}"'  # '.' joins and a number is no text there


def _list_name(target: Target) -> str:
    return str(target.options.get("list", DEFAULT_LIST))


def _families(target: Target) -> tuple[str, ...]:
    return ("ip", "ipv6") if target.options.get("ipv6", True) else ("ip",)


def _menu(target: Target, family: str, menu: str) -> str:
    words = f"/{family} firewall {menu}"
    return words.replace(" ", "/") if _is_v7(target) else words


def _verb(target: Target, menu: str, rest: str) -> str:
    return f"{menu}/{rest}" if _is_v7(target) else f"{menu} {rest}"


def _is_v7(target: Target) -> bool:
    return int(re.match(r"\d*", target.facts.get("version", ""))[0] or 0) >= 7  # type: ignore[index]


def _spelled(address: str) -> str:
    """IPv6 lists keep a prefix length with every address."""
    return f"{address}/128" if is_ipv6(address) and "/" not in address else address


def _cut_flows(target: Target, family: str, address: str) -> list[str]:
    """Forget a host's connections in both directions: established and fasttracked ones outlive new rules.

    Older versions print ``address:port``, newer ones the address alone, IPv6 ones a prefix length: there a
    colon after the address would make it another host's.
    """
    if "/" in address:
        return []  # a delegated prefix: the drop rule must stand above fasttrack
    menu = _menu(target, family, "connection")
    end = "/" if family == "ipv6" else ":"
    host = f'"^{address}({end}|\\$)"'
    return [_verb(target, menu, f"remove [find {side}-address~{host}]") for side in ("src", "dst")]


def _unwrap(text: str) -> list[str]:
    """Terse rows, one a line, though the terminal may have folded them.

    A row begins with the next number and its first word; whatever else follows continues the row before.
    """
    rows: list[str] = []
    for line in text.split("\n"):
        found = _ROW.match(line)
        if found and int(found["index"]) == len(rows):
            rows.append(line)
        elif rows and line.strip():
            rows[-1] += line
    return rows


@dataclass(slots=True)
class _Entries:
    owned: set[OwnedEntry] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    idle: set[str] = field(default_factory=set)


def _sort_in(row: str, list_name: str, entries: _Entries) -> None:
    found = _ROW.match(row)
    words = _WORDS.match(found["words"]) if found else None
    if found is None or words is None:
        raise Unreadable(f"this row of the list cannot be read: {row.strip()[:160]}")
    if words["list"] != list_name:
        return
    active = "X" not in found["flags"]
    service_id = owner_of(_unquoted(words["comment"] or ""))
    address = _address_of(words["address"])
    if service_id is not None and address is not None and "D" not in found["flags"]:
        entries.owned.add(OwnedEntry(service_id, address, active))
    elif address is not None:
        (entries.foreign if active else entries.idle).add(address)


def _address_of(text: str) -> str | None:
    """The canonical address, or None for ranges and DNS names, which only others put there."""
    try:
        return canonical_address(text)
    except ValueError:
        return None


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text
