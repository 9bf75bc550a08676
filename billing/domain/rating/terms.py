"""Usage terms: how an item of a plan version meters, includes, limits and prices what is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from billing.domain.rating.balance import Rollover
from billing.domain.rating.calendar import PERIODS, Calendar, windows
from billing.domain.rating.charge_model import ChargeModel, Graduated, Percentile95, parse_model, parse_tiers
from billing.domain.rating.described import Described, described
from billing.domain.rating.time_class import DAYS, TimeClass, parse_time_class
from billing.domain.rating.unit import GIGABYTE, Unit, parse_unit
from core.periods import Period

METERED: Final = ("sum", "down", "up", "max")
COUNTED: Final = "count"
"""What has no direction, such as minutes, stands where octets to the subscriber do."""
EFFECTS: Final = ("throttle", "walled_garden")
AMONG: Final = ("account", "payer")
MOST_TOP_UP_DAYS: Final = 366
_FIELDS: Final = (
    "unit", "metered", "model", "allowance", "classes", "holidays", "rollover", "shared", "cap", "alerts",
    "top_ups",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is included in each window; ``amount`` None is unlimited.

    ``prorated``: a window that is rated in part includes its share by actual days; otherwise the whole.
    """

    amount: int | None
    per: str = "cycle"
    prorated: bool = True
    week_starts: int = 0


@dataclass(frozen=True, slots=True)
class Shared:
    """Every item with the same bucket, among one account or all accounts of one payer, draws on one pool."""

    bucket: str
    among: str = "account"


@dataclass(frozen=True, slots=True)
class Cap:
    """What happens when ``at`` octets, or ``at_percent`` of the allowance, are used in a window.

    Rolled over allowance and top-ups raise it. ``effect``: throttle or walled_garden.
    """

    effect: str
    at: int | None = None
    at_percent: int | None = None


@dataclass(frozen=True, slots=True)
class TopUpOffer:
    """More of it for a price, until the cycle ends or for ``days``.

    ``portal``: the subscriber may buy it himself on the portal page. ``automatic``: it is bought by itself
    when the cap is reached, at most that often in a cycle. ``prepaid``: only money that the account has paid
    already, and that nothing else waits for, buys it.
    """

    code: str
    name: str
    amount: int
    price_minor: int
    days: int | None = None
    portal: bool = False
    automatic: int = 0
    prepaid: bool = False

    def closes_on(self, today: date, cycle: Period) -> date:
        """The first day on which it no longer serves, bought today."""
        return cycle.end if self.days is None else today + timedelta(days=self.days)


