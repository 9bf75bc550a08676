"""Facts of the provisioning room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from core.facts import Fact


@dataclass(frozen=True, slots=True)
class EnforcementVerified(Fact):
    """A device or live session was read back and agrees with the service's entitlement of ``generation``."""

    kind: ClassVar[str] = "provisioning.enforcement_verified"

    service_id: str
    task_id: str
    point_id: str
    generation: int
    effect: str

    def subject(self) -> str:
        return self.service_id
