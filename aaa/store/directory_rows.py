"""Rows for those who answer RADIUS: the directory, rejects, live sessions, journal cursors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, delete, func, insert, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.store.tables import (
    credential,
    directory_change,
    entitlement,
    journal_cursor,
    nas,
    nas_secret_use,
    reject,
    reply_template,
    service,
    service_profile,
    session,
)
from core.database import insert_for, take_lane

Rows = Sequence[Any]
"""Rows as the database gives them; the columns are named at each function."""

_IN_LIMIT = 500


async def newest_change(connection: AsyncConnection) -> int:
    """The last number of the change feed; 0 when nothing has ever changed."""
    return (await connection.execute(select(func.max(directory_change.c.seq)))).scalar_one() or 0


async def changes_after(connection: AsyncConnection, seq: int, limit: int) -> Rows:
    """``(seq, entity, entity_id)`` of the changes after ``seq``, in order."""
    statement = select(directory_change.c.seq, directory_change.c.entity, directory_change.c.entity_id)
    statement = statement.where(directory_change.c.seq > seq).order_by(directory_change.c.seq).limit(limit)
    return (await connection.execute(statement)).all()


async def nas_rows(connection: AsyncConnection) -> Rows:
    """Every NAS that is enabled."""
    return (await connection.execute(select(nas).where(nas.c.enabled))).all()


async def secret_uses(connection: AsyncConnection, nas_ids: Sequence[str]) -> Rows:
    """Which secret the addresses of these NASes were seen to use, as ``nas_secret_use`` has it."""
    return (
        await connection.execute(select(nas_secret_use).where(nas_secret_use.c.nas_id.in_(list(nas_ids))))
    ).all()


async def all_nas_rows(connection: AsyncConnection) -> Rows:
    """Every NAS, disabled ones too: their old accounting still has to be read."""
    return (await connection.execute(select(nas))).all()


async def profile_rows(connection: AsyncConnection) -> Rows:
    """Every service profile."""
    return (await connection.execute(select(service_profile))).all()


async def template_rows(connection: AsyncConnection) -> Rows:
    """Every reply template with the names of what it is for, in a fixed order."""
    statement = (
        select(reply_template, service_profile.c.name.label("profile"), nas.c.name.label("nas"))
        .join(service_profile, service_profile.c.id == reply_template.c.profile_id, isouter=True)
        .join(nas, nas.c.id == reply_template.c.nas_id, isouter=True)
    )
    return (await connection.execute(statement.order_by(reply_template.c.scope))).all()


async def service_label(connection: AsyncConnection, service_id: str) -> str:
    """What a service is called; empty when there is none of that id."""
    statement = select(service.c.label).where(service.c.id == service_id)
    return str((await connection.execute(statement)).scalar_one_or_none() or "")


def _services() -> Select[Any]:
    return select(
        service.c.id, service.c.profile_id, service.c.lifecycle, service.c.framed_ip,
        service.c.devices, service.c.when_crowded, service.c.netmask_bits, entitlement.c.generation,
        entitlement.c.effect, entitlement.c.because,
    ).join_from(service, entitlement, entitlement.c.service_id == service.c.id)  # fmt: skip


def _credentials() -> Select[Any]:
    return select(
        credential.c.service_id, credential.c.kind, credential.c.username, credential.c.password_sealed,
        credential.c.hash_sealed, credential.c.hash_scheme, credential.c.binding, credential.c.replace_until,
        credential.c.replace_mac, credential.c.port_nas_id, credential.c.port_pattern,
    )  # fmt: skip


async def service_page(connection: AsyncConnection, after: str, limit: int) -> Rows:
    """The next services in order of id, with their entitlement.

    The bound is said of both tables, or a merge join would read one of them from its beginning at each page.
    """
    beyond = (service.c.id > after, entitlement.c.service_id > after)
    statement = _services().where(*beyond).order_by(service.c.id).limit(limit)
    rows: Rows = (await connection.execute(statement)).all()
    return rows


async def credentials_between(connection: AsyncConnection, after: str, last: str) -> Rows:
    """The credentials of the services with ``after`` < id <= ``last``."""
    statement = _credentials().where(credential.c.service_id > after, credential.c.service_id <= last)
    rows: Rows = (await connection.execute(statement)).all()
    return rows


async def services_with_ids(connection: AsyncConnection, ids: Sequence[str]) -> list[Any]:
    """These services, with their entitlement."""
    rows: list[Any] = []
    for some in _chunks(ids):
        rows += (await connection.execute(_services().where(service.c.id.in_(some)))).all()
    return rows


async def credentials_of(connection: AsyncConnection, service_ids: Sequence[str]) -> list[Any]:
    """The credentials of these services."""
    rows: list[Any] = []
    for some in _chunks(service_ids):
        rows += (await connection.execute(_credentials().where(credential.c.service_id.in_(some)))).all()
    return rows


async def services_with_profile(connection: AsyncConnection, profile_ids: Sequence[str]) -> list[str]:
    """Ids of the services under these profiles."""
    statement = select(service.c.id).where(service.c.profile_id.in_(list(profile_ids)))
    return list((await connection.execute(statement)).scalars())


async def service_ids_of_usernames(connection: AsyncConnection, usernames: Sequence[str]) -> list[str]:
    """Ids of the services that sign in with one of ``usernames``."""
    statement = select(credential.c.service_id).where(credential.c.username.in_(list(usernames)))
    return list((await connection.execute(statement)).scalars())


async def known_usernames(connection: AsyncConnection, usernames: Sequence[str]) -> set[str]:
    """Those of ``usernames`` that a service signs in with."""
    found: set[str] = set()
    for some in _chunks(list(dict.fromkeys(usernames))):
        wanted = select(credential.c.username).where(credential.c.username.in_(some))
        found.update((await connection.execute(wanted)).scalars())
    return found


def _chunks(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _IN_LIMIT] for start in range(0, len(ids), _IN_LIMIT)]


async def remember_signing(connection: AsyncConnection, nas_id: str, at: datetime) -> None:
    """The NAS has been seen to sign its requests; every directory learns it."""
    await take_lane(connection, "directory")
    changed = await connection.execute(
        update(nas).where(nas.c.id == nas_id, nas.c.signs_requests.is_(False)).values(signs_requests=True)
    )
    if changed.rowcount:
        await connection.execute(insert(directory_change).values(entity="nas", entity_id=nas_id, at=at))


async def count_rejects(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Count rejects under their (NAS, identity, rule): the newest explanation stays, the counts add up."""
    if not rows:
        return
    statement = insert_for(connection, reject)
    kept = ("explanation", "remedy", "calling_station", "service_id", "last_at")
    changes: dict[str, Any] = {name: statement.excluded[name] for name in kept}
    changes["count"] = reject.c.count + statement.excluded["count"]
    counted = statement.on_conflict_do_update(index_elements=["nas_id", "identity", "rule"], set_=changes)
    await connection.execute(counted, rows)