@dataclass(frozen=True, slots=True)
class Holidays:
    """Which days are holidays: of a country (ISO 3166-1) or its part, and ``days`` beside them."""

    country: str | None = None
    subdivision: str | None = None
    days: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageTerms:
    """``model`` None: what lies beyond the allowance is free."""

    metered: str = "sum"
    model: ChargeModel | None = None
    allowance: Allowance | None = None
    unit: Unit = GIGABYTE
    classes: tuple[TimeClass, ...] = ()
    rollover: Rollover | None = None
    shared: Shared | None = None
    cap: Cap | None = None
    alerts: tuple[int, ...] = ()
    top_ups: tuple[TopUpOffer, ...] = ()
    holidays: Holidays | None = None
    is_plain: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plain = not self.classes and self.rollover is None and self.per == "cycle"
        plain = plain and self.shared is None and not isinstance(self.model, Percentile95)
        object.__setattr__(self, "is_plain", plain)

    @property
    def per(self) -> str:
        """The window of the allowance."""
        return "cycle" if self.allowance is None else self.allowance.per

    @property
    def needs_slices(self) -> bool:
        """Whether totals can be too little to rate by."""
        return bool(self.classes) or self.per != "cycle" or isinstance(self.model, Percentile95)

    def needs_slices_in(self, calendar: Calendar) -> bool:
        """Whether totals are too little for this part: a monthly cycle is one monthly window."""
        if self.classes or isinstance(self.model, Percentile95):
            return True
        starts = 0 if self.allowance is None else self.allowance.week_starts
        return len(windows(self.per, calendar, calendar.part, starts)) > 1

    @property
    def is_watched(self) -> bool:
        """Whether live usage has to be looked at."""
        return self.cap is not None or bool(self.alerts)

    def counted(self, octets_in: int, octets_out: int) -> int:
        """What counts; ``octets_in`` is what the subscriber sent. ``max``: the greater of the two."""
        if self.metered == "sum":
            return octets_in + octets_out
        if self.metered == "up":
            return octets_in
        if self.metered == "max":
            return max(octets_in, octets_out)
        return octets_out

    def top_up(self, code: str) -> TopUpOffer | None:
        """The offer with that code."""
        return next((one for one in self.top_ups if one.code == code), None)

    def direction_of(self, octets_in: int, octets_out: int) -> str:
        """The direction that counts; ``max`` chooses once, by the totals of the whole part."""
        if self.metered != "max":
            return self.metered
        return "up" if octets_in > octets_out else "down"

    def as_json(self) -> dict[str, Any]:
        """As stored in a plan version; what is not used is left out."""
        said: dict[str, Any] = {"unit": self.unit.as_json(), "metered": self.metered}
        if self.model is not None:
            said["model"] = self.model.as_json(self.unit)
        if self.allowance is not None:
            said["allowance"] = self._allowance_json(self.allowance)
        if self.classes:
            said["classes"] = [one.as_json(self.unit) for one in self.classes]
        if self.holidays is not None:
            said["holidays"] = {
                "country": self.holidays.country,
                "subdivision": self.holidays.subdivision,
                "days": [day.isoformat() for day in self.holidays.days],
            }
        if self.rollover is not None:
            said["rollover"] = {"periods": self.rollover.periods, f"cap_{self.unit.of}": self.rollover.cap}
        if self.shared is not None:
            said["shared"] = {"bucket": self.shared.bucket, "among": self.shared.among}
        if self.cap is not None:
            said["cap"] = self._cap_json(self.cap)
        if self.alerts:
            said["alerts"] = list(self.alerts)
        if self.top_ups:
            said["top_ups"] = [self._top_up_json(one) for one in self.top_ups]
        return said

    def _allowance_json(self, one: Allowance) -> dict[str, Any]:
        said: dict[str, Any] = {self.unit.of: one.amount, "per": one.per, "prorated": one.prorated}
        return said | ({"week_starts": DAYS[one.week_starts]} if one.per == "week" else {})

    def _cap_json(self, one: Cap) -> dict[str, Any]:
        at = {f"at_{self.unit.of}": one.at} if one.at is not None else {"at_percent": one.at_percent}
        return {**at, "effect": one.effect}

    def _top_up_json(self, one: TopUpOffer) -> dict[str, Any]:
        said = {
            "code": one.code, "name": one.name, self.unit.of: one.amount, "price_minor": one.price_minor,
            "days": one.days, "portal": one.portal, "automatic": one.automatic,
        }  # fmt: skip
        return said | ({"prepaid": True} if one.prepaid else {})


def parse_usage_terms(stored: Mapping[str, Any]) -> UsageTerms:
    """Terms from their JSON form; raises ``ValueError`` naming the field by its path."""
    form = described(stored, "")
    form.only(_FIELDS)
    unit = parse_unit(form.fields.get("unit", GIGABYTE.name))
    metered = METERED if unit.of == "octets" else (COUNTED,)
    terms = UsageTerms(
        metered=form.choice("metered", metered, default=metered[0]),
        model=parse_model(form.part("model"), unit) if form.has("model") else None,
        allowance=_allowance(form.part("allowance"), unit) if form.has("allowance") else None,
        unit=unit,
        classes=form.each("classes", lambda one: parse_time_class(one, unit), most=20),
        rollover=_rollover(form.part("rollover"), unit) if form.has("rollover") else None,
        shared=_shared(form.part("shared")) if form.has("shared") else None,
        cap=_cap(form.part("cap"), unit) if form.has("cap") else None,
        alerts=_alerts(form),
        top_ups=form.each("top_ups", lambda one: _top_up(one, unit), most=20),
        holidays=_holidays(form.part("holidays")) if form.has("holidays") else None,
    )
    _check_together(terms)
    return terms


def plain_terms(metered: str, allowance_octets: int | None, overage_tiers: Iterable[Any]) -> UsageTerms:
    """An allowance per cycle (None: unlimited) with graduated overage by the GB."""
    tiers = parse_tiers(list(overage_tiers), GIGABYTE)
    return UsageTerms(metered, Graduated(tiers), Allowance(allowance_octets))


