"""Create services and give them ways to sign in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aaa import service_terms as terms
from aaa.domain import checks
from aaa.entitle import entitle_first
from aaa.service_terms import NewCredential
from aaa.store import repositories
from core.refusal import Refusal
from core.secrets import Sealer
from core.work import Work


@dataclass(frozen=True, slots=True)
class _Checked:
    """What was asked for, as it will be stored."""

    label: str
    credentials: list[NewCredential]
    framed_ip: str | None

    @property
    def usernames(self) -> list[str]:
        return [one.username for one in self.credentials]


async def create_service(
    work: Work,
    sealer: Sealer,
    *,
    account_id: str,
    label: str,
    profile_id: str,
    credentials: Sequence[NewCredential],
    framed_ip: str | None = None,
) -> str | Refusal:
    """One access line, active at once, entitled to everything; returns its id.

    A user name, MAC or static address of a service that has ended is taken over; one in use is refused.
    """
    await repositories.take_directory_lane(work.connection)
    checked = await _check(work, label, profile_id, credentials, framed_ip)
    if isinstance(checked, Refusal):
        return checked
    service_id = work.ids.new("svc")
    await terms.release(work, checked.usernames, checked.framed_ip)
    await repositories.insert_service(
        work.connection,
        {
            "id": service_id, "account_id": account_id, "label": checked.label, "profile_id": profile_id,
            "lifecycle": "active", "framed_ip": checked.framed_ip,
            "created_at": work.now,
        },
    )  # fmt: skip
    rows = [terms.credential_values(work, sealer, service_id, one) for one in checked.credentials]
    await repositories.insert_credentials(work.connection, rows)
    await entitle_first(work, service_id, "active")
    await terms.service_changed(
        work, service_id, "service.create", label=checked.label, profile=profile_id,
        framed_ip=checked.framed_ip, usernames=checked.usernames,
    )  # fmt: skip
    return service_id


async def _check(
    work: Work, label: str, profile_id: str, credentials: Sequence[NewCredential], framed_ip: str | None
) -> _Checked | Refusal:
    checked_label = checks.check_text(label, "label", 120)
    if isinstance(checked_label, Refusal):
        return checked_label
    if await repositories.profile_row(work.connection, profile_id) is None:
        return terms.unknown_profile(profile_id)
    if not credentials:
        return Refusal(
            "credentials.none", "a service needs a PPPoE user or a MAC to sign in with", "credentials"
        )
    usable = await terms.check_credentials(work, credentials)
    if isinstance(usable, Refusal):
        return usable
    address = None if framed_ip is None else await terms.check_static_address(work, framed_ip)
    return address if isinstance(address, Refusal) else _Checked(checked_label, usable, address)


async def add_credential(
    work: Work, sealer: Sealer, *, service_id: str, credential: NewCredential
) -> Refusal | None:
    """One more way to sign in to a service."""
    await repositories.take_directory_lane(work.connection)
    row = await terms.living_service(work, service_id)
    if isinstance(row, Refusal):
        return row
    checked = await terms.check_credentials(work, [credential])
    if isinstance(checked, Refusal):
        return checked
    await terms.release(work, [checked[0].username], None)
    await repositories.insert_credentials(
        work.connection, [terms.credential_values(work, sealer, service_id, checked[0])]
    )
    await terms.service_changed(work, service_id, "credential.add", username=checked[0].username)
    return None
