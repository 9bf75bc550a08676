"""What a worker keeps for operators who sign in to network gear: who is guessing, and the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aaa.authorize import Reject
from aaa.domain.authentication import Proof
from aaa.domain.gear import GearLogin
from aaa.gear_logins import GearSignIn
from core.clock import Clock
from radius.gear.login import Prompt, decide_prompt
from radius.gear.record import GearRecord, Then
from radius.guard.lockout import Lockout
from radius.nas.table import NasState


@dataclass(frozen=True, slots=True)
class Asker:
    """A request for a device's own prompt: under which name, from where, and by which Service-Type."""

    nas: NasState
    address: str
    username: bytes
    station: bytes | None
    service_type: int
    signed: bool


class GearDoor:
    """Decides and records; the pipeline answers."""

    def __init__(self, lockout: Lockout, record: GearRecord, clock: Clock) -> None:
        self.lockout = lockout
        self.record = record
        self._clock = clock

    def decide(
        self, gear: Mapping[bytes, GearLogin], asker: Asker, proof: Proof, now_s: float
    ) -> Prompt | Reject:
        """The verdict; whoever guesses has to wait like anybody else."""
        nas, name, station = asker.nas, asker.username, asker.station
        if name in self.lockout.watched:
            held = self.lockout.refusal(gear, nas.nas.id, name, station, now_s)
            if held is not None:
                return held
        decided = decide_prompt(nas, gear, name, proof, signed=asker.signed)
        if isinstance(decided, Prompt):
            self.lockout.right_password(nas.nas.id, name, station)
        elif decided.rule == "gear_wrong_password":
            self.lockout.wrong_password(gear, nas.nas.id, name, station, now_s, signed=asker.signed)
        return decided

    def note(self, asker: Asker, decided: Prompt | Reject, then: Then) -> bool:
        """Put it on record; ``then`` hears when it is. False: there are too many to keep."""
        return self.record.note(
            GearSignIn(
                key=self.record.new_key(),
                at=self._clock.now(),
                name=_text(asker.username),
                operator_id=decided.login.service.id if isinstance(decided, Prompt) else decided.service_id,
                nas_id=asker.nas.nas.id,
                nas_address=asker.address,
                from_address=_text(asker.station or b""),
                service_type=asker.service_type,
                granted=isinstance(decided, Prompt),
                level=decided.login.level if isinstance(decided, Prompt) else None,
                reason="let in" if isinstance(decided, Prompt) else decided.explanation,
            ),
            then,
        )


def _text(octets: bytes) -> str:
    return octets[:80].decode("utf-8", "replace")