def _allowance(form: Described, unit: Unit) -> Allowance:
    form.only((unit.of, "per", "prorated", "week_starts"))
    if unit.of not in form.fields:
        raise ValueError(f"{form.path(unit.of)} is missing; null is unlimited")
    return Allowance(
        form.count(unit.of) if form.has(unit.of) else None,
        form.choice("per", PERIODS, default="cycle"),
        form.flag("prorated", default=True),
        DAYS.index(form.choice("week_starts", DAYS, default="mon")),
    )


def _rollover(form: Described, unit: Unit) -> Rollover:
    form.only(("periods", f"cap_{unit.of}"))
    key = f"cap_{unit.of}"
    return Rollover(form.count("periods", 1, 60, default=1), form.count(key, 1) if form.has(key) else None)


def _holidays(form: Described) -> Holidays:
    form.only(("country", "subdivision", "days"))
    listed = form.fields.get("days", [])
    try:
        days = tuple(sorted({date.fromisoformat(one) for one in listed}))
    except (TypeError, ValueError):
        raise ValueError(f"{form.path('days')} is a list of days such as 2026-12-24") from None
    return Holidays(
        form.word("country", longest=2) if form.has("country") else None,
        form.word("subdivision", longest=10) if form.has("subdivision") else None,
        days,
    )


def _shared(form: Described) -> Shared:
    form.only(("bucket", "among"))
    return Shared(form.word("bucket"), form.choice("among", AMONG, default="account"))


def _cap(form: Described, unit: Unit) -> Cap:
    key = f"at_{unit.of}"
    form.only((key, "at_percent", "effect"))
    if form.has(key) == form.has("at_percent"):
        raise ValueError(f"{form.path(key)} or {form.path('at_percent')}: a cap has one of them")
    effect = form.choice("effect", EFFECTS)
    if form.has(key):
        return Cap(effect, at=form.count(key, 1))
    return Cap(effect, at_percent=form.count("at_percent", 1, 1000))


def _alerts(form: Described) -> tuple[int, ...]:
    listed = form.fields.get("alerts", [])
    good = isinstance(listed, list | tuple) and len(listed) <= 20
    if not good or not all(isinstance(one, int) and 1 <= one <= 1000 for one in listed):
        raise ValueError(f"{form.path('alerts')} is a list of whole percents from 1 to 1000")
    return tuple(sorted({int(one) for one in listed}))


def _top_up(form: Described, unit: Unit) -> TopUpOffer:
    form.only(("code", "name", unit.of, "price_minor", "days", "portal", "automatic", "prepaid"))
    return TopUpOffer(
        form.word("code"),
        form.word("name", longest=80),
        form.count(unit.of, 1),
        form.count("price_minor", 0, 10**12),
        form.count("days", 1, MOST_TOP_UP_DAYS) if form.has("days") else None,
        form.flag("portal", default=False),
        form.count("automatic", 0, 100, default=0),
        form.flag("prepaid", default=False),
    )


def _check_together(terms: UsageTerms) -> None:
    limited = terms.allowance is not None and terms.allowance.amount is not None
    faults = (
        (len({one.name for one in terms.classes}) < len(terms.classes), "classes: a name stands twice"),
        (len({one.code for one in terms.top_ups}) < len(terms.top_ups), "top_ups: a code stands twice"),
        (
            terms.holidays is None and any(one.holidays != "as_weekday" for one in terms.classes),
            "holidays: a class asks for them; name a country or days",
        ),
        (terms.rollover is not None and not limited, "rollover: there is no allowance that could be left"),
        (
            terms.cap is not None and terms.cap.at_percent is not None and not limited,
            "cap.at_percent: there is no allowance to take it of; give it in octets",
        ),
        (
            bool(terms.alerts) and not limited and terms.cap is None,
            "alerts: there is neither an allowance nor a cap to take percents of",
        ),
        (bool(terms.top_ups) and not limited and terms.cap is None, "top_ups: nothing here runs out"),
        (
            any(one.automatic for one in terms.top_ups) and terms.cap is None,
            "top_ups: an automatic one is bought when the cap is reached; there is no cap",
        ),
        (isinstance(terms.model, Percentile95) and not _only_priced(terms), _PERCENTILE_ALONE),
    )
    for wrong, words in faults:
        if wrong:
            raise ValueError(words)


_PERCENTILE_ALONE: Final = (
    "model.kind: a percentile has no allowance, classes, rollover or shared bucket; commit to a rate instead"
)


def _only_priced(terms: UsageTerms) -> bool:
    beside = (terms.allowance, terms.rollover, terms.shared)
    return not terms.classes and all(one is None for one in beside)
