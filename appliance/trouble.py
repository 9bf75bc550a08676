"""Operating trouble in words: what an operator can do about an exception, or None for a defect of ours."""

from __future__ import annotations

import errno

from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from appliance.sealing_key import words_with_foreign_key
from appliance.settings import Settings, SettingsError
from core.secrets import SealError

_MIGRATE = "the database does not have this release's tables ({why}); run: hilltop database migrate"
_SQLITE_WORDS = (
    ("no such table", _MIGRATE),
    ("no such column", _MIGRATE),
    ("locked", "another program holds the database {url} ({why}); end it, or try again"),
    ("disk is full", "the disk is full; free space for {url}"),
    ("readonly", "{url} cannot be written ({why}); run as the user who owns it, or correct its owner"),
    ("unable to open", "{url} cannot be opened ({why}); look at its folder, owner and permissions"),
    ("not a database", "{url} is not a database of Hilltop ({why}); restore it from the backup"),
    ("malformed", "{url} is damaged ({why}); restore it from the backup"),
)
_SILENT = "the database at {url} does not answer ({why}); is it running, is database.url right?"
_POSTGRESQL_CLASSES = (  # SQLSTATE beginnings, PostgreSQL manual, appendix A
    ("42P01", _MIGRATE),
    ("42703", _MIGRATE),
    ("3D000", "there is no such database at {url} ({why}); create it, or correct database.url"),
    ("28", "PostgreSQL refuses the sign-in to {url} ({why}); correct user and password in database.url"),
    ("42501", "the database user may not do this at {url} ({why}); make it the owner of the database"),
    ("53100", "the disk of the database is full; free space for {url}"),
    ("53", "PostgreSQL at {url} has no room ({why}); raise its limits"),
    ("22", "a value does not fit into the database ({why}); give a smaller or shorter one"),
)


def in_words(trouble: BaseException, settings: Settings) -> str | None:
    """One line naming what is wrong and the remedy."""
    while isinstance(trouble, BaseExceptionGroup):
        trouble = trouble.exceptions[0]
    match trouble:
        case SettingsError():
            return str(trouble)
        case SealError():
            return f"{trouble}; {words_with_foreign_key(settings.sealing_key)}"
        case OverflowError():
            return f"a number is too large to be kept ({trouble}); give a smaller one"
        case DBAPIError() | PoolTimeoutError():
            return _of_database(trouble, settings)
        case OSError():
            return _of_system(trouble, settings)
        case _:
            return _of_database(trouble, settings) if _sqlstate(trouble) else None


def shown_url(settings: Settings) -> str:
    """The database's URL without its password, wherever in it that stands."""
    url = make_url(settings.database_url)
    hidden = {key: "***" if "pass" in key.lower() else value for key, value in url.query.items()}
    return url.set(query=hidden).render_as_string(hide_password=True)


def _sqlstate(trouble: BaseException) -> str:
    orig = getattr(trouble, "orig", None)
    return str(getattr(orig, "sqlstate", None) or getattr(trouble, "sqlstate", None) or "")


def _of_database(trouble: BaseException, settings: Settings) -> str:
    why = str(getattr(trouble, "orig", None) or trouble).strip().splitlines()[0]
    why = why.removeprefix("<class ").partition("'>: ")[2] or why
    state, url = _sqlstate(trouble), shown_url(settings)
    if state:
        words = next((text for begin, text in _POSTGRESQL_CLASSES if state.startswith(begin)), None)
    else:
        words = next((text for part, text in _SQLITE_WORDS if part in why), None)
    return (words or _SILENT).format(why=why, url=url)


def _of_system(trouble: OSError, settings: Settings) -> str:
    why = trouble.strerror or str(trouble)
    if trouble.filename is not None:
        return f"{trouble.filename}: {why}"
    if trouble.errno in {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}:
        return (
            f"cannot listen: {why}; end the program that has the address, or choose another in the settings"
        )
    if trouble.errno in {errno.ENOSPC, errno.EIO, errno.EROFS}:
        return f"{settings.state.directory}: {why}; look at the disk of the state directory"
    return _SILENT.format(why=why, url=shown_url(settings))
