"""SNMP counters become absolute meter readings (RFC 2863 sections 3.1.5 and 3.1.6, RFC 3418 sysUpTime).

A meter is identified by device and interface *name*; its totals begin at zero with the first sample. A
difference counts only inside one epoch of the device; a new epoch credits the new value from zero. What
cannot be known is not billed: a counter that may have turned over twice is *unsure*, more than the line can
carry is *quarantined*, a fall with nothing to explain it waits for the next sample to say what it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from aaa.domain.decision import Decision

TICKS_TURN = 1 << 32  # TimeTicks turn over after 497.1 days
_UPTIME_TOLERANCE = 0.05
_UPTIME_SLACK_S = 60
_AGE_SLACK_S = 2
_CACHE_SLACK_S = 15  # agents answer from caches that are some seconds old
_GAP_INTERVALS = 2.5


@dataclass(frozen=True, slots=True)
class CounterSample:
    """Raw numbers of one row at one instant, directions already the subscriber's.

    ``width_bits`` is 32 or 64. ``discontinuity_ticks`` is ifCounterDiscontinuityTime; ``session_age_s`` how
    long the row has existed, for rows that are born anew (``<pppoe-user>``, radio stations). None: not known.
    """

    octets_in: int
    octets_out: int
    width_bits: int
    at: datetime
    sys_uptime_ticks: int | None = None
    engine_boots: int | None = None
    discontinuity_ticks: int | None = None
    session_age_s: float | None = None
    if_index: int | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON values, for the meter's state and for evidence."""
        return {
            "in": self.octets_in, "out": self.octets_out, "width": self.width_bits, "at": self.at.isoformat(),
            "sys_uptime_ticks": self.sys_uptime_ticks, "engine_boots": self.engine_boots,
            "discontinuity_ticks": self.discontinuity_ticks, "session_age_s": self.session_age_s,
            "if_index": self.if_index,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CounterSample:
        """The inverse of ``as_json``."""
        return cls(
            values["in"], values["out"], values["width"], datetime.fromisoformat(values["at"]),
            values["sys_uptime_ticks"], values["engine_boots"], values["discontinuity_ticks"],
            values["session_age_s"], values["if_index"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CounterMeter:
    """A meter after its newest sample: the last good sample, one under suspicion if any, and the totals."""

    good: CounterSample
    total_in: int = 0
    total_out: int = 0
    suspect: CounterSample | None = None
    suspicion: Decision | None = None  # fell or quarantined

    def as_json(self) -> dict[str, Any]:
        """JSON values for ``aaa_meter.state``."""
        return {
            "good": self.good.as_json(),
            "total": [self.total_in, self.total_out],
            "suspect": None if self.suspect is None else self.suspect.as_json(),
            "suspicion": self.suspicion,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> CounterMeter:
        """The inverse of ``as_json``."""
        total_in, total_out = values["total"]
        suspect, suspicion = values["suspect"], values["suspicion"]
        return cls(
            CounterSample.from_json(values["good"]), total_in, total_out,
            None if suspect is None else CounterSample.from_json(suspect),
            None if suspicion is None else Decision(suspicion),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a sample did to its meter. ``added_*`` are octets that count; ``why`` is for the operator."""

    meter: CounterMeter
    decision: Decision
    why: str
    added_in: int = 0
    added_out: int = 0

    @property
    def poll_sooner(self) -> bool:
        """True when a shorter poll interval would have made the sample certain."""
        return self.decision is Decision.UNSURE


@dataclass(frozen=True, slots=True)
class Judgement:
    """One sample against one earlier one: octets that would count, or why they cannot."""

    decision: Decision
    why: str
    added: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class _Step:
    """Two samples in one width, with what lies between them."""

    old: CounterSample
    new: CounterSample
    cap_bps: int

    @property
    def turn(self) -> int:
        return 1 << min(self.old.width_bits, self.new.width_bits)

    @property
    def before(self) -> tuple[int, int]:
        return self.old.octets_in % self.turn, self.old.octets_out % self.turn

    @property
    def after(self) -> tuple[int, int]:
        return self.new.octets_in % self.turn, self.new.octets_out % self.turn

    @property
    def risen(self) -> tuple[int, int]:
        return self.after[0] - self.before[0], self.after[1] - self.before[1]

    @property
    def fell(self) -> bool:
        return min(self.risen) < 0

    @property
    def wall_s(self) -> float:
        return (self.new.at - self.old.at).total_seconds()

    @property
    def device_s(self) -> float | None:
        """Seconds between the samples on the device's own clock; None if it does not tell one."""
        if self.old.sys_uptime_ticks is None or self.new.sys_uptime_ticks is None:
            return None
        return ((self.new.sys_uptime_ticks - self.old.sys_uptime_ticks) % TICKS_TURN) / 100

    def carries(self, octets: tuple[int, int], seconds: float) -> bool:
        """Whether the line can carry so many octets in so many seconds."""
        return max(octets) * 8 <= self.cap_bps * (seconds + _CACHE_SLACK_S)


def resolve_sample(
    meter: CounterMeter | None, sample: CounterSample, cap_bps: int, expected_interval_s: float | None = None
) -> Resolution:
    """The meter after ``sample``, which must be newer than the last one.

    ``cap_bps`` is the most the line carries in one direction. Raises ``ValueError`` for an older sample.
    """
    if meter is None:
        return Resolution(CounterMeter(sample), Decision.FIRST, "the meter begins at this sample")
    newest = meter.good if meter.suspect is None else meter.suspect
    if sample.at <= newest.at:
        raise ValueError(f"a sample of {sample.at} is not newer than {newest.at}")
    judgement = _judge_all(meter, sample, cap_bps)
    if not judgement.decision.counts and judgement.decision is not Decision.UNSURE:
        suspected = replace(meter, suspect=sample, suspicion=judgement.decision)
        return Resolution(suspected, judgement.decision, judgement.why)
    added_in, added_out = judgement.added
    after = CounterMeter(sample, meter.total_in + added_in, meter.total_out + added_out)
    if judgement.decision is Decision.ADVANCE and _is_gap(meter.good, sample, expected_interval_s):
        why = f"polls were missed: the difference spans {_span(meter.good, sample)}"
        return Resolution(after, Decision.GAP, why, added_in, added_out)
    return Resolution(after, judgement.decision, judgement.why, added_in, added_out)


def _is_gap(good: CounterSample, sample: CounterSample, expected_interval_s: float | None) -> bool:
    if expected_interval_s is None:
        return False
    return (sample.at - good.at).total_seconds() > _GAP_INTERVALS * expected_interval_s


def _span(good: CounterSample, sample: CounterSample) -> timedelta:
    return timedelta(seconds=round((sample.at - good.at).total_seconds()))


def _judge_all(meter: CounterMeter, sample: CounterSample, cap_bps: int) -> Judgement:
    """Against the last good sample, and where one is under suspicion, against that as well."""
    from_good = judge(meter.good, sample, cap_bps)
    if meter.suspect is None:
        return from_good
    from_suspect = judge(meter.suspect, sample, cap_bps)
    if meter.suspicion is Decision.FELL:
        return _judge_after_fall(meter, sample, from_good, from_suspect, cap_bps)
    if from_suspect.decision.counts:  # the device went on from the jump: the jump itself stays out
        return replace(from_suspect, why="goes on from the quarantined sample, whose jump is not billed")
    return from_good


def _judge_after_fall(
    meter: CounterMeter, sample: CounterSample, from_good: Judgement, from_suspect: Judgement, cap_bps: int
) -> Judgement:
    if from_good.decision.counts:
        return replace(from_good, why=f"the low sample was a glitch; {from_good.why}")
    if not from_suspect.decision.counts:
        return from_good
    step = _Step(meter.good, sample, cap_bps)
    if not step.carries(step.after, step.wall_s):
        return replace(
            from_suspect, decision=Decision.RESET, why="begun anew unseen; only what is certain counts"
        )
    return Judgement(Decision.RESET, "two samples agree that the counters began anew", step.after)


def judge(old: CounterSample, new: CounterSample, cap_bps: int) -> Judgement:
    """What lies between two samples of one row."""
    step = _Step(old, new, cap_bps)
    evidence = _new_epoch(step)
    if evidence is not None:
        return _judge_new_epoch(step, *evidence)
    moved = old.if_index is not None and new.if_index is not None and old.if_index != new.if_index
    if moved and step.fell:
        why = f"ifIndex went from {old.if_index} to {new.if_index} and the counters began anew"
        return _credited(step, Decision.RESET, why, step.wall_s)
    judgement = _judge_same_epoch(step)
    if moved and judgement.decision is Decision.ADVANCE:
        return replace(
            judgement, decision=Decision.MOVED, why=f"ifIndex went from {old.if_index} to {new.if_index}"
        )
    return judgement


def _new_epoch(step: _Step) -> tuple[str, float] | None:
    """The evidence that the counters began anew between the samples, and how many seconds ago."""
    old, new = step.old, step.new
    uptime_s = step.wall_s if new.sys_uptime_ticks is None else new.sys_uptime_ticks / 100
    if old.engine_boots is not None and new.engine_boots is not None and old.engine_boots != new.engine_boots:
        return f"snmpEngineBoots went from {old.engine_boots} to {new.engine_boots}", uptime_s
    if _uptime_fell(step):
        return f"sysUpTime fell from {old.sys_uptime_ticks} to {new.sys_uptime_ticks}", uptime_s
    if _discontinuity_moved(step):
        since_s = max(0.0, uptime_s - (new.discontinuity_ticks or 0) / 100)
        was = old.discontinuity_ticks
        return f"ifCounterDiscontinuityTime went from {was} to {new.discontinuity_ticks}", since_s
    return _born_anew(step)


def _uptime_fell(step: _Step) -> bool:
    """sysUpTime is lower than before, and its own turn after 497 days does not explain it."""
    old, new = step.old.sys_uptime_ticks, step.new.sys_uptime_ticks
    if old is None or new is None or new >= old:
        return False
    across_the_turn_s = (new - old) % TICKS_TURN / 100
    return abs(across_the_turn_s - step.wall_s) > step.wall_s * _UPTIME_TOLERANCE + _UPTIME_SLACK_S


def _discontinuity_moved(step: _Step) -> bool:
    old, new = step.old.discontinuity_ticks, step.new.discontinuity_ticks
    return old is not None and new is not None and old != new


def _born_anew(step: _Step) -> tuple[str, float] | None:
    age_s = step.new.session_age_s
    if age_s is None:
        return None
    span_s = step.wall_s if step.device_s is None else step.device_s
    if age_s + _AGE_SLACK_S >= span_s:
        return None
    return f"the row is {age_s:.0f} s old and the samples are {span_s:.0f} s apart", age_s


def _judge_new_epoch(step: _Step, evidence: str, alive_s: float) -> Judgement:
    """Credit the new value from zero, unless the line cannot have carried it: then the counters survived."""
    credited = _credited(step, Decision.RESET, evidence, max(alive_s, step.wall_s) if step.fell else alive_s)
    if credited.decision is Decision.RESET or step.fell:
        return credited
    if step.carries(step.risen, step.wall_s):
        return Judgement(Decision.SURVIVED, f"{evidence}, but the counters went on", step.risen)
    return credited


def _credited(step: _Step, decision: Decision, why: str, seconds: float) -> Judgement:
    if step.carries(step.after, seconds):
        return Judgement(decision, why, step.after)
    return Judgement(
        Decision.QUARANTINED,
        f"{why}; {max(step.after)} octets are more than the line carries in {seconds:.0f} s",
    )


def _judge_same_epoch(step: _Step) -> Judgement:
    span_s = max(step.wall_s, step.device_s or 0)  # our clock may have been stepped
    if step.turn == 1 << 32:
        return _judge_narrow(step, span_s)
    if step.fell:
        return Judgement(Decision.FELL, "lower than before, and nothing says that the counters began anew")
    if not step.carries(step.risen, span_s):
        return _too_much(step.risen, span_s)
    return Judgement(Decision.ADVANCE, "", step.risen)


def _judge_narrow(step: _Step, span_s: float) -> Judgement:
    if step.cap_bps * span_s >= 8 * step.turn:
        return Judgement(
            Decision.UNSURE,
            f"a 32-bit counter can turn over more than once in {span_s:.0f} s; poll more often",
        )
    added = (step.risen[0] % step.turn, step.risen[1] % step.turn)
    if step.carries(added, span_s):
        if step.fell:
            return Judgement(Decision.WRAP, "a 32-bit counter turned over", added)
        return Judgement(Decision.ADVANCE, "", added)
    if step.fell:
        return Judgement(Decision.FELL, "lower than before, and too far for a turn of the 32-bit counter")
    return _too_much(added, span_s)


def _too_much(octets: tuple[int, int], span_s: float) -> Judgement:
    return Judgement(
        Decision.QUARANTINED, f"{max(octets)} octets are more than the line carries in {span_s:.0f} s"
    )
