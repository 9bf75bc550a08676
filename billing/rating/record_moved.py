"""Write down what ratings moved in buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from billing.domain.rating.parts import Step
from billing.store import bucket_rows, quota_rows
from core.work import Work


async def record_moved(work: Work, moved: Sequence[tuple[date, Mapping[Step, int]]]) -> None:
    """Steps of ratings that are being invoiced, in the same transaction, each with the cycle it is for.

    The watch looks at their buckets soon: what was rolled over raises a cap.
    """
    if not any(steps for _, steps in moved):
        return
    await bucket_rows.insert_moved(work.connection, work.now, moved)
    buckets = dict.fromkeys(step.bucket for _, steps in moved for step in steps)
    await quota_rows.look_again(work.connection, list(buckets), work.now)
