"""Operators: made with a one-time password, reset, kept out. There is no default password."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.gear_logins import follow_operator, give_gear_login, take_gear_login
from core.refusal import Refusal
from core.secrets import Sealer, Secret, random_password
from core.store.tables import audit
from core.work import Work, Workplace
from ui.passwords import Passwords, password_fault
from ui.permissions import Role
from ui.sign_in import NotRight, SignIns, TooManyFailures
from ui.store import operator_rows
from ui.store.operator_rows import Operator

CONSOLE = "console"
_CHANGED = "operator.password_changed"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


async def create_operator(
    work: Work, name: str, role: str, password: Secret | None = None
) -> Secret | Refusal:
    """Make an operator and return the one-time password, which must be changed at the first sign-in.

    ``password`` sets the one-time password instead of a random one.
    """
    name = name.strip().lower()
    if not _NAME.fullmatch(name):
        return Refusal(
            "bad_name", "use 1 to 40 of a-z, 0-9, dot, dash and underscore, letter or digit first", "name"
        )
    if role not in list(Role):
        return Refusal("unknown_role", f"is {role!r}; use one of {', '.join(Role)}", "role")
    if await operator_rows.operator_by_name(work.connection, name):
        return Refusal("exists", f"{name!r} is taken; choose another name", "name")
    one_time = password or Secret(random_password())
    hashed = await Passwords().hash(one_time.reveal())
    made = Operator(work.ids.new("opr"), name, Role(role), hashed, True, True, work.now)
    await operator_rows.add_operator(work.connection, made)
    await work.audit("operator.created", made.id, name=name, role=role)
    return one_time


async def reset_password(work: Work, name: str) -> Secret | Refusal:
    """Give an operator a new one-time password and end his sign-ins."""
    found = await operator_rows.operator_by_name(work.connection, name.strip().lower())
    if found is None:
        return Refusal("unknown_operator", f"there is no operator {name!r}", "name")
    one_time = Secret(random_password())
    hashed = await Passwords().hash(one_time.reveal())
    await operator_rows.set_password(work.connection, found.id, hashed, must_change=True)
    await operator_rows.end_sign_ins_of(work.connection, found.id, work.now)
    await operator_rows.forget_failures(work.connection, f"operator:{found.name}")
    await work.audit("operator.password_reset", found.id, name=found.name)
    return one_time


async def has_chosen_password(connection: AsyncConnection, found: Operator) -> bool:
    """False while an operator has only ever had one-time passwords."""
    if not found.must_change_password:
        return True
    query = select(audit.c.seq).where(audit.c.subject == found.id, audit.c.action == _CHANGED).limit(1)
    return (await connection.execute(query)).first() is not None


async def set_operator_enabled(work: Work, operator_id: str, enabled: bool) -> Refusal | None:
    """Let an operator in or keep him out; the last owner stays in."""
    found = await operator_rows.operator_by_id(work.connection, operator_id)
    if found is None:
        return Refusal("unknown_operator", "there is no such operator", "operator")
    last_owner = found.role is Role.OWNER and await operator_rows.enabled_owners(work.connection) <= 1
    if not enabled and found.enabled and last_owner:
        return Refusal(
            "last_owner", "the last owner cannot be kept out; make another owner first", "operator"
        )
    await operator_rows.set_enabled(work.connection, found.id, enabled)
    if not enabled:
        await operator_rows.end_sign_ins_of(work.connection, found.id, work.now)
    await follow_operator(work, found.id, enabled=enabled)
    await work.audit("operator.enabled" if enabled else "operator.disabled", found.id, name=found.name)
    return None


GEAR_LEVELS: Mapping[Role, tuple[str, ...]] = {
    Role.OWNER: ("full", "write", "read"),
    Role.NETWORK: ("full", "write", "read"),
    Role.VIEWER: ("read",),
    Role.BILLING: (),
}
"""What each role may have of network gear, the most first."""


async def give_gear(work: Work, sealer: Sealer, operator_id: str, level: str) -> Secret | Refusal:
    """Give an operator a login to network gear, or a new one; returns its password, which is shown once."""
    found = await operator_rows.operator_by_id(work.connection, operator_id)
    if found is None:
        return Refusal("unknown_operator", "there is no such operator", "operator")
    if not found.enabled:
        return Refusal("kept_out", f"{found.name} is kept out; let him in first", "operator")
    if level not in GEAR_LEVELS[found.role]:
        may = ", ".join(GEAR_LEVELS[found.role]) or "none"
        return Refusal("gear_level", f"the role {found.role} may have of network gear: {may}", "level")
    return await give_gear_login(work, sealer, operator_id=found.id, name=found.name, level=level)


async def take_gear(work: Work, operator_id: str) -> Refusal | None:
    """Take an operator's login to network gear away."""
    return await take_gear_login(work, operator_id)


async def prove_owner(sign_ins: SignIns, workplace: Workplace, name: str, password: str) -> Refusal | None:
    """Whether an owner with a password of his own stands at the console; the panel's limits hold there."""
    proved = await sign_ins.prove(name, password, CONSOLE)
    if isinstance(proved, TooManyFailures):
        return Refusal("too_many", "too many failed attempts; wait 15 minutes", "name")
    if isinstance(proved, NotRight):
        return Refusal("not_right", "name or password is not right", "name")
    if proved.role is not Role.OWNER:
        return Refusal("not_an_owner", "only an owner may do this", "name")
    if proved.must_change_password:
        return Refusal(
            "one_time_password", "is for once; choose your own at the panel first, then come back", "password"
        )
    async with workplace.work(f"operator:{proved.name}") as work:
        await sign_ins.forgive(work, proved, CONSOLE)
    return None


async def choose_password(
    work: Work, passwords: Passwords, found: Operator, *, current: str, chosen: str, again: str
) -> Refusal | None:
    """Let an operator replace his password; the caller ends his sign-ins and makes a new one."""
    if not await passwords.matches(current, found.password_hash):
        return Refusal("wrong_password", "is not the present password", "current")
    if chosen != again:
        return Refusal("not_alike", "is not the same as the new password above; type it again", "again")
    if chosen == current:
        return Refusal("same_password", "is the present one; choose another", "chosen")
    fault = password_fault(chosen, found.name)
    if fault:
        return Refusal("weak_password", fault, "chosen")
    await operator_rows.set_password(
        work.connection, found.id, await passwords.hash(chosen), must_change=False
    )
    await work.audit(_CHANGED, found.id, name=found.name)
    return None
