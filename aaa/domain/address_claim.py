"""Who held an address at a time: what each session on record proves, and what it leaves open.

A session proves that it held its address from its Start to its last report. At its edges lies the tolerance
asked for, because clocks differ; behind the last report of a session whose Stop never came lies the time in
which it may have gone on; between the last report with one address and the first with another lies the
change. Nothing here is rounded in anybody's favour: what is not proven is said with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

SILENT_INTERVALS = 3
"""After so many interim intervals without a report it is open whether a session still runs."""


class Certainty(StrEnum):
    """How far a claim goes, weakest first."""

    POSSIBLE = "possible"
    LIKELY = "likely"
    CERTAIN = "certain"


class HolderVerdict(StrEnum):
    """What all claims together say."""

    NOBODY = "nobody"  # no session on record can have had it
    POSSIBLE = "possible"  # one subscriber may have had it
    LIKELY = "likely"  # one subscriber had it, as far as anything says
    HELD = "held"  # one subscriber had it
    DISPUTED = "disputed"  # several have claims


@dataclass(frozen=True, slots=True)
class Tenure:
    """What is on record of one session and one of its addresses.

    ``first_seen_at`` and ``last_seen_at`` are the first and the last report with the address; None: the
    session's own beginning and end. ``replaced_at`` is the first report with the address that came after it.
    ``reported_before`` and ``reported_after`` are the reports next to the instant asked for.
    """

    started_at: datetime
    start_seen: bool
    last_event_at: datetime
    stopped_at: datetime | None
    close_inferred: bool
    interim_s: int
    first_seen_at: datetime | None = None
    last_seen_at: datetime | None = None
    replaced_at: datetime | None = None
    reported_before: datetime | None = None
    reported_after: datetime | None = None

    @property
    def proven_until(self) -> datetime:
        """The last moment that a report of the NAS vouches for."""
        if self.last_seen_at is not None:
            return self.last_seen_at
        if self.stopped_at is not None and not self.close_inferred:
            return self.stopped_at
        return self.last_event_at

    @property
    def silence(self) -> timedelta:
        """How long it may go without a report before it is taken to have ended."""
        return timedelta(seconds=SILENT_INTERVALS * self.interim_s)


@dataclass(frozen=True, slots=True)
class Claim:
    """How far the record says that a session held the address, and why not further."""

    certainty: Certainty
    reasons: tuple[str, ...]


def weigh(tenure: Tenure, at: datetime, tolerance: timedelta) -> Claim | None:
    """The claim of a session to its address at ``at``; None when it cannot have had it."""
    since = tenure.first_seen_at or tenure.started_at
    if at < since:
        return _before(tenure, at, tolerance, since)
    if at > tenure.proven_until:
        return _behind(tenure, at, tolerance)
    return _inside(tenure, at, tolerance, since)


def _inside(tenure: Tenure, at: datetime, tolerance: timedelta, since: datetime) -> Claim:
    reasons = []
    if at - since < tolerance:
        reasons.append(f"its beginning ({_said(since)}) is within the clock tolerance")
    if tenure.proven_until - at < tolerance and (tenure.stopped_at is not None or tenure.last_seen_at):
        reasons.append(f"its end ({_said(tenure.proven_until)}) is within the clock tolerance")
    if not tenure.start_seen and tenure.reported_before is None:
        reasons.append("no Start was received: its beginning is reckoned from the age in its first report")
    before, after = tenure.reported_before, tenure.reported_after
    if before is not None and after is not None and after - before > tenure.silence:
        reasons.append(f"its NAS reported nothing between {_said(before)} and {_said(after)}")
    return Claim(Certainty.LIKELY if reasons else Certainty.CERTAIN, tuple(reasons))


def _before(tenure: Tenure, at: datetime, tolerance: timedelta, since: datetime) -> Claim | None:
    if tenure.first_seen_at is not None and at >= tenure.started_at:
        last = tenure.reported_before or tenure.started_at
        words = f"it ran, but the first report with this address is of {_said(since)}"
        return Claim(Certainty.POSSIBLE, (f"{words}; the one before it, of {_said(last)}, was without",))
    if since - at <= tolerance:
        return Claim(Certainty.POSSIBLE, (f"it began at {_said(since)}, within the clock tolerance",))
    return None


def _behind(tenure: Tenure, at: datetime, tolerance: timedelta) -> Claim | None:
    last = tenure.proven_until
    if tenure.last_seen_at is not None:
        following = tenure.replaced_at or last
        if at <= max(following, last) + tolerance:
            return Claim(Certainty.POSSIBLE, (f"after {_said(last)} it was reported with another address",))
        return None
    if tenure.stopped_at is None:
        return _still_open(tenure, at, last)
    if not tenure.close_inferred:
        return _within(at, last + tolerance, f"it stopped at {_said(last)}, within the clock tolerance")
    if at <= tenure.stopped_at:
        words = f"no Stop came; its last report was at {_said(last)}, its end ({_said(tenure.stopped_at)})"
        return Claim(Certainty.LIKELY, (f"{words} is inferred",))
    limit = max(tenure.stopped_at, last + tenure.silence) + tolerance
    words = f"no Stop came: after its last report ({_said(last)}) it may have gone on"
    return _within(at, limit, words)


def _still_open(tenure: Tenure, at: datetime, last: datetime) -> Claim:
    words = f"it is open; its last report is of {_said(last)}"
    if at <= last + tenure.silence:
        return Claim(Certainty.LIKELY, (words,))
    return Claim(Certainty.POSSIBLE, (f"{words}, and since then it should have reported",))


def _within(at: datetime, limit: datetime, words: str) -> Claim | None:
    return Claim(Certainty.POSSIBLE, (words,)) if at <= limit else None


def judge(claims: Sequence[tuple[str, Certainty]]) -> HolderVerdict:
    """What the claims say together; each is a subscriber (any name that tells him apart) and how far it goes.

    A certain claim outweighs possible ones of others, and likely ones too weigh more than possible ones.
    """
    for certainty, verdict in (
        (Certainty.CERTAIN, HolderVerdict.HELD),
        (Certainty.LIKELY, HolderVerdict.LIKELY),
        (Certainty.POSSIBLE, HolderVerdict.POSSIBLE),
    ):
        if not any(one is certainty for _, one in claims):
            continue
        rivals = {who for who, one in claims if one is not Certainty.POSSIBLE or certainty is one}
        return verdict if len(rivals) == 1 else HolderVerdict.DISPUTED
    return HolderVerdict.NOBODY


def _said(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}Z"
