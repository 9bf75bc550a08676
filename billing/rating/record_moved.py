"""Write down what ratings moved in buckets."""

from __future__ import annotations

from collections.abc import Sequence

from billing.domain.rating.parts import Moved
from billing.store import bucket_rows, quota_rows
from core.work import Work


async def record_moved(work: Work, moved: Sequence[Moved]) -> None:
    """Movements of ratings that are being invoiced, in the same transaction; again they change nothing.

    The watch looks at their buckets soon: what was rolled over raises a cap.
    """
    await bucket_rows.insert_moved(work.connection, work.now, moved)
    await quota_rows.look_again(work.connection, [one.bucket for one in moved], work.now)
