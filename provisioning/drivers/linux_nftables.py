"""A Linux router with nftables over OpenSSH: one set a family, element comments as owner marks.

The operator loads ``bootstrap_ruleset`` once; the driver only adds and deletes elements. ``nft`` takes
several statements as one transaction, all or nothing, so the changes of one service are one command. It
deletes elements by value alone: whose an element is was read a moment before, in the same session.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
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

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,30}\Z")
_DEFAULTS = {"table": "hilltop", "set4": "suspended4", "set6": "suspended6"}
_COMPLAINT = re.compile(
    r"(Error: .*|.*Operation not permitted.*|sudo: .*|.*(?:command )?not found.*|.*may not run.*"
    r"|.*Permission denied.*)"
)


class LinuxNftables:
    """Words of nft(8) and a POSIX shell. Without root, commands go through ``sudo -n``."""

    name = "linux_nftables"
    device_type = "linux"
    option_names = frozenset({"table", "set4", "set6", "sudo"})

    def option_trouble(self, options: Mapping[str, Any]) -> str | None:
        unknown = sorted(set(options) - self.option_names)
        if unknown:
            return f"Linux devices have no option {unknown[0]!r}; there are: set4, set6, sudo, table"
        for name, default in _DEFAULTS.items():
            value = options.get(name, default)
            if not isinstance(value, str) or not _NAME.match(value):
                return f"option {name}: give a name of letters, digits and '_', up to 31 characters"
        if not isinstance(options.get("sudo", True), bool):
            return "option sudo: give true or false"
        return None

    def typed(self, command: str, nonce: str) -> tuple[str, ...]:
        # On the same line: a shell's terminal would echo a second line into the middle of the output.
        return (f'{command}; echo "hilltop-{nonce}-$?"',)

    def end_mark(self, nonce: str) -> str:
        return rf"hilltop-{nonce}-[0-9]+(?![\w$])"  # typed, '$?' stands where the digits are printed

    def facts_command(self) -> str:
        # A login shell of another user than root does not have the administrator's directories in its path.
        return 'export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C; uname -sr; nft --version'

    def read_facts(self, reply: Reply) -> dict[str, str]:
        kernel = re.search(r"^Linux (\S+)", reply.text, re.MULTILINE)
        nft = re.search(r"^nftables v(\S+)", reply.text, re.MULTILINE)
        if kernel is None or nft is None:
            raise Unreadable(self.complaint(reply) or f"no Linux with nftables: {reply.text.strip()[:120]!r}")
        return {"platform": "Linux", "version": kernel[1], "nftables": nft[1]}

    def observe_commands(self, target: Target) -> list[str]:
        return [f"{_nft(target)} -j list set inet {_table(target)} {name}" for name in _sets(target)]

    def parse_observation(self, target: Target, replies: Sequence[Reply]) -> Observation:
        owned: set[OwnedEntry] = set()
        foreign: set[str] = set()
        for name, reply in zip(_sets(target), replies, strict=True):
            for element in self._elements(name, reply):
                address, comment = _read_element(element)
                service_id = owner_of(comment)
                if service_id is not None and address is not None:
                    owned.add(OwnedEntry(service_id, address))
                elif address is not None:
                    foreign.add(address)
        return Observation(frozenset(owned), frozenset(foreign))

    def _elements(self, name: str, reply: Reply) -> list[Any]:
        start = reply.text.find('{"nftables"')
        if start < 0 or reply.status != 0:
            said = self.complaint(reply) or reply.text.strip()[:160]
            raise Unreadable(f"set {name} cannot be listed ({said}); was the bootstrap ruleset loaded?")
        try:
            document, _end = json.JSONDecoder().raw_decode(reply.text[start:])
            objects = document["nftables"]
        except (ValueError, KeyError, TypeError):
            raise Unreadable(f"set {name}: the JSON that nft printed cannot be read") from None
        sets = [one["set"] for one in objects if isinstance(one, dict) and "set" in one]
        if len(sets) != 1 or sets[0].get("name") != name:
            raise Unreadable(f"set {name}: nft answered for another set")
        elements = sets[0].get("elem", [])
        return elements if isinstance(elements, list) else [elements]

    def change_commands(self, target: Target, changes: Sequence[Change]) -> list[Command]:
        commands = []
        for service_id, own in groupby(changes, key=lambda change: change.service_id):
            mine = list(own)
            batch = "; ".join(_statement(target, change) for change in mine)
            commands.append(Command(f"{_nft(target)} '{batch}'", service_id))
            added = [change.address for change in mine if isinstance(change, Add)]
            commands += [Command(_cut_flows(target, address), service_id) for address in added]
        return commands

    def complaint(self, reply: Reply) -> str | None:
        if reply.status in (0, None):
            return None
        found = _COMPLAINT.search(reply.text)
        return found[1].strip() if found else f"exit status {reply.status}: {reply.text.strip()[:160]}"


def _sudo(target: Target) -> str:
    return "sudo -n " if target.options.get("sudo", target.username != "root") else ""


def _nft(target: Target) -> str:
    return f"{_sudo(target)}nft"


def _table(target: Target) -> str:
    return str(target.options.get("table", _DEFAULTS["table"]))


def _sets(target: Target) -> tuple[str, str]:
    names = {**_DEFAULTS, **target.options}
    return str(names["set4"]), str(names["set6"])


def _statement(target: Target, change: Change) -> str:
    address = canonical_address(change.address)
    place = f"element inet {_table(target)} {_sets(target)[is_ipv6(address)]}"
    match change:
        case Remove():
            return f"delete {place} {{ {address} }}"
        case Add(service_id):
            return f'add {place} {{ {address} comment "{mark_of(service_id)}" }}'


def _cut_flows(target: Target, address: str) -> str:
    """Forget the host's connections in both directions, where conntrack(8) is installed.

    The bootstrap ruleset does not need it: it looks at the sets before it accepts established flows.
    """
    family = " -f ipv6" if is_ipv6(address) else ""
    delete = "; ".join(f"{_sudo(target)}conntrack -D{family} {side} {address}" for side in ("-s", "-d"))
    return f"if command -v conntrack >/dev/null; then {{ {delete}; }} 2>&1 | tail -n 2; fi; true"


def _read_element(element: Any) -> tuple[str | None, str]:
    """(address, comment) of an element of nft's JSON; None for ranges, which only others make."""
    comment = ""
    if isinstance(element, dict) and "elem" in element:
        comment = str(element["elem"].get("comment", ""))
        element = element["elem"].get("val")
    if isinstance(element, dict) and "prefix" in element:
        element = f"{element['prefix']['addr']}/{element['prefix']['len']}"
    try:
        return (canonical_address(element), comment) if isinstance(element, str) else (None, comment)
    except ValueError:
        return None, comment