async def keep_newest_rejects(connection: AsyncConnection, nas_id: str, kept: int) -> None:
    """Delete the rows of a NAS beyond its ``kept`` newest."""
    mine = select(reject.c.identity, reject.c.rule).where(reject.c.nas_id == nas_id)
    older = mine.order_by(reject.c.last_at.desc(), reject.c.identity, reject.c.rule).offset(kept)
    gone = tuple_(reject.c.identity, reject.c.rule).in_(older)
    await connection.execute(delete(reject).where(reject.c.nas_id == nas_id, gone))


async def rejects_of(connection: AsyncConnection, identities: Sequence[str], limit: int) -> Rows:
    """The latest rejects of these identities, newest first."""
    statement = select(reject).where(reject.c.identity.in_(list(identities)))
    return (await connection.execute(statement.order_by(reject.c.last_at.desc()).limit(limit))).all()


def _live_sessions() -> Select[Any]:
    return (
        select(
            session.c.id, session.c.acct_session_id, session.c.username, session.c.framed_ip,
            session.c.calling_station, session.c.nas_port_id, session.c.generation, session.c.started_at,
            session.c.last_event_at, session.c.interim_interval_s, session.c.nas_id, session.c.nas_address,
            session.c.nas_own_address, session.c.service_id,
            nas.c.name.label("nas_name"), nas.c.network, nas.c.identifier, nas.c.dialect,
            nas.c.secret_sealed, nas.c.dynauth_port, nas.c.old_secret_sealed, nas.c.old_secret_until,
            nas_secret_use.c.old_at, nas_secret_use.c.new_at,
        )
        .join_from(session, nas, nas.c.id == session.c.nas_id)
        .join(
            nas_secret_use,
            and_(nas_secret_use.c.nas_id == nas.c.id, nas_secret_use.c.address == session.c.nas_address),
            isouter=True,
        )
        .where(session.c.stopped_at.is_(None))
        .order_by(session.c.started_at, session.c.id)
    )  # fmt: skip


