"""Proxies and scripts that may ask us to end or change live sessions (RFC 5176): who, and what for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain import checks
from aaa.store import directory_rows, dynauth_rows
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work

PURPOSE = "dynauth.secret"
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": lambda value: checks.check_text(value, "name", 80),
    "network": checks.check_network,
    "secret": lambda value: checks.check_secret(len(value.reveal())) or value,
}


@dataclass(frozen=True, slots=True)
class DynauthClient:
    """One client without its secret. ``nas_ids`` None: sessions on every NAS."""

    id: str
    name: str
    network: str
    may_disconnect: bool
    may_change: bool
    nas_ids: tuple[str, ...] | None
    enabled: bool


async def dynauth_clients(connection: AsyncConnection) -> list[DynauthClient]:
    """Every client, by name."""
    return [client_of(row) for row in await dynauth_rows.clients(connection)]


def client_of(row: Row[Any]) -> DynauthClient:
    """A row in our words."""
    nas_ids = None if row.nas_ids is None else tuple(row.nas_ids)
    return DynauthClient(
        row.id, row.name, row.network, row.may_disconnect, row.may_change, nas_ids, row.enabled
    )


async def permit_client(
    work: Work,
    sealer: Sealer,
    *,
    name: str,
    network: str,
    secret: Secret,
    may_disconnect: bool = True,
    may_change: bool = False,
    nas_ids: Sequence[str] | None = None,
) -> str | Refusal:
    """Let a client send requests; returns its id. It is known to the listener within seconds."""
    given = {
        "name": name, "network": network, "secret": secret, "may_disconnect": may_disconnect,
        "may_change": may_change, "nas_ids": nas_ids, "enabled": True,
    }  # fmt: skip
    checked = await _checked(work, given, "")
    if isinstance(checked, Refusal):
        return checked
    client_id = work.ids.new("dac")
    row = _sealed(sealer, checked) | {"id": client_id, "created_at": work.now}
    await dynauth_rows.insert_client(work.connection, row)
    await work.audit("dynauth_client.permit", client_id, **_told(checked))
    return client_id


async def change_client(work: Work, sealer: Sealer, client_id: str, **changes: Any) -> list[str] | Refusal:
    """Change fields of a client (those of ``permit_client``, and ``enabled``); returns their names."""
    row = await dynauth_rows.client(work.connection, client_id)
    if row is None:
        return _unknown(client_id)
    checked = await _checked(work, changes, client_id)
    if isinstance(checked, Refusal):
        return checked
    new = {name: value for name, value in checked.items() if name == "secret" or value != getattr(row, name)}
    after = {name: new.get(name, getattr(row, name)) for name in ("may_disconnect", "may_change")}
    if not any(after.values()):
        return _may_nothing()
    if new:
        await dynauth_rows.update_client(work.connection, client_id, _sealed(sealer, new))
        await work.audit("dynauth_client.change", client_id, **_told(new))
    return sorted(new)


async def forget_client(work: Work, client_id: str) -> Refusal | None:
    """Let a client send nothing any more."""
    row = await dynauth_rows.client(work.connection, client_id)
    if row is None:
        return _unknown(client_id)
    await dynauth_rows.delete_client(work.connection, client_id)
    await work.audit("dynauth_client.forget", client_id, name=row.name, network=row.network)
    return None


async def _checked(work: Work, given: Mapping[str, Any], client_id: str) -> dict[str, Any] | Refusal:
    values: dict[str, Any] = {}
    for name, value in given.items():
        found = _CHECKS[name](value) if name in _CHECKS else value
        if isinstance(found, Refusal):
            return found
        values[name] = found
    if values.get("nas_ids") is not None:
        values["nas_ids"] = sorted(set(values["nas_ids"]))
        unknown = await _unknown_nas(work, values["nas_ids"])
        if unknown is not None:
            return unknown
    if not values.get("may_disconnect", True) and not values.get("may_change", True):
        return _may_nothing()
    taken = await dynauth_rows.client_with(
        work.connection, name=values.get("name", ""), network=values.get("network", ""), but=client_id
    )
    if taken is None:
        return values
    field = "name" if taken.name == values.get("name") else "network"
    return Refusal(f"{field}.taken", f"the client {taken.name} ({taken.network}) has it already", field)


async def _unknown_nas(work: Work, nas_ids: Sequence[str]) -> Refusal | None:
    if not nas_ids:
        return Refusal("nas_ids.empty", "name at least one NAS, or leave it out for every NAS", "nas_ids")
    known = {row.id for row in await directory_rows.all_nas_rows(work.connection)}
    unknown = [one for one in nas_ids if one not in known]
    if unknown:
        return Refusal("nas_ids.unknown", f"there is no NAS {unknown[0]}", "nas_ids")
    return None


def _sealed(sealer: Sealer, values: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: value for name, value in values.items() if name != "secret"}
    if "secret" in values:
        row["secret_sealed"] = sealer.seal(values["secret"], PURPOSE)
    return row


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    """For the audit trail: everything but the secret, of which only that it is another one."""
    return {name: "changed" if name == "secret" else value for name, value in values.items()}


def _may_nothing() -> Refusal:
    return Refusal(
        "may.nothing", "a client that may neither disconnect nor change has nothing to ask; forget it",
        "may_disconnect",
    )  # fmt: skip


def _unknown(client_id: str) -> Refusal:
    return Refusal(
        "dynauth_client.unknown", f"there is no client {client_id}; see: hilltop dynauth list", "client"
    )