def bootstrap_ruleset(
    portal_addresses: Iterable[str],
    uplink: str,
    *,
    dns_addresses: Iterable[str] = (),
    portal_ports: Sequence[int] = (80, 443),
    table: str = "hilltop",
) -> str:
    """The nftables text that an operator loads once (``nft -f``) on a Linux tower router.

    ``portal_addresses`` are where the customer portal listens, ``uplink`` the interface to the internet,
    ``dns_addresses`` the resolvers (any resolver when empty; the router's own is reached through input, which
    this table leaves alone). A cut-off subscriber may reach portal and DNS, over IPv4 and IPv6; all else of
    his is dropped. Running flows stop at once, whatever accepts established ones in other tables: an accept
    ends its own chain only. The one exception is a flowtable: what it has offloaded passes no chain, so
    install conntrack(8) there, with which the driver makes the router forget the flows, or leave the
    subscribers' interfaces out of it. Loading the ruleset again keeps the elements that are there.
    Raises ``ValueError`` for addresses, ports or names that nft would misread.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.:@-]{1,15}", uplink) or not _NAME.match(table):
        raise ValueError(f"{uplink!r} is no interface name or {table!r} no table name")
    if not portal_ports or not all(1 <= port <= 65535 for port in portal_ports):
        raise ValueError("portal ports must be 1 to 65535")
    ports = ", ".join(str(port) for port in portal_ports)
    portal, resolvers = _by_family(portal_addresses), _by_family(dns_addresses)
    return f"""\
# Cut-off subscribers reach the portal and DNS only. Elements are added and removed by the back office.
table inet {table} {{
    set suspended4 {{ type ipv4_addr; }}
    set suspended6 {{ type ipv6_addr; }}
    chain suspended_forward {{
        type filter hook forward priority -10; policy accept;
    }}
    chain from_suspended {{
    }}
    chain to_suspended {{
    }}
}}
flush chain inet {table} suspended_forward
flush chain inet {table} from_suspended
flush chain inet {table} to_suspended
table inet {table} {{
    chain suspended_forward {{
        ip saddr @suspended4 jump from_suspended
        ip6 saddr @suspended6 jump from_suspended
        ip daddr @suspended4 jump to_suspended
        ip6 daddr @suspended6 jump to_suspended
    }}
    chain from_suspended {{
{_allowances("daddr", "dport", portal, resolvers, ports)}\
        oifname "{uplink}" counter drop comment "nothing of a cut-off subscriber leaves"
        counter drop
    }}
    chain to_suspended {{
{_allowances("saddr", "sport", portal, resolvers, ports)}\
        counter drop
    }}
}}
"""


def _by_family(addresses: Iterable[str]) -> dict[str, list[str]]:
    families: dict[str, list[str]] = {"ip": [], "ip6": []}
    for address in addresses:
        canonical = canonical_address(address)
        families["ip6" if is_ipv6(canonical) else "ip"].append(canonical)
    return families


def _allowances(
    side: str, port_side: str, portal: dict[str, list[str]], resolvers: dict[str, list[str]], ports: str
) -> str:
    lines = []
    for family, addresses in portal.items():
        if addresses:
            lines.append(f"{family} {side} {{ {', '.join(addresses)} }} tcp {port_side} {{ {ports} }} accept")
    anywhere = not any(resolvers.values())
    lines += [f"meta l4proto {{ tcp, udp }} th {port_side} 53 accept"] if anywhere else []
    for family, addresses in resolvers.items():
        if addresses:
            hosts = ", ".join(addresses)
            lines.append(
                f"{family} {side} {{ {hosts} }} meta l4proto {{ tcp, udp }} th {port_side} 53 accept"
            )
    return "".join(f"        {line}\n" for line in lines)
