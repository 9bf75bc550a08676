"""Whether an order to a NAS came true: what its accounting said afterwards. An ACK alone proves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

_SLACK = timedelta(seconds=2)
"""Event times have whole seconds: a Stop of the same second may seem to come before the order."""


@dataclass(frozen=True, slots=True)
class SessionSince:
    """The session as it stands: when it was last heard of (our clock), and when and how it ended."""

    last_event_at: datetime
    last_received_at: datetime
    stopped_at: datetime | None
    close_inferred: bool


@dataclass(frozen=True, slots=True)
class OrderProof:
    """``state``: proven, waiting, contradicted, none."""

    state: str
    words: str


def proof_of(request: str, answer: str, at: datetime, since: SessionSince) -> OrderProof:
    """What followed an order (coa, disconnect) that got an answer (ack, nak, silent, not_sent)."""
    if answer == "not_sent":
        return OrderProof("none", "nothing was sent")
    ended = since.stopped_at is not None and since.last_received_at >= at and not since.close_inferred
    if request == "disconnect":
        return _after_disconnect(answer, at, since, ended=ended)
    return _after_change(answer, at, since, ended=ended)


def _after_disconnect(answer: str, at: datetime, since: SessionSince, *, ended: bool) -> OrderProof:
    if ended:
        took_s = max((since.last_received_at - at).total_seconds(), 0)
        return OrderProof("proven", f"its Stop arrived {took_s:.0f} s later")
    if since.stopped_at is not None:
        return OrderProof("proven", "the session is closed; no Stop was told, its end is inferred")
    if since.last_event_at > at + _SLACK:
        return OrderProof("contradicted", "the session still reports: it is not gone")
    if answer == "ack":
        return OrderProof("waiting", "no Stop has arrived yet")
    return OrderProof("none", "the session is open as before")


def _after_change(answer: str, at: datetime, since: SessionSince, *, ended: bool) -> OrderProof:
    if answer == "ack" and since.last_event_at > at + _SLACK and not ended:
        return OrderProof("proven", "the session went on: it has reported since")
    if ended:
        return OrderProof("contradicted", "the session ended afterwards")
    if since.stopped_at is not None:
        return OrderProof("none", "the session is closed; its end is inferred")
    if answer == "ack":
        return OrderProof("waiting", "the session has not reported since")
    return OrderProof("none", "the session runs as before")
