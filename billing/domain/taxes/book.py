"""All rules in an order in which none rests on a later one, found by place, class, kind and day.

Made once for a bill run; every question is answered once and kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from math import lcm
from typing import Final

from billing.domain.taxes.place import (
    FoldedPlace,
    Place,
    exact_postal_codes,
    fold,
    fold_postal_code,
    is_exact,
)
from billing.domain.taxes.rule import MILLION, Effect, Method, TaxRule

_KEPT: Final = 200_000
"""Answers that are kept: the places of a large provider, the days of a long replay."""

_Node = tuple[str, str]  # country and name


class Tariff:
    """The rules on a line, each with the places in this list of those that belong to its base."""

    def __init__(self, rules: tuple[TaxRule, ...], rests_on: tuple[tuple[int, ...], ...]) -> None:
        self.rules = rules
        self.rests_on = rests_on
        self.plain = not any(rests_on) and all(
            rule.method is Method.PERCENT and rule.share_ppm == MILLION for rule in rules
        )

    @cached_property
    def parts_of_gross(self) -> tuple[tuple[int, ...], int] | None:
        """``(numerators, denominator)``: each rule's part of a price with taxes. None: some are fixed."""
        if any(rule.method is not Method.PERCENT for rule in self.rules):
            return None
        parts: list[Fraction] = []
        for rule, below in zip(self.rules, self.rests_on, strict=True):
            factor = Fraction(rule.rate_ppm * rule.share_ppm, MILLION**2)
            parts.append(factor * (1 + sum(parts[place] for place in below)))
        gross = 1 + sum(parts)
        shares = [part / gross for part in parts]
        denominator = lcm(*(share.denominator for share in shares))
        return tuple(int(share * denominator) for share in shares), denominator


class PlaceTaxes:
    """The rules of one place."""

    __slots__ = ("_answers", "_book", "_rules", "_tariffs")

    def __init__(self, book: TaxBook, rules: tuple[TaxRule, ...]) -> None:
        self._book = book
        self._rules = rules
        self._answers: dict[tuple[str, str, date], Tariff] = {}
        self._tariffs: dict[tuple[str, ...], Tariff] = {}

    def tariff(self, tax_class: str, line_kind: str, on: date) -> Tariff:
        """What is asked for a line of that class and kind on that day."""
        key = (tax_class, line_kind, on)
        found = self._answers.get(key)
        if found is None:
            if len(self._answers) >= _KEPT:
                self._answers.clear()
            rules = [one for one in self._rules if one.concerns(tax_class, line_kind) and one.in_force(on)]
            ids = tuple(rule.id for rule in rules)
            found = self._tariffs.get(ids)
            if found is None:
                found = self._tariffs[ids] = self._book.tariff_of(rules)
            self._answers[key] = found
        return found


class TaxBook:
    """Rules as they are known at one instant. Raises ``ValueError`` for rules that rest on each other."""

    def __init__(self, rules: Iterable[TaxRule]) -> None:
        known = list(rules)
        self._graph = _Graph(known)
        self.rules: tuple[TaxRule, ...] = tuple(sorted(known, key=self._graph.order))
        self.rank = {rule.id: rank for rank, rule in enumerate(self.rules)}
        if len(self.rank) != len(known):
            raise ValueError("two tax rules have the same id")
        self._by_area: dict[tuple[str, str], _Area] = defaultdict(_Area)
        for rank, rule in enumerate(self.rules):
            where = rule.jurisdiction
            self._by_area[where.country, fold(where.region)].add(rank, rule)
        self._places: dict[Place, PlaceTaxes] = {}
        self._sets: dict[tuple[int, ...], PlaceTaxes] = {}

    def for_place(self, place: Place) -> PlaceTaxes:
        """The rules that reach ``place``."""
        found = self._places.get(place)
        if found is None:
            if len(self._places) >= _KEPT:
                self._places.clear()
            ranks = self._reaching(place.folded())
            found = self._sets.get(ranks)
            if found is None:
                found = self._sets[ranks] = PlaceTaxes(self, tuple(self.rules[rank] for rank in ranks))
            self._places[place] = found
        return found

    def _reaching(self, place: FoldedPlace) -> tuple[int, ...]:
        areas = (
            [(place.country, ""), (place.country, place.region)] if place.region else [(place.country, "")]
        )
        candidates = {
            rank for area in areas if area in self._by_area for rank in self._by_area[area].near(place)
        }
        return tuple(rank for rank in sorted(candidates) if self.rules[rank].jurisdiction.covers(place))

    def tariff_of(self, rules: Sequence[TaxRule]) -> Tariff:
        """The rules, in the book's order, with what each rests on among them."""
        below = tuple(
            tuple(place for place, other in enumerate(rules) if self._graph.rests_on(rule, other))
            for rule in rules
        )
        return Tariff(tuple(rules), below)


