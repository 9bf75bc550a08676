"""What is missing on this machine, made: key, certificate, database, first owner; by hand and at each boot.

Everything here may be killed anywhere and run again.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.migrate import upgrade
from appliance.role_marks import forget_absent_roles
from appliance.sealing_check import check_sealing, seal_canary, tell_sealing_health
from appliance.sealing_key import words_with_foreign_key
from appliance.settings import Settings
from appliance.wiring import House, open_house
from core.files import forget_unfinished, make_folder, write_durably
from core.log import logger
from core.refusal import granted
from core.secrets import SealError, Secret
from core.work import Work
from ui.certificate_files import put_key_back
from ui.certificates import make_self_signed
from ui.operators import create_operator, has_chosen_password, reset_password
from ui.passwords import Passwords
from ui.store import operator_rows

FIRST_OWNER = "owner"
_ACTOR = "system:first-boot"
_log = logger("appliance")


async def make_ready(house: House) -> None:
    """Bring the database to this release's schema and put the sealing key on record as its own.

    Single values that the key does not open are a health issue. Raises ``SealError`` when the key is not this
    database's, ``SettingsError`` when the database is a newer release's.
    """
    await upgrade(house.workplace.database)
    async with house.workplace.work(_ACTOR) as work:
        verdict = await check_sealing(work.connection, house.sealer)
        if verdict.foreign:
            raise SealError("the sealing key is not the one that sealed this database")
        await seal_canary(work, house.sealer)
        await tell_sealing_health(work, verdict, words_with_foreign_key(house.settings.sealing_key))


async def first_boot(settings: Settings) -> bool:
    """Make what is missing and mark the machine ready; True when a one-time password waits at the console.

    While the first owner has never chosen a password, each boot gives him a new one, which is written where
    the next power cut wipes it out. Raises ``SettingsError`` or ``SealError``.
    """
    make_folder(settings.state.runtime, 0o755)
    for stale in (settings.ready_mark, settings.admin_code):
        stale.unlink(missing_ok=True)
    forget_unfinished(settings.sealing_key)
    forget_absent_roles(settings.state.directory)
    async with open_house(settings, may_make_key=True) as house:
        make_certificate(settings, house.clock.now())
        await make_ready(house)
        async with house.workplace.work(_ACTOR) as work:
            code = await _first_code(work)
    if code is not None:
        write_durably(settings.admin_code, f"{code.reveal()}\n".encode(), 0o600)
    write_durably(settings.ready_mark, b"", 0o644)
    return code is not None


def forget_code(settings: Settings, name: str) -> None:
    """The code at the console is worthless once its operator has another password."""
    if name.strip().lower() == FIRST_OWNER:
        with suppress(OSError):
            settings.admin_code.unlink(missing_ok=True)


async def code_state(settings: Settings, connection: AsyncConnection) -> str:
    """``valid`` while the code opens the panel; ``used``, and its file goes; ``not readable``."""
    try:
        code = settings.admin_code.read_text().strip()
    except FileNotFoundError:
        return "used"
    except OSError:
        return "not readable"
    owner = await operator_rows.operator_by_name(connection, FIRST_OWNER)
    waits = owner is not None and owner.must_change_password and owner.enabled
    if waits and await Passwords().matches(code, owner.password_hash if owner else None):
        return "valid"
    forget_code(settings, FIRST_OWNER)
    return "used"


def make_certificate(settings: Settings, now: datetime) -> None:
    """The panel's certificate, if one is asked for below the state directory and none is there.

    The key is written first: where there is a certificate, its key is there, or kept as the one of before
    when replacing them was cut off. One that cannot be made is a warning: RADIUS does not need it, and the
    panel comes up without it and says so.
    """
    certificate, key = settings.ui.tls_cert, settings.ui.tls_key
    if certificate is None or key is None:
        return
    if not (
        certificate.is_relative_to(settings.state.directory) and key.is_relative_to(settings.state.directory)
    ):
        return
    try:
        forget_unfinished(certificate)
        if certificate.exists():
            put_key_back(certificate, key)
            return
        made, made_key = make_self_signed(now)
        write_durably(key, made_key, 0o600)
        write_durably(certificate, made, 0o644)
    except OSError as trouble:
        _log.warning("certificate_not_made", error=str(trouble), remedy="hilltop certificate renew")


async def _first_code(work: Work) -> Secret | None:
    owner = await operator_rows.operator_by_name(work.connection, FIRST_OWNER)
    if owner is None:
        if await operator_rows.enabled_owners(work.connection):
            return None  # set up by hand under another name
        return granted(await create_operator(work, FIRST_OWNER, "owner"))
    if not owner.enabled or await has_chosen_password(work.connection, owner):
        return None
    return granted(await reset_password(work, FIRST_OWNER))
