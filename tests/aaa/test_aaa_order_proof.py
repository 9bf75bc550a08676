"""An ACK proves nothing: what accounting says afterwards does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from aaa_world import minute

from aaa.domain.order_proof import SessionSince, proof_of

AT = minute(10)
BEFORE, AFTER = minute(5), minute(12)
OPEN = SessionSince(BEFORE, BEFORE, None, False)
REPORTED = SessionSince(AFTER, AFTER, None, False)
STOPPED = SessionSince(AT + timedelta(seconds=3), AT + timedelta(seconds=4), AT + timedelta(seconds=3), False)
INFERRED = SessionSince(BEFORE, BEFORE, BEFORE, True)


@pytest.mark.parametrize(
    ("request_", "answer", "since", "state", "words"),
    [
        ("disconnect", "ack", OPEN, "waiting", "no Stop has arrived"),
        ("disconnect", "ack", STOPPED, "proven", "Stop arrived 4 s later"),
        ("disconnect", "ack", REPORTED, "contradicted", "still reports"),
        ("disconnect", "nak", INFERRED, "proven", "inferred"),
        ("disconnect", "nak", OPEN, "none", "as before"),
        ("disconnect", "silent", STOPPED, "proven", "Stop arrived"),
        ("coa", "ack", OPEN, "waiting", "has not reported since"),
        ("coa", "ack", REPORTED, "proven", "went on"),
        ("coa", "ack", STOPPED, "contradicted", "ended afterwards"),
        ("coa", "silent", REPORTED, "none", "as before"),
        ("coa", "nak", INFERRED, "none", "inferred"),
        ("coa", "not_sent", OPEN, "none", "nothing was sent"),
    ],
)
def test_what_followed_an_order(
    request_: str, answer: str, since: SessionSince, state: str, words: str
) -> None:
    proof = proof_of(request_, answer, AT, since)
    assert proof.state == state
    assert words in proof.words
