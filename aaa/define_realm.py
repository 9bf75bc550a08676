"""Realms and their home servers: which user names another RADIUS server answers for, and which one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import Row
from sqlalchemy.sql.schema import Table

from aaa.domain import checks
from aaa.domain.certificate import is_address
from aaa.domain.realm import PASSED, check_realm
from aaa.store import realm_rows as rows
from aaa.store import repositories
from aaa.store.tables import home_server, realm
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work

SECRET_PURPOSE = "home_server.secret"  # noqa: S105 - a purpose, no secret
SERVER_FIELDS = (
    "name", "address", "auth_port", "accounting_port", "secret", "signs_replies", "status_check",
    "timeout_ms", "tries", "dead_s", "enabled",
)  # fmt: skip
REALM_FIELDS = ("name", "servers", "strip", "accounting", "passes", "profile_id", "enabled")


def _between(least: int, most: int, field: str) -> Callable[[int], int | Refusal]:
    def check(value: int) -> int | Refusal:
        if least <= value <= most:
            return value
        return Refusal(f"{field}.range", f"the {field} is {value}; it must be {least} to {most}", field)

    return check


def _check_address(text: str) -> str | Refusal:
    if is_address(text.strip()):
        return text.strip()
    return Refusal("address.malformed", f"{text!r} is no IP address; names are not looked up", "address")


def _port(field: str) -> Callable[[int | None], int | Refusal | None]:
    return lambda value: None if value is None else checks.check_port(value, field)


_SERVER_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": lambda value: checks.check_text(value, "name", 80),
    "address": _check_address,
    "auth_port": _port("auth_port"),
    "accounting_port": _port("accounting_port"),
    "secret": lambda value: checks.check_secret(len(value.reveal())) or value,
    "timeout_ms": _between(100, 30_000, "timeout_ms"),
    "tries": _between(1, 10, "tries"),
    "dead_s": _between(1, 3_600, "dead_s"),
}


async def register_home_server(
    work: Work,
    sealer: Sealer,
    *,
    name: str,
    address: str,
    secret: Secret,
    auth_port: int | None = 1812,
    accounting_port: int | None = 1813,
    signs_replies: bool = True,
    status_check: bool = True,
    timeout_ms: int = 2_000,
    tries: int = 2,
    dead_s: int = 30,
) -> str | Refusal:
    """Make another RADIUS server known; returns its id. Realms say when it is asked.

    ``signs_replies`` requires a Message-Authenticator in its replies (CVE-2024-3596); a silent one is left
    alone until it answers Status-Server, or for ``dead_s`` when it does not know that (``status_check``).
    """
    await repositories.take_directory_lane(work.connection)
    given = {
        "name": name, "address": address, "secret": secret, "auth_port": auth_port,
        "accounting_port": accounting_port, "signs_replies": signs_replies, "status_check": status_check,
        "timeout_ms": timeout_ms, "tries": tries, "dead_s": dead_s, "enabled": True,
    }  # fmt: skip
    server_id = work.ids.new("hom")
    values = await _server_values(work, sealer, server_id, given)
    if isinstance(values, Refusal):
        return values
    await rows.put(work.connection, home_server, {"id": server_id, "created_at": work.now, **values})
    await _told(work, "home_server.register", server_id, name=values["name"], address=values["address"])
    return server_id


async def change_home_server(work: Work, sealer: Sealer, *, server: str, **fields: Any) -> Refusal | None:
    """Change fields of a home server (``SERVER_FIELDS``), found by id or name."""
    await repositories.take_directory_lane(work.connection)
    row = await _found(work, home_server, "home server", server)
    if isinstance(row, Refusal):
        return row
    values = await _server_values(work, sealer, row.id, fields)
    if isinstance(values, Refusal):
        return values
    await rows.change(work.connection, home_server, row.id, values)
    await _told(work, "home_server.change", row.id, fields=sorted(fields))
    return None


async def remove_home_server(work: Work, *, server: str) -> Refusal | None:
    """Forget a home server that no realm asks."""
    await repositories.take_directory_lane(work.connection)
    row = await _found(work, home_server, "home server", server)
    if isinstance(row, Refusal):
        return row
    asking = await rows.realms_of_server(work.connection, row.id)
    if asking:
        return Refusal(
            "home_server.in_use", f"{row.name} is asked by {', '.join(asking)}; give them another first",
            "server",
        )  # fmt: skip
    await rows.remove_server(work.connection, row.id)
    await _told(work, "home_server.remove", row.id, name=row.name)
    return None


async def define_realm(
    work: Work,
    *,
    name: str,
    servers: Sequence[str] | None,
    strip: bool = False,
    accounting: bool = True,
    passes: Sequence[str] = PASSED,
    profile_id: str | None = None,
) -> str | Refusal:
    """Forward the sign-ins of ``user@name`` and ``name\\user`` to home servers (ids or names, in order).

    Without servers (None) the realm is our own: its users are looked up by their names without it.
    ``name`` may be ``*``: every realm without an entry, but for user names that are a service's own.
    ``passes`` names the attributes that an accept may bring, ``*`` all; those of ``profile_id`` are added.
    """
    await repositories.take_directory_lane(work.connection)
    given = {
        "name": name, "servers": servers, "strip": strip, "accounting": accounting, "passes": passes,
        "profile_id": profile_id, "enabled": True,
    }  # fmt: skip
    realm_id = work.ids.new("rlm")
    values = await _realm_values(work, realm_id, given)
    if isinstance(values, Refusal):
        return values
    ordered = values.pop("servers")
    await rows.put(work.connection, realm, {"id": realm_id, "created_at": work.now, **values})
    await rows.set_servers(work.connection, realm_id, ordered)
    await _told(work, "realm.define", realm_id, name=values["name"], servers=list(ordered))
    return realm_id


async def change_realm(work: Work, *, realm_name: str, **fields: Any) -> Refusal | None:
    """Change fields of a realm (``REALM_FIELDS``), found by id or name."""
    await repositories.take_directory_lane(work.connection)
    row = await _found(work, realm, "realm", realm_name)
    if isinstance(row, Refusal):
        return row
    values = await _realm_values(work, row.id, fields)
    if isinstance(values, Refusal):
        return values
    ordered = values.pop("servers", None)
    if values:
        await rows.change(work.connection, realm, row.id, values)
    if ordered is not None:
        await rows.set_servers(work.connection, row.id, ordered)
    await _told(work, "realm.change", row.id, fields=sorted(fields))
    return None


async def remove_realm(work: Work, *, realm_name: str) -> Refusal | None:
    """Forget a realm; its users are looked for among our own services again. Waiting reports are dropped."""
    await repositories.take_directory_lane(work.connection)
    row = await _found(work, realm, "realm", realm_name)
    if isinstance(row, Refusal):
        return row
    await rows.remove_realm(work.connection, row.id)
    await _told(work, "realm.remove", row.id, name=row.name)
    return None


async def _told(work: Work, action: str, row_id: str, **detail: Any) -> None:
    await repositories.append_directory_change(work.connection, "realm", row_id, work.now)
    await work.audit(action, row_id, **detail)


async def _found(work: Work, table: Table, word: str, text: str) -> Row[Any] | Refusal:
    row = await rows.find(work.connection, table, text)
    if row is None:
        field = "server" if table is home_server else "realm"
        return Refusal(f"{table.name.removeprefix('aaa_')}.unknown", f"there is no {word} {text!r}", field)
    return row


async def _server_values(
    work: Work, sealer: Sealer, server_id: str, given: Mapping[str, Any]
) -> dict[str, Any] | Refusal:
    values = _checked(given, SERVER_FIELDS, _SERVER_CHECKS)
    if isinstance(values, Refusal):
        return values
    if "secret" in values:
        values["secret_sealed"] = sealer.seal(values.pop("secret"), SECRET_PURPOSE)
    return await _taken(work, home_server, server_id, values.get("name")) or values


async def _realm_values(work: Work, realm_id: str, given: Mapping[str, Any]) -> dict[str, Any] | Refusal:
    values = _checked(given, REALM_FIELDS, {"name": check_realm, "passes": _check_passes})
    if isinstance(values, Refusal):
        return values
    if "servers" in values and values["servers"] is None:
        values |= {"servers": [], "accounting": False}
    elif "servers" in values:
        ordered = await _ordered(work, values["servers"])
        if isinstance(ordered, Refusal):
            return ordered
        values["servers"] = ordered
    profile_id = values.get("profile_id")
    if profile_id is not None and await repositories.profile_row(work.connection, profile_id) is None:
        return Refusal("profile.unknown", f"there is no profile {profile_id}; define it first", "profile_id")
    return await _taken(work, realm, realm_id, values.get("name")) or values


def _check_passes(given: Sequence[str]) -> list[str] | Refusal:
    names = [one.strip() for one in given if one.strip()]
    if len(names) <= 200 and all(len(one) <= 100 for one in names):
        return names
    return Refusal("passes.long", "name at most 200 attributes, or * for all", "passes")


def _checked(
    given: Mapping[str, Any], fields: Sequence[str], known: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any] | Refusal:
    """The given fields in order, each as it is stored."""
    unknown = sorted(set(given) - set(fields))
    if unknown:
        return Refusal("field.unknown", f"there is no {unknown[0]}, but {', '.join(fields)}", unknown[0])
    values: dict[str, Any] = {}
    for field in (one for one in fields if one in given):
        value = known[field](given[field]) if field in known else given[field]
        if isinstance(value, Refusal):
            return value
        values[field] = value
    return values


async def _ordered(work: Work, servers: Sequence[str]) -> list[str] | Refusal:
    found: list[str] = []
    for one in servers:
        row = await _found(work, home_server, "home server", one)
        if isinstance(row, Refusal):
            return Refusal(row.code, row.message, "servers")
        found.append(str(row.id))
    if not found or len(set(found)) != len(found):
        return Refusal("servers.none", "name at least one home server, each once", "servers")
    return found


async def _taken(work: Work, table: Table, row_id: str, name: str | None) -> Refusal | None:
    other = None if name is None else await rows.find(work.connection, table, name)
    if other is None or other.id == row_id:
        return None
    return Refusal("name.taken", f"there is a {name} already; change that one", "name")
