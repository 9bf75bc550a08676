"""Whether a locale is known, told without loading babel if possible: every role reads the settings."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

_NAME = re.compile(r"[A-Za-z]{2,3}(_[A-Za-z0-9]{2,8}){0,3}")


def check_locale(name: str) -> str:
    """The name of a locale that amounts and dates can be written in. Raises ``ValueError``."""
    if not _NAME.fullmatch(name) or not (_has_data(name) or _babel_knows(name)):
        raise ValueError(f"{name!r} is not a locale; write it like en_US or de_DE")
    return name


def _has_data(name: str) -> bool:
    spec = find_spec("babel")
    folders = spec.submodule_search_locations if spec else None
    return any(Path(folder, "locale-data", f"{name}.dat").is_file() for folder in folders or ())


def _babel_knows(name: str) -> bool:
    """Names that stand for another, such as zh_CN."""
    from babel import Locale, UnknownLocaleError

    try:
        Locale.parse(name)
    except (UnknownLocaleError, ValueError):
        return False
    return True
