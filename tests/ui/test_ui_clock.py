"""The button on the health page with which somebody vouches for a new machine's clock."""

from __future__ import annotations

from datetime import UTC, datetime

from ui_client import Panels, open_panel
from ui_world import make_operators

from billing.clock_doubt import clock_standing
from billing.config import BillingSettings
from billing.invoicing.bill_run import bill_run
from core.clock import FakeClock
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Workplace


async def test_an_owner_vouches_and_the_finding_closes(
    any_workplace: Workplace, sealer: Sealer, wrist_watch: FakeClock
) -> None:
    new = FakeClock(datetime(2026, 3, 10, 12, 0, tzinfo=UTC), synchronised=False)
    workplace = Workplace(any_workplace.database, new, any_workplace.ids)
    await make_operators(workplace)

    async def refused() -> bool:
        return isinstance(await bill_run(workplace, None), Refusal)  # type: ignore[arg-type]

    assert await refused()
    async with open_panel(workplace, sealer, wrist_watch) as base:
        panels = Panels(workplace, base)
        viewer = await panels.as_("viewer")
        page = await viewer.get("/issues")
        assert "No time server has set it yet" in page.text and "/clock/trust" not in page.text
        owner = await panels.as_("owner")
        page = await owner.get("/issues")
        assert 'data-confirm="Is Mar 10, 2026 06:00:00 MDT the time now?"' in page.text
        assert page.text.count("UDP port 123") == 1  # the remedy is not part of the finding
        form = page.form("/clock/trust")
        new.step_to(datetime(1999, 1, 1, tzinfo=UTC))
        assert (await owner.post("/clock/trust", form)).status == 422
        new.step_to(datetime(2026, 3, 10, 12, 5, tzinfo=UTC))
        assert (await viewer.post("/clock/trust", form)).status == 403
        assert (await owner.post("/clock/trust", form)).status == 303
        page = await owner.get("/issues")
        assert "Billing waits" not in page.text and "/clock/trust" not in page.text
    assert not await refused()
    await _known(workplace, new)


async def test_the_button_is_there_whenever_the_clock_is_doubted(
    any_workplace: Workplace, sealer: Sealer, wrist_watch: FakeClock
) -> None:
    kept = FakeClock(datetime(2026, 3, 10, 12, 0, tzinfo=UTC))
    workplace = Workplace(any_workplace.database, kept, any_workplace.ids)
    await make_operators(workplace)
    assert not isinstance(await bill_run(workplace, None), Refusal)  # type: ignore[arg-type]
    kept.step_to(datetime(2027, 3, 10, 12, 0, tzinfo=UTC))
    async with open_panel(workplace, sealer, wrist_watch) as base:
        owner = await Panels(workplace, base).as_("owner")
        page = await owner.get("/issues")
        assert "more than 100 days after" in page.text and "No time server has set it yet" not in page.text
        assert (await owner.post("/clock/trust", page.form("/clock/trust"))).status == 303
        assert "/clock/trust" not in (await owner.get("/issues")).text
    await _known(workplace, kept)


async def _known(workplace: Workplace, clock: FakeClock) -> None:
    async with workplace.reading() as connection:
        standing = await clock_standing(connection, clock, BillingSettings())
    assert standing.trust is not None and (standing.trust.by, standing.trust.how) == (
        "operator:owner",
        "vouched",
    )
