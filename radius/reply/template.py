"""The operator's own lines over a dialect's words: read once, checked through the dictionary, filled in.

A line is one of ``Name := value`` (instead of whatever is there), ``Name += value`` (beside it), ``Name =
value`` (when there is none) and ``-Name`` (take it away). ``#`` begins a comment. ``[walled_garden coa]``
begins a section: what follows it holds under those effects and in those packets; ``[]`` ends it. Values may
hold placeholders in braces, ``{{`` and ``}}`` are braces; a line whose placeholder has no value is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from aaa.directory import ServiceAccess
from aaa.domain.effect import Effect
from aaa.domain.profile import SessionTerms
from radius.dialects.attributes import WireAttribute, kbit
from radius.dictionary.attributes import AttributeDictionary
from radius.dictionary.definitions import AttributeFault
from radius.packet.codec import MICROSOFT

MOST_LINES: Final = 100
LONGEST_TEXT: Final = 4_000
PACKETS: Final = ("accept", "coa")
EFFECTS: Final = ("none", "throttle", "walled_garden")

_LINE = re.compile(r"(?P<name>[A-Za-z0-9][\w.\-]*(?::\d+)?)\s*(?P<action>:=|\+=|=)\s*(?P<value>.*)")
_REMOVAL = re.compile(r"-\s*(?P<name>[A-Za-z0-9][\w.\-]*)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\["\\])*)"\s*(?:#.*)?')
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

_OURS: Final = frozenset((0, kind) for kind in (2, 3, 24, 25, 33, 60, 79, 80, 89)) | frozenset(
    (MICROSOFT, kind) for kind in (1, 2, 7, 8, 11, 12, 16, 17, 25, 26)
)
"""What belongs to the sign-in itself: a template has no say in it."""
OF_SERVICE: Final = frozenset((0, kind) for kind in (8, 9, 22, 85, 88, 97, 99, 123, 168))
"""What the server says of the service and not of its profile."""
_GIVEN_ONCE: Final = (
    OF_SERVICE
    | frozenset((0, kind) for kind in (6, 7, 18, 64, 65, 81, 100, 171, 172))
    | {(14988, 3), (14988, 22)}
)
"""What no NAS takes for a session that runs: not in a CoA, unless a section names it."""

_RATES = ("rate", "burst", "min")
OF_TERMS: Final[Mapping[str, str]] = {
    **{
        f"{kind}_{way}{unit}": f"{words}, {way}, in {size}"
        for kind, words in zip(_RATES, ("rate now", "burst rate", "committed rate"), strict=True)
        for way in ("down", "up")
        for unit, size in (("", "bit/s"), ("_kbit", "kbit/s"), ("_mbit", "Mbit/s"))
    },
    "burst_seconds": "how long a burst lasts",
    "priority": "1 (first) to 8",
    "pool": "IPv4 pool",
    "ipv6_pool": "IPv6 pool of the link",
    "delegated_pool": "IPv6 pool of delegated prefixes",
    "vlan": "VLAN",
    "outer_vlan": "outer VLAN",
    "filter_id": "the profile's filter",
    "filter": "the filter now: the walled garden's or the profile's",
    "router_group": "group on the router",
    "session_timeout": "seconds",
    "idle_timeout": "seconds",
    "profile": "name of the profile",
    "effect": "none, throttle, walled_garden or block",
}
"""Placeholders that say the same of every service under the same terms."""
OF_ONE_SERVICE: Final[Mapping[str, str]] = {
    "service_id": "id of the service",
    "interim": "interim interval in seconds",
    "framed_ip": "static IPv4 address",
    "ipv6_prefix": "IPv6 prefix of the link",
    "delegated_prefix": "delegated IPv6 prefix",
    "ipv6_address": "static IPv6 address",
}
"""Placeholders that are each service's own: replies with them are kept one by one."""
PLACEHOLDERS: Final = {**OF_TERMS, **OF_ONE_SERVICE}


class TemplateFault(ValueError):  # noqa: N818 - named for what it is
    """A line cannot be used; the text names it, and what is wrong."""


