"""The directory's realms: which sign-ins go to another RADIUS server, and what its accept may bring."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.profile import SessionTerms
from aaa.domain.realm import ANY, split_realm, without_own_realm
from aaa.store import realm_rows as rows
from aaa.store.tables import home_server, realm
from core.secrets import Sealer, SealError, Secret


@dataclass(frozen=True, slots=True)
class HomeServer:
    """Another RADIUS server and how it is spoken to; ports are None for what it does not take."""

    id: str
    name: str
    address: str
    auth_port: int | None
    accounting_port: int | None
    secret: Secret
    signs_replies: bool
    status_check: bool
    timeout_s: float
    tries: int
    dead_s: float


@dataclass(frozen=True, slots=True)
class Realm:
    """A realm with its home servers in the order in which they are asked."""

    id: str
    name: str
    servers: tuple[HomeServer, ...]
    strip: bool
    passes: frozenset[str]
    terms: SessionTerms | None


@dataclass(frozen=True, slots=True)
class Realms:
    """All of them by name; ``*`` stands for those without an entry."""

    by_name: Mapping[str, Realm]
    """Those with home servers."""
    troubles: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()
    """Those without: their users are ours, under the name without the realm."""

    def of(self, username: bytes, logins: Container[bytes]) -> Realm | None:
        """Whose subscriber this is; None when he is ours."""
        if b"@" not in username and b"\\" not in username:
            return None
        parts = split_realm(username)
        if parts is None:
            return None
        found = self.by_name.get(parts[1])
        if found is not None or username in logins or parts[1] in self.own:
            return found
        return self.by_name.get(ANY)

    def own_name(self, username: bytes, logins: Container[bytes]) -> bytes:
        """The name that a sign-in is looked up by: without the realm, where that is ours."""
        if (b"@" not in username and b"\\" not in username) or username in logins:
            return username
        return without_own_realm(username, self.own, self.by_name)


async def load_realms(
    connection: AsyncConnection, sealer: Sealer, terms_of: Callable[[str], SessionTerms | None]
) -> Realms | None:
    """The realms as they stand, those that are enabled; None when there is none."""
    found = [row for row in await rows.all_of(connection, realm) if row.enabled]
    if not found:
        return None
    troubles: list[str] = []
    servers = {row.id: _server(sealer, row, troubles) for row in await rows.all_of(connection, home_server)}
    order: dict[str, list[HomeServer]] = {}
    for row in await rows.order_of_servers(connection):
        server = servers.get(row.server_id)
        if server is not None:
            order.setdefault(row.realm_id, []).append(server)
    asked = {row.realm_id for row in await rows.order_of_servers(connection)}
    own = frozenset(row.name for row in found if row.id not in asked)
    made = [
        Realm(
            row.id, row.name, tuple(order.get(row.id, ())), row.strip, frozenset(row.passes),
            None if row.profile_id is None else terms_of(row.profile_id),
        )
        for row in found
        if row.id in asked
    ]  # fmt: skip
    return Realms({one.name: one for one in made}, tuple(troubles), own)


def _server(sealer: Sealer, row: Any, troubles: list[str]) -> HomeServer | None:
    if not row.enabled:
        return None
    try:
        secret = sealer.open(row.secret_sealed, "home_server.secret")
    except SealError as trouble:
        troubles.append(f"home server {row.name} is not asked: {trouble}; enter its secret again")
        return None
    return HomeServer(
        row.id, row.name, row.address, row.auth_port, row.accounting_port, secret, row.signs_replies,
        row.status_check, row.timeout_ms / 1000, row.tries, float(row.dead_s),
    )  # fmt: skip
