"""Judging by what was read back whether a service's entitlement is true on a device. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from provisioning.domain.plan import Observation, Wanted, mark_of

STILL_BLOCKED = "still blocked by an entry without our mark"
PLACE_TAKEN = "a disabled entry without our mark takes the place of"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the read-back says of one service."""

    missing: tuple[str, ...]  # addresses that should be cut off and are not
    stale: tuple[str, ...]  # addresses where an entry of ours stands and should not
    foreign: tuple[str, ...]  # addresses of the service held by entries without our mark
    spared: tuple[str, ...]  # addresses left free because an entitled service uses them too
    entries: tuple[str, ...]  # addresses of the service's own active entries
    cut_off: bool
    place_taken: tuple[str, ...] = ()  # those of ``missing`` where a disabled entry of others stands

    @property
    def agrees(self) -> bool:
        """True when the device proves the entitlement; blocked by an entry of others is not restored."""
        return not self.missing and not self.stale and (self.cut_off or not self.foreign)

    @property
    def only_foreign(self) -> bool:
        """True when all that stands in the way is an entry that we must not touch."""
        if self.stale:
            return False
        return self.missing == self.place_taken if self.missing else not self.cut_off and bool(self.foreign)

    def in_words(self) -> str:
        """What is wrong, or what proves that nothing is."""
        said = []
        if self.place_taken:
            said.append(f"{PLACE_TAKEN} {', '.join(self.place_taken)}")
        if self.missing:
            said.append(f"not cut off: {', '.join(self.missing)}")
        if self.stale:
            said.append(f"our entry is still there: {', '.join(self.stale)}")
        if self.foreign:
            verb = "held by an entry without our mark" if self.cut_off else STILL_BLOCKED
            said.append(f"{verb}: {', '.join(self.foreign)}")
        if self.spared:
            said.append(f"left free, in use by an entitled service: {', '.join(self.spared)}")
        return "; ".join(said)


def judge(
    service_id: str, *, cut_off: bool, addresses: frozenset[str], wanted: Wanted, observed: Observation
) -> Verdict:
    """The verdict on a service that has ``addresses`` and is, or is not, to be cut off."""
    required = {a for a in addresses if cut_off and a not in wanted.free}
    own = [entry for entry in observed.owned if entry.service_id == service_id]
    at_its_place = [e for e in observed.owned if not cut_off and e.active and e.address in addresses]
    missing = tuple(sorted(a for a in required if not observed.covers(a)))
    return Verdict(
        missing=missing,
        place_taken=tuple(a for a in missing if a in observed.foreign_idle),
        stale=tuple(
            sorted({e.address for e in own if not wanted.keeps(e)} | {e.address for e in at_its_place})
        ),
        foreign=tuple(sorted(_held_by_others(addresses, observed.foreign))),
        spared=tuple(sorted(addresses - required)) if cut_off else (),
        entries=tuple(sorted(e.address for e in own if e.active)),
        cut_off=cut_off,
    )


def _held_by_others(addresses: frozenset[str], foreign: frozenset[str]) -> frozenset[str]:
    """Those of the addresses that an entry of others names, or a prefix of theirs contains."""
    prefixes = [ip_network(entry) for entry in foreign if "/" in entry]
    return addresses & foreign | {
        address
        for address in addresses
        for prefix in prefixes
        if (host := ip_network(address)).version == prefix.version and host.subnet_of(prefix)  # type: ignore[arg-type]
    }


def proof_of(verdict: Verdict, service_id: str, addresses: frozenset[str]) -> dict[str, Any]:
    """The proof as kept with the task: JSON values."""
    note = verdict.in_words()
    if not addresses:
        note = "; ".join(filter(None, ["no address", note]))
    elif not note:
        note = "cut off" if verdict.cut_off else "no entry of ours"
    return {
        "addresses": sorted(addresses),
        "spared": list(verdict.spared),
        "entries": [{"mark": mark_of(service_id), "address": address} for address in verdict.entries],
        "note": note,
    }