class _Area:
    """The rules of a country or region, by what finds them."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._by_postal_code: dict[str, list[int]] = defaultdict(list)
        self._by_span: list[int] = []

    def add(self, rank: int, rule: TaxRule) -> None:
        where = rule.jurisdiction
        if not where.postal_codes:
            self._by_name[fold(where.county), fold(where.city)].append(rank)
        elif all(is_exact(code) for code in where.postal_codes):
            for code in where.postal_codes:
                self._by_postal_code[fold_postal_code(code)].append(rank)
        else:
            self._by_span.append(rank)

    def near(self, place: FoldedPlace) -> set[int]:
        """Those that may reach the place, and all that do."""
        found = set(self._by_span)
        for county in {"", place.county}:
            for city in {"", place.city}:
                found.update(self._by_name.get((county, city), ()))
        for code in exact_postal_codes(place):
            found.update(self._by_postal_code.get(code, ()))
        return found


class _Graph:
    """Which taxes rest on which, by country and name."""

    def __init__(self, rules: Sequence[TaxRule]) -> None:
        effects: dict[_Node, Effect] = {}
        named: dict[_Node, set[_Node]] = defaultdict(set)
        for rule in rules:
            node = _node(rule)
            if effects.setdefault(node, rule.effect) is not rule.effect:
                raise ValueError(f"{rule.name} is a tax and a surcharge in {node[0]}; give one another name")
            named[node].update((node[0], name) for name in rule.on_top_of)
        self._named = named
        self._depths(named)  # what was named in a circle is told before what follows from it
        self._taxed = self._taxable_surcharges(rules, effects)
        self._depth = self._depths({node: set(below) | self._taxed[node] for node, below in named.items()})

    @staticmethod
    def _depths(below: Mapping[_Node, set[_Node]]) -> dict[_Node, int]:
        depth: dict[_Node, int] = {}
        try:
            for node in TopologicalSorter(below).static_order():
                depth[node] = 1 + max((depth[one] for one in below.get(node, ())), default=-1)
        except CycleError as circle:
            names = " on ".join(name for _, name in reversed(circle.args[1]))
            raise ValueError(f"taxes rest on each other: {names}") from None
        return depth

    def _taxable_surcharges(
        self, rules: Sequence[TaxRule], effects: Mapping[_Node, Effect]
    ) -> dict[_Node, set[_Node]]:
        """By tax: the taxable surcharges that belong to its base, those left out that rest on the tax."""
        surcharges = {_node(rule) for rule in rules if rule.effect is Effect.SURCHARGE and rule.taxable}
        reach = {one: self._all_below(one) for one in surcharges}
        return {
            node: {one for one in surcharges if one[0] == node[0] and node not in reach[one]}
            if effect is Effect.TAX
            else set()
            for node, effect in effects.items()
        }

    def _all_below(self, node: _Node) -> set[_Node]:
        seen: set[_Node] = set()
        ahead = [node]
        while ahead:
            new = self._named.get(ahead.pop(), set()) - seen
            seen |= new
            ahead += new
        return seen

    def rests_on(self, rule: TaxRule, other: TaxRule) -> bool:
        """Whether the amount of ``other`` belongs to the base of ``rule``."""
        node, below = _node(rule), _node(other)
        if rule.method is not Method.PERCENT or node[0] != below[0]:
            return False
        return other.name in rule.on_top_of or (other.taxable and below in self._taxed[node])

    def order(self, rule: TaxRule) -> tuple[int, str, str, date, str]:
        """What rests on nothing comes first; then by jurisdiction, name and day."""
        return (
            self._depth[_node(rule)], rule.jurisdiction.code, rule.name, rule.valid_from, rule.id,
        )  # fmt: skip


def _node(rule: TaxRule) -> _Node:
    return rule.jurisdiction.country, rule.name
