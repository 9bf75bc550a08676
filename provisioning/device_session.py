"""A session with one device from its row to its report. One device is one boundary for failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.clock import Clock
from core.log import logger
from core.secrets import Sealer, SealError
from provisioning.drivers.registry import driver_named
from provisioning.issues import INTERNAL
from provisioning.ports import Target, Transport
from provisioning.reconcile import Decide, SessionReport, reconcile
from provisioning.targets import describe_target, with_credentials

_log = logger("provisioning")


@dataclass(frozen=True, slots=True)
class DeviceSessions:
    """Talks to devices; whatever happens out there comes back as a report."""

    transport: Transport
    clock: Clock
    sealer: Sealer

    async def talk(self, row: Any, decide: Decide) -> tuple[Target, SessionReport]:
        """Reconcile the device of this row with what ``decide`` says."""
        target = describe_target(row)
        report = SessionReport(self.clock.now())
        try:
            target = with_credentials(target, row, self.sealer)
            await reconcile(
                self.transport, self.clock, driver=driver_named(target.driver), target=target, decide=decide,
                report=report,
            )  # fmt: skip
        except SealError as trouble:
            report.fail("login_refused", str(trouble))
        except Exception:  # noqa: BLE001 - the boundary: one device
            _log.error("device_session_failed", device=target.name, exc_info=True)
            report.fail("internal", INTERNAL)
        return target, report