@dataclass(frozen=True, slots=True)
class TemplateLine:
    """One line. ``value`` is the text with its placeholders; ``octets`` are there when it has none."""

    number: int
    action: str  # := += = -
    name: str
    place: tuple[int, int]
    value: str
    placeholders: frozenset[str]
    octets: bytes
    effects: frozenset[str]
    packets: frozenset[str]

    @property
    def of_one_service(self) -> bool:
        """Whether it says another thing of each service."""
        return self.place in OF_SERVICE or not self.placeholders.isdisjoint(OF_ONE_SERVICE)

    def holds(self, terms: SessionTerms, packet: str) -> bool:
        """Whether it is for this packet under these terms."""
        if packet not in self.packets and (self.packets or (packet == "coa" and self.place in _GIVEN_ONCE)):
            return False
        effect = "walled_garden" if terms.walled else terms.effect.value
        return not self.effects or effect in self.effects


def read_template(text: str, dictionary: AttributeDictionary) -> tuple[TemplateLine, ...]:
    """The lines of a template. Raises ``TemplateFault``."""
    if len(text) > LONGEST_TEXT:
        raise TemplateFault(f"the template has {len(text)} characters; {LONGEST_TEXT} fit")
    lines: list[TemplateLine] = []
    section: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        try:
            if line.startswith("["):
                section = _section(line)
            elif line and not line.startswith("#"):
                lines.append(_line(number, line, section, dictionary))
        except ValueError as trouble:
            raise TemplateFault(f"line {number}: {trouble}") from None
    if len(lines) > MOST_LINES:
        raise TemplateFault(f"the template has {len(lines)} lines; {MOST_LINES} are allowed")
    return tuple(lines)


def _section(line: str) -> tuple[frozenset[str], frozenset[str]]:
    words = line[1:].partition("]")
    named = frozenset(words[0].split())
    unknown = sorted(named - {*EFFECTS, *PACKETS})
    if not words[1] or words[2].strip() or unknown:
        raise ValueError(
            f"{line!r} is no section; write [{EFFECTS[2]}] or [{EFFECTS[1]} {PACKETS[1]}], of the words "
            f"{', '.join((*EFFECTS, *PACKETS))}"
        )
    return named & set(EFFECTS), named & set(PACKETS)


def _line(
    number: int, line: str, section: tuple[frozenset[str], frozenset[str]], dictionary: AttributeDictionary
) -> TemplateLine:
    removal = _REMOVAL.fullmatch(line.partition("#")[0].strip())
    if removal is not None:
        name, place = _named(removal["name"], dictionary)
        return TemplateLine(number, "-", name, place, "", frozenset(), b"", *section)
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"{line!r}: write Name := value, Name += value, Name = value or -Name")
    name, place = _named(found["name"], dictionary)
    value = _value(found["value"])
    placeholders = _placeholders(value)
    octets = dictionary.encode(found["name"], fill(value, _SAMPLES))
    return TemplateLine(
        number, found["action"], found["name"], place, value, placeholders,
        b"" if placeholders else octets, *section,
    )  # fmt: skip


def _named(name: str, dictionary: AttributeDictionary) -> tuple[str, tuple[int, int]]:
    definition = dictionary.find(name.partition(":")[0])
    if definition is None:
        dictionary.encode(name, "")  # says which is meant
        raise ValueError(f"{name}: no attribute has this name")
    place = (definition.vendor, definition.path[0])
    if place in _OURS:
        raise ValueError(f"{definition.name} belongs to the sign-in itself; leave it to the server")
    if definition.encryption:
        raise ValueError(f"{definition.name} travels hidden; a template cannot send it")
    if definition.secret:
        raise ValueError(f"{definition.name} is a secret; templates are kept and shown in clear")
    return definition.name, place


def _value(text: str) -> str:
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        if quoted is None:
            raise ValueError(f'{text}: the quotes do not end; write \\" for a quote within')
        return re.sub(r'\\(["\\])', r"\1", quoted[1])
    bare = re.split(r"\s#", text)[0].strip()
    if not bare:
        raise ValueError('the value is missing; write "" for an empty one')
    return bare


