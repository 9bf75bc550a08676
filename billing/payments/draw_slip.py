"""A deposit slip: the cheques or the cash that are carried to the bank together, each payment on one slip."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from billing.store import money_out_rows, number_rows
from core.database import take_lane
from core.periods import local_date
from core.refusal import answering, refuse
from core.work import Work

METHODS = ("cheque", "cash")
_SERIES = "deposit_slip"
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Slip:
    """A slip as drawn."""

    slip_id: str
    number: str
    payments: int
    total_minor: int


@answering
async def draw_slip(
    work: Work, *, method: str, currency: str = "USD", time_zone: str = "UTC",
    payment_ids: Collection[str] | None = None,
) -> Slip:  # fmt: skip
    """List payments by ``method`` that are on no slip yet (all of them, or those named) on a new one.

    ``time_zone``: of the house, for the day on the slip.
    """
    if method not in METHODS:
        refuse("bad_method", f"{method!r} is not one of {', '.join(METHODS)}", "method")
    await take_lane(work.connection, "number_series")  # two people at once draw two slips, not one twice
    waiting = await money_out_rows.to_be_banked(work.connection, method, currency)
    if payment_ids is not None:
        missing = sorted(set(payment_ids) - {one.id for one in waiting})
        if missing:
            refuse("unknown_payment", f"{missing[0]} is no {method} that waits for a slip", "payment_ids")
        waiting = [one for one in waiting if one.id in payment_ids]
    waiting = waiting[:_MOST]
    if not waiting:
        refuse("nothing_waits", f"no {method} in {currency} waits to be banked", "method")
    [number] = await number_rows.take_numbers(work.connection, _SERIES, "DS-", 1)
    slip_id = work.ids.new("slp")
    values = {
        "id": slip_id, "number": number, "method": method, "currency": currency,
        "drawn_on": local_date(work.now, time_zone), "recorded_at": work.now, "recorded_by": work.actor,
    }  # fmt: skip
    await money_out_rows.insert_slip(work.connection, values, [one.id for one in waiting])
    total = sum(one.amount_minor for one in waiting)
    await work.audit("billing.deposit_slip_drawn", slip_id, number=number, payments=len(waiting), total=total)
    return Slip(slip_id, number, len(waiting), total)
