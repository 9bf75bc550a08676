"""Charge models: from a quantity to an exact amount with its steps. Pure.

The quantity is what lies beyond the allowance. An amount is an integer over ``Unit.scale`` (exact, however
many decimals a price has); the steps are its explanation as data and sum to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

from billing.domain.rating.described import Described, described
from billing.domain.rating.unit import MEGABIT_PER_S, Unit, price_text

Steps = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Portion:
    """Days ``first`` to ``first + days`` of a cycle of ``of_days``: shares by it add up to the whole."""

    first: int
    days: int
    of_days: int

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the cycle."""
        return self.days == self.of_days

    def of(self, count: int) -> int:
        """Its share of ``count`` by actual days (``billing.domain.proration``)."""
        if self.is_whole:
            return count
        doubled = 2 * self.of_days
        upto_end = (2 * count * (self.first + self.days) + self.of_days) // doubled
        return upto_end - (2 * count * self.first + self.of_days) // doubled


WHOLE: Final = Portion(0, 1, 1)


class ChargeModel(Protocol):
    """How a quantity is priced."""

    kind: ClassVar[str]

    def price(self, quantity: int, unit: Unit, portion: Portion = WHOLE) -> tuple[int, Steps]:
        """The exact amount times ``unit.scale``, and its steps; nothing used costs nothing, but a commit."""

    def as_json(self, unit: Unit) -> dict[str, Any]:
        """As stored in a plan version."""


@dataclass(frozen=True, slots=True)
class Flat:
    """The same amount however much there is; nothing when there is nothing."""

    kind: ClassVar[str] = "flat"
    nano: int

    def price(self, quantity: int, unit: Unit, portion: Portion = WHOLE) -> tuple[int, Steps]:
        """Once, when anything lies beyond the allowance."""
        if quantity <= 0:
            return 0, []
        scaled = self.nano * unit.size
        return scaled, [{unit.of: quantity, "exact_minor": unit.exact_text(scaled)}]

    def as_json(self, unit: Unit) -> dict[str, Any]:
        return {"kind": self.kind, "minor": price_text(self.nano)}


@dataclass(frozen=True, slots=True)
class PerUnit:
    """So much a unit, by the exact fraction of a unit."""

    kind: ClassVar[str] = "per_unit"
    nano: int

    def price(self, quantity: int, unit: Unit, portion: Portion = WHOLE) -> tuple[int, Steps]:
        """Quantity times price."""
        if quantity <= 0:
            return 0, []
        scaled = quantity * self.nano
        step = {unit.of: quantity, unit.price_key: price_text(self.nano)}
        return scaled, [{**step, "exact_minor": unit.exact_text(scaled)}]

    def as_json(self, unit: Unit) -> dict[str, Any]:
        return {"kind": self.kind, unit.price_key: price_text(self.nano)}


@dataclass(frozen=True, slots=True)
class Tier:
    """Up to ``up_to`` (included, counted from the end of the allowance; None: without end) at one price."""

    up_to: int | None
    nano: int
    text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", price_text(self.nano))


@dataclass(frozen=True, slots=True)
class Graduated:
    """Marginal tiers: each part of the quantity costs what its own tier says. No tiers: free."""

    kind: ClassVar[str] = "graduated"
    tiers: tuple[Tier, ...]

    def price(self, quantity: int, unit: Unit, portion: Portion = WHOLE) -> tuple[int, Steps]:
        """Tier by tier."""
        if quantity <= 0:
            return 0, []
        total = floor = 0
        steps: Steps = []
        from_key, of, price_key, exact_text = unit.from_key, unit.of, unit.price_key, unit.exact_text
        for tier in self.tiers:
            up_to = tier.up_to
            ceiling = quantity if up_to is None or up_to > quantity else up_to
            part = ceiling - floor
            if part <= 0:
                break
            scaled = part * tier.nano
            total += scaled
            steps.append({from_key: floor, of: part, price_key: tier.text, "exact_minor": exact_text(scaled)})
            floor = ceiling
        return total, steps

    def as_json(self, unit: Unit) -> dict[str, Any]:
        return {"kind": self.kind, "tiers": tiers_as_json(self.tiers, unit)}


@dataclass(frozen=True, slots=True)
class Volume:
    """The whole quantity at the price of the tier that it ends in."""

    kind: ClassVar[str] = "volume"
    tiers: tuple[Tier, ...]

    def price(self, quantity: int, unit: Unit, portion: Portion = WHOLE) -> tuple[int, Steps]:
        """One tier for all; a quantity on a border belongs to the tier below it."""
        if quantity <= 0:
            return 0, []
        tier = next(one for one in self.tiers if one.up_to is None or quantity <= one.up_to)
        scaled = quantity * tier.nano
        step = {unit.up_to_key: tier.up_to, unit.of: quantity, unit.price_key: tier.text}
        return scaled, [{**step, "exact_minor": unit.exact_text(scaled)}]

    def as_json(self, unit: Unit) -> dict[str, Any]:
        return {"kind": self.kind, "tiers": tiers_as_json(self.tiers, unit)}