async def live_sessions(connection: AsyncConnection, service_id: str) -> Rows:
    """Open sessions of a service with what is needed to reach their NAS, oldest first."""
    statement = _live_sessions().where(session.c.service_id == service_id)
    rows: Rows = (await connection.execute(statement)).all()
    return rows


async def live_session(connection: AsyncConnection, session_id: str) -> Any | None:
    """The session, if it is open and its NAS is registered, with what is needed to reach that."""
    statement = _live_sessions().where(session.c.id == session_id)
    return (await connection.execute(statement)).one_or_none()


def _in_scope(
    statement: Select[Any], profile_id: str | None, nas_id: str | None, dialect: str | None, after: str
) -> Select[Any]:
    narrowed = (
        statement.join_from(session, nas, nas.c.id == session.c.nas_id)
        .join(service, service.c.id == session.c.service_id)
        .where(session.c.stopped_at.is_(None), session.c.id > after)
    )
    wanted = ((service.c.profile_id, profile_id), (nas.c.id, nas_id), (nas.c.dialect, dialect))
    for column, value in wanted:
        if value is not None:
            narrowed = narrowed.where(column == value)
    return narrowed


async def live_sessions_in(  # noqa: PLR0917 - as _in_scope
    connection: AsyncConnection,
    profile_id: str | None,
    nas_id: str | None,
    dialect: str | None,
    after: str,
    limit: int,
) -> Rows:
    """(id, username, nas_id, nas) of open sessions of services, in the order of ids behind ``after``."""
    asked = select(session.c.id, session.c.username, nas.c.id.label("nas_id"), nas.c.name.label("nas"))
    statement = _in_scope(asked, profile_id, nas_id, dialect, after)
    rows: Rows = (await connection.execute(statement.order_by(session.c.id).limit(limit))).all()
    return rows


async def count_live_sessions(
    connection: AsyncConnection, profile_id: str | None, nas_id: str | None, dialect: str | None, after: str
) -> int:
    """How many ``live_sessions_in`` would find without a limit."""
    statement = _in_scope(select(func.count()), profile_id, nas_id, dialect, after)
    return int((await connection.execute(statement)).scalar_one())


_NAMES_OF_A_SESSION = (
    "username", "acct_session_id", "nas_port_id", "mac", "calling_station", "framed_ip",
    "framed_ipv6_address", "framed_ipv6_prefix", "delegated_ipv6_prefix", "service_id",
)  # fmt: skip


async def live_sessions_named(
    connection: AsyncConnection, names: Mapping[str, str], nas_ids: Sequence[str] | None, limit: int
) -> Rows:
    """Open sessions for which every name holds, on those NASes (None: on any), at most ``limit``."""
    statement = _live_sessions().limit(limit)
    for name in _NAMES_OF_A_SESSION:
        if name in names:
            statement = statement.where(session.c[name] == names[name])
    if nas_ids is not None:
        statement = statement.where(session.c.nas_id.in_(list(nas_ids)))
    rows: Rows = (await connection.execute(statement)).all()
    return rows