def _placeholders(value: str) -> frozenset[str]:
    found = set()
    for piece in _PIECE.finditer(value):
        if piece[0] in ("{", "}"):
            raise ValueError(f"a brace stands alone; write {piece[0] * 2} for the character")
        if piece[1] is not None:
            if piece[1] not in PLACEHOLDERS:
                raise ValueError(f"{{{piece[1]}}} is no placeholder; there are {', '.join(PLACEHOLDERS)}")
            found.add(piece[1])
    return frozenset(found)


def fill(value: str, given: Mapping[str, str | None]) -> str:
    """The value with its placeholders filled in. Raises ``KeyError`` for one that has no value."""

    def said(piece: re.Match[str]) -> str:
        if piece[1] is None:
            return piece[0][0]
        word = given.get(piece[1])
        if word is None:
            raise KeyError(piece[1])
        return word

    return _PIECE.sub(said, value)


_SAMPLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(PLACEHOLDERS, "1"),
    **dict.fromkeys(("pool", "ipv6_pool", "delegated_pool", "filter_id", "filter", "router_group"), "name"),
    "profile": "Home 25", "effect": "none", "service_id": "svc_01", "framed_ip": "192.0.2.1",
    "ipv6_prefix": "2001:db8::/64", "delegated_prefix": "2001:db8::/56", "ipv6_address": "2001:db8::1",
}  # fmt: skip
"""What a template is tried with when it is saved."""


def values_of(terms: SessionTerms, service: ServiceAccess | None) -> dict[str, str | None]:
    """What each placeholder stands for; None: it has no value here."""
    given: dict[str, object] = {
        "burst_seconds": terms.burst_seconds, "priority": terms.priority, "pool": terms.pool,
        "ipv6_pool": terms.ipv6_pool, "delegated_pool": terms.delegated_pool, "vlan": terms.vlan,
        "outer_vlan": terms.outer_vlan, "filter_id": terms.filter_id, "filter": terms.access_filter,
        "router_group": terms.router_group, "session_timeout": terms.session_timeout_s,
        "idle_timeout": terms.idle_timeout_s, "profile": terms.profile_name,
        "effect": Effect(terms.effect).value,
    }  # fmt: skip
    for kind in _RATES:
        for way in ("down", "up"):
            bps: int | None = getattr(terms, f"{kind}_{way}_bps")
            given[f"{kind}_{way}"] = bps
            given[f"{kind}_{way}_kbit"] = None if bps is None else kbit(bps)
            given[f"{kind}_{way}_mbit"] = None if bps is None else -(-bps // 1_000_000)
    if service is not None:
        own = service.addressing
        given |= {
            "service_id": service.id, "interim": service.interim_interval_s, "framed_ip": service.framed_ip,
            "ipv6_prefix": own.ipv6_prefix, "delegated_prefix": own.delegated_prefix,
            "ipv6_address": own.ipv6_address,
        }  # fmt: skip
    return {name: None if value is None else str(value) for name, value in given.items()}


def apply_lines(
    attributes: Iterable[WireAttribute],
    lines: Iterable[tuple[TemplateLine, str]],
    given: Mapping[str, str | None],
    dictionary: AttributeDictionary,
) -> tuple[list[WireAttribute], list[str]]:
    """The attributes after the lines, each of which comes with the words for where it stands.

    The second list names the lines whose filled-in value does not fit its attribute; they are left out.
    """
    said, troubles = list(attributes), []
    for line, origin in lines:
        where = f"{origin}, line {line.number}"
        if line.action == "-":
            said = _without(said, line.place)
            continue
        try:
            value = fill(line.value, given)
            octets = line.octets or dictionary.encode(line.name, value)
        except KeyError:
            continue
        except (AttributeFault, UnicodeError, OverflowError) as trouble:
            troubles.append(f"{where}: {trouble}")
            continue
        present = any((one.vendor, one.kind) == line.place for one in said)
        if line.action == "=" and present:
            continue
        if line.action == ":=":
            said = _without(said, line.place)
        name = line.name.partition(":")[0]
        said.append(WireAttribute(name, *line.place, octets, f'"{value}"', where, whole=True))
    return said, troubles


def _without(attributes: list[WireAttribute], place: tuple[int, int]) -> list[WireAttribute]:
    return [one for one in attributes if (one.vendor, one.kind) != place]