@dataclass(frozen=True, slots=True)
class Package:
    """Blocks of ``block``; one that was started counts whole."""

    kind: ClassVar[str] = "package"
    block: int
    nano: int

    def price(self, quantity: int, unit: Unit, portion: Portion = WHOLE) -> tuple[int, Steps]:
        """Started blocks times their price."""
        if quantity <= 0:
            return 0, []
        blocks = -(-quantity // self.block)
        scaled = blocks * self.nano * unit.size
        step = {unit.of: quantity, "blocks": blocks, f"block_{unit.of}": self.block}
        return scaled, [
            {**step, "minor_per_block": price_text(self.nano), "exact_minor": unit.exact_text(scaled)}
        ]

    def as_json(self, unit: Unit) -> dict[str, Any]:
        block = {f"block_{unit.of}": self.block, "minor_per_block": price_text(self.nano)}
        return {"kind": self.kind, **block}


@dataclass(frozen=True, slots=True)
class Step:
    """Any quantity up to ``up_to`` (included; None: without end) costs ``nano`` altogether."""

    up_to: int | None
    nano: int


@dataclass(frozen=True, slots=True)
class Stepped:
    """One amount for everything, by how far the quantity goes."""

    kind: ClassVar[str] = "stepped"
    steps: tuple[Step, ...]

    def price(self, quantity: int, unit: Unit, portion: Portion = WHOLE) -> tuple[int, Steps]:
        """The amount of the step that the quantity ends in."""
        if quantity <= 0:
            return 0, []
        step = next(one for one in self.steps if one.up_to is None or quantity <= one.up_to)
        scaled = step.nano * unit.size
        said = {unit.up_to_key: step.up_to, unit.of: quantity, "exact_minor": unit.exact_text(scaled)}
        return scaled, [said]

    def as_json(self, unit: Unit) -> dict[str, Any]:
        steps = [{unit.up_to_key: one.up_to, "minor": price_text(one.nano)} for one in self.steps]
        return {"kind": self.kind, "steps": steps}


@dataclass(frozen=True, slots=True)
class CommitBurst:
    """``commit`` at a fixed price whether it is used or not, and what goes beyond it by the unit.

    For a part of a cycle both the committed quantity and its price count by actual days.
    """

    kind: ClassVar[str] = "commit_burst"
    commit: int
    commit_nano: int
    nano: int

    def price(self, quantity: int, unit: Unit, portion: Portion = WHOLE) -> tuple[int, Steps]:
        """The commitment, then the burst."""
        committed = portion.of(self.commit)
        scaled = portion.of(self.commit_nano * unit.size)
        step: dict[str, Any] = {unit.from_key: 0, unit.of: min(quantity, committed)}
        step |= {f"commit_{unit.of}": committed, "exact_minor": unit.exact_text(scaled)}
        burst = quantity - committed
        if burst <= 0:
            return scaled, [step]
        beyond = burst * self.nano
        said = {unit.from_key: committed, unit.of: burst, unit.price_key: price_text(self.nano)}
        return scaled + beyond, [step, {**said, "exact_minor": unit.exact_text(beyond)}]

    def as_json(self, unit: Unit) -> dict[str, Any]:
        commit = {f"commit_{unit.of}": self.commit, "minor_commit": price_text(self.commit_nano)}
        return {"kind": self.kind, **commit, unit.price_key: price_text(self.nano)}


@dataclass(frozen=True, slots=True)
class Percentile95:
    """The rate that 95 % of the samples do not exceed, priced by ``priced`` in Mbit/s for a whole cycle.

    Samples are averages over ``sample_s`` seconds, counted from the first instant of the part; a last one
    that is shorter is left out. The highest 5 % of them (the count rounded down) are set aside, and the
    highest that is left is billed: the nearest rank, ceil(0.95 n), of n samples. Directions that are metered
    as ``max`` are ranked one by one and the higher result counts; ``sum`` adds them sample by sample.
    ``missing``: a sample without any record counts as ``zero`` or is ``left_out``.
    """

    kind: ClassVar[str] = "percentile_95"
    priced: ChargeModel
    sample_s: int = 300
    missing: str = "zero"

    def price(self, quantity: int, unit: Unit, portion: Portion = WHOLE) -> tuple[int, Steps]:
        """``quantity`` in bit/s; the price of a whole cycle, by actual days for a part of one."""
        scaled, steps = self.priced.price(quantity, unit)
        return portion.of(scaled), steps

    def as_json(self, unit: Unit) -> dict[str, Any]:
        rules = {"sample_seconds": self.sample_s, "missing": self.missing}
        return {"kind": self.kind, **rules, "priced": self.priced.as_json(MEGABIT_PER_S)}


def tiers_as_json(tiers: Sequence[Tier], unit: Unit) -> list[dict[str, Any]]:
    """Tiers as stored: ``{"up_to_octets": …, "minor_per_gb": "12.5"}``."""
    return [{unit.up_to_key: one.up_to, unit.price_key: one.text} for one in tiers]


def parse_tiers(listed: Any, unit: Unit) -> tuple[Tier, ...]:
    """Tiers from their JSON form; the last must be open and borders must rise. No tiers: free.

    Raises ``ValueError`` naming the tier and the trouble.
    """
    return _read_tiers(Described({"tiers": listed}, ""), unit)


def _check_borders(borders: Sequence[int | None], key: str, where: str) -> None:
    if borders and borders[-1] is not None:
        raise ValueError(f"{where}[{len(borders)}].{key}: the last one must be without end (null)")
    floor = 0
    for index, border in enumerate(borders[:-1], start=1):
        if border is None or border <= floor:
            raise ValueError(f"{where}[{index}].{key} must be above {floor}; it is {border}")
        floor = border


def _parse_flat(form: Described, unit: Unit) -> ChargeModel:
    form.only(("kind", "minor"))
    return Flat(form.price("minor"))


def _parse_per_unit(form: Described, unit: Unit) -> ChargeModel:
    form.only(("kind", unit.price_key))
    return PerUnit(form.price(unit.price_key))


def _read_tiers(form: Described, unit: Unit) -> tuple[Tier, ...]:
    form.only(("kind", "tiers"))

    def read(one: Described) -> Tier:
        one.only((unit.up_to_key, unit.price_key))
        up_to = one.count(unit.up_to_key, 1) if one.has(unit.up_to_key) else None
        return Tier(up_to, one.price(unit.price_key))

    tiers = form.each("tiers", read)
    _check_borders([tier.up_to for tier in tiers], unit.up_to_key, form.path("tiers"))
    return tiers


def _parse_graduated(form: Described, unit: Unit) -> ChargeModel:
    return Graduated(_read_tiers(form, unit))


def _parse_volume(form: Described, unit: Unit) -> ChargeModel:
    tiers = _read_tiers(form, unit)
    if not tiers:
        raise ValueError(f"{form.path('tiers')} must have one tier at least")
    return Volume(tiers)


def _parse_package(form: Described, unit: Unit) -> ChargeModel:
    form.only(("kind", f"block_{unit.of}", "minor_per_block"))
    return Package(form.count(f"block_{unit.of}", 1), form.price("minor_per_block"))


def _parse_stepped(form: Described, unit: Unit) -> ChargeModel:
    form.only(("kind", "steps"))

    def read(one: Described) -> Step:
        one.only((unit.up_to_key, "minor"))
        return Step(one.count(unit.up_to_key, 1) if one.has(unit.up_to_key) else None, one.price("minor"))

    steps = form.each("steps", read)
    if not steps:
        raise ValueError(f"{form.path('steps')} must have one step at least")
    _check_borders([one.up_to for one in steps], unit.up_to_key, form.path("steps"))
    return Stepped(steps)


def _parse_commit_burst(form: Described, unit: Unit) -> ChargeModel:
    form.only(("kind", f"commit_{unit.of}", "minor_commit", unit.price_key))
    return CommitBurst(
        form.count(f"commit_{unit.of}", 1), form.price("minor_commit"), form.price(unit.price_key)
    )


def _parse_percentile(form: Described, unit: Unit) -> ChargeModel:
    form.only(("kind", "sample_seconds", "missing", "priced"))
    if unit.of != "octets":
        raise ValueError(f"{form.path('kind')}: a rate is measured of octets, not of {unit.of}")
    priced = parse_model(form.part("priced"), MEGABIT_PER_S)
    if isinstance(priced, Percentile95):
        raise ValueError(f"{form.path('priced')}.kind: a percentile is not priced by a percentile")  # noqa: TRY004
    return Percentile95(
        priced,
        form.count("sample_seconds", 60, 3600, default=300),
        form.choice("missing", ("zero", "left_out"), default="zero"),
    )


_PARSERS: Final = {
    Flat.kind: _parse_flat,
    PerUnit.kind: _parse_per_unit,
    Graduated.kind: _parse_graduated,
    Volume.kind: _parse_volume,
    Package.kind: _parse_package,
    Stepped.kind: _parse_stepped,
    CommitBurst.kind: _parse_commit_burst,
    Percentile95.kind: _parse_percentile,
}
KINDS: Final = tuple(_PARSERS)


def parse_model(form: Described | Mapping[str, Any], unit: Unit) -> ChargeModel:
    """A charge model from its JSON form; raises ``ValueError`` naming the field."""
    if not isinstance(form, Described):
        form = described(form, "model")
    return _PARSERS[form.choice("kind", KINDS)](form, unit)