async def live_service_ids(connection: AsyncConnection, nas_ids: Sequence[str] | None) -> list[str]:
    """The services with an open session on those NASes (None: on any)."""
    statement = (
        select(session.c.service_id)
        .distinct()
        .where(session.c.stopped_at.is_(None), session.c.service_id.is_not(None))
    )
    if nas_ids is not None:
        statement = statement.where(session.c.nas_id.in_(list(nas_ids)))
    return [str(one) for one in (await connection.execute(statement)).scalars()]


async def record_session_generation(
    connection: AsyncConnection, session_ids: Sequence[str], generation: int
) -> None:
    """These sessions now run under ``generation`` of their service's entitlement."""
    for some in _chunks(session_ids):
        await connection.execute(update(session).where(session.c.id.in_(some)).values(generation=generation))


async def crowded_services(connection: AsyncConnection, heard_since: datetime, usual: str) -> Rows:
    """``(id, allowed, when_crowded)`` of services with more live sessions than they may have.

    Only sessions heard of since ``heard_since`` count: a stale row must never cost anybody his line.
    ``usual`` is what counts where neither the service nor its profile says; services without a limit are
    left out.
    """
    allowed = func.coalesce(service.c.devices, service_profile.c.devices, 1)
    rule = func.coalesce(service.c.when_crowded, service_profile.c.when_crowded, usual)
    statement = (
        select(service.c.id, allowed.label("allowed"), rule.label("when_crowded"))
        .join_from(session, service, session.c.service_id == service.c.id)
        .join(service_profile, service_profile.c.id == service.c.profile_id)
        .where(session.c.stopped_at.is_(None), session.c.last_event_at >= heard_since)
        .group_by(
            service.c.id, service.c.devices, service.c.when_crowded, service_profile.c.devices,
            service_profile.c.when_crowded,
        )
        .having(func.count(literal(1)) > allowed)
    )  # fmt: skip
    return [row for row in await connection.execute(statement) if row.when_crowded != "unlimited"]


async def online_devices(connection: AsyncConnection, service_ids: Sequence[str]) -> list[Any]:
    """The open sessions of these services, with what tells whether they are alive."""
    rows: list[Any] = []
    for some in _chunks(service_ids):
        statement = (
            select(
                session.c.service_id, session.c.nas_id, session.c.acct_session_id, session.c.calling_station,
                session.c.started_at, session.c.last_received_at, session.c.interim_interval_s,
                nas.c.name.label("nas_name"),
            )
            .outerjoin(nas, nas.c.id == session.c.nas_id)
            .where(session.c.service_id.in_(some), session.c.stopped_at.is_(None))
        )  # fmt: skip
        rows += (await connection.execute(statement)).all()
    return rows


async def journal_position(connection: AsyncConnection, journal_id: str) -> int:
    """How far this journal has come into the database."""
    statement = select(journal_cursor.c.seq).where(journal_cursor.c.journal_id == journal_id)
    return (await connection.execute(statement)).scalar_one_or_none() or 0


async def move_journal_position(
    connection: AsyncConnection, journal_id: str, before: int, seq: int, at: datetime
) -> bool:
    """Move the cursor from ``before`` to ``seq``; False when another reader has moved it meanwhile."""
    if before == 0:
        first = insert_for(connection, journal_cursor).values(journal_id=journal_id, seq=seq, at=at)
        made = await connection.execute(first.on_conflict_do_nothing(index_elements=["journal_id"]))
        return made.rowcount == 1
    moved = await connection.execute(
        update(journal_cursor)
        .where(journal_cursor.c.journal_id == journal_id, journal_cursor.c.seq == before)
        .values(seq=seq, at=at)
    )
    return moved.rowcount == 1
