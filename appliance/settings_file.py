"""The settings file changed key by key: comments and order stay, nothing is written that cannot be used."""

from __future__ import annotations

import copy
import difflib
import errno
import fcntl
import json
import math
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin
from unicodedata import category

import tomlkit
from pydantic import BaseModel, ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from appliance.settings import Settings, SettingsError, faults, read_settings
from appliance.whereabouts import USUAL_RUNTIME
from core.database import normalise_url
from core.files import rewrite_durably

SECRET = {"database.url"}
"""Keys whose values are shown nowhere."""
_OF_THE_IMAGE = {"state.directory", "state.runtime", "clock.source"}
_LONGEST_VALUE = 10_000
_ABSENT = object()


class EditError(Exception):
    """The change cannot be made; the message names key, trouble and remedy."""


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: what its value may be, and what it is when the file does not say."""

    name: str
    kinds: tuple[Any, ...]
    default: Any

    @property
    def is_list(self) -> bool:
        """Whether it takes several values."""
        return any(get_origin(kind) is list for kind in self.kinds)

    @property
    def is_table(self) -> bool:
        """Whether it takes values by name."""
        return any(get_origin(kind) is dict for kind in self.kinds)

    @property
    def is_number(self) -> bool:
        """Whether it takes a number."""
        return bool({int, float} & set(self.kinds))

    def remedy(self) -> str:
        """How its value is written."""
        if self.is_list:
            return f"write it like '{json.dumps(self.default or ['one', 'two'])}'"
        if self.is_table:
            return "write it like '{ name = value }'"
        if self.default is None:
            return f"without it: hilltop settings unset {self.name}"
        return f"the default is {json.dumps(self.default)}"


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did to the file; ``left`` are older faults that remain in it."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    left: list[str]
    has_backup: bool


def all_keys() -> dict[str, Key]:
    """Every setting by its name."""
    return {key.name: key for key in _keys_of(Settings, "", Settings().model_dump(mode="json"))}


def _keys_of(model: type[BaseModel], prefix: str, defaults: Mapping[str, Any]) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys_of(kind, f"{prefix}{name}.", defaults[name])
        else:
            several = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
            kinds = tuple(one for one in several if one is not NoneType)
            yield Key(prefix + name, kinds, defaults[name])


def find_key(name: str) -> Key:
    """The setting of that name. Raises ``EditError``, naming the one that was probably meant."""
    keys = all_keys()
    if name in keys:
        return keys[name]
    inside = [key for key in keys if key.startswith(f"{name}.")]
    if inside:
        raise EditError(f"{name}: this is a section; name a key in it, such as {inside[0]}")
    shown = name if name.isprintable() and len(name) <= 80 else ascii(name[:80])
    near = difflib.get_close_matches(name[:80], keys, n=1) or [
        key for key in keys if key.rpartition(".")[2] == name
    ]
    hint = f"did you mean {near[0]}?" if near else "see: hilltop settings"
    raise EditError(f"{shown}: this key is unknown; {hint}")


def read_value(key: Key, text: str) -> Any:
    """The value that ``text`` stands for: TOML where that gives the kind that is wanted, else text as it is.

    Raises ``EditError``.
    """
    if len(text) > _LONGEST_VALUE:
        raise EditError(f"{key.name}: over {_LONGEST_VALUE} characters; give a shorter value")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EditError(f"{key.name}: this is not UTF-8 text; type it anew") from None
    value = _as_toml(text)
    if key.is_list:
        several = value if isinstance(value, list) else [value if isinstance(value, str) else text]
        for one in several:
            _check_letters(key, one)
        return several
    if key.is_table:
        if not isinstance(value, dict):
            raise EditError(f"{key.name}: this is not a table; {key.remedy()}")
        for one in value:
            _check_letters(key, one)
        return value
    if key.is_number:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise EditError(f"{key.name}: this is not a number; {key.remedy()}")
        return value
    if bool in key.kinds:
        return value if isinstance(value, bool) else text
    found = value if isinstance(value, str) else text
    _check_letters(key, found)
    if key.name in SECRET:
        _check_url(key, found)
    return found


def _check_letters(key: Key, text: Any) -> None:
    if isinstance(text, str) and any(category(letter) == "Cc" and letter not in "\n\t" for letter in text):
        raise EditError(f"{key.name}: there is a control character in it; type it anew")


def _as_toml(text: str) -> Any:
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return _ABSENT
    return read["value"] if read.keys() == {"value"} else _ABSENT


def _check_url(key: Key, url: str) -> None:
    if not url:
        return
    try:
        normalise_url(url)
    except ValueError as trouble:
        raise EditError(f"{key.name}: {trouble}; or give it empty, for the embedded one") from None
    parsed = make_url(url)
    folder = Path(parsed.database or "").parent
    if parsed.drivername.startswith("sqlite") and not (
        parsed.database and folder.is_absolute() and os.access(folder, os.W_OK)
    ):
        raise EditError(f"{key.name}: no folder that can be written; write it like sqlite:////folder/file")


def holds_password(key: Key, text: str) -> bool:
    """Whether this must not stand on a command line."""
    if key.name not in SECRET:
        return False
    try:
        url = make_url(text.strip("\"'"))
    except (ArgumentError, ValueError):
        return "@" in text or ":" in text  # it cannot be told what would be a password
    return url.password is not None or any("pass" in name.lower() for name in url.query)


def check_place(key: Key, said: Mapping[str, Any]) -> None:
    """On the appliance some things are where the image has them. Raises ``EditError``."""
    if key.name in _OF_THE_IMAGE and is_appliance(said):
        raise EditError(f"{key.name}: this is the appliance's own and stays as it is")


def is_appliance(said: Mapping[str, Any]) -> bool:
    """Whether there is somebody who grants what the console asks for."""
    runtime = _get(said, "state.runtime")
    return (Path(runtime if isinstance(runtime, str) else USUAL_RUNTIME) / "asks").is_dir()


def change_settings(path: Path, wanted: Mapping[str, Any]) -> Change | None:
    """Write the values of ``wanted`` (None: back to the default) into the file; None if it says so already.

    The file of before is kept beside it. Raises ``EditError``, ``SettingsError`` or ``OSError``.
    """
    path = Path(os.path.realpath(path))
    with _alone(path.parent):
        text, said = read_settings(path)
        expected = copy.deepcopy(said)
        for name, value in wanted.items():
            _put(expected, name, value)
        if expected == said:
            return None
        left = _check(said, expected)
        changed = _edit(text, wanted)
        if not _says(changed, expected):
            raise EditError(f"{path}: it is written in a way that cannot be changed here; use an editor")
        has_backup = _keep(path, text)
        rewrite_durably(path, changed.encode(), path, has_copy=has_backup)
    return Change(_shown(said, wanted), _shown(expected, wanted), left, has_backup)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One change after the other, or one of two would be lost."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as trouble:
        raise SettingsError(f"{folder}: {trouble.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check(said: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Nothing may be wrong with the whole that was not wrong before, and what was wrong must become less."""
    older, newer = _faults(said), _faults(expected)
    keys = all_keys()
    added = [fault for fault in newer if fault not in older]
    for name, trouble in added or (newer if newer == older else []):
        key = keys.get(name) or keys.get(name.rpartition(".")[0])
        remedy = f"; {key.remedy()}" if key else ""
        raise EditError(f"{name}: {trouble}{remedy}" if name else trouble)
    return [f"{name}: {trouble}" for name, trouble in newer]


def _faults(said: Mapping[str, Any]) -> list[tuple[str, str]]:
    try:
        Settings.model_validate(said)
    except ValidationError as trouble:
        return faults(trouble)
    return []


def _get(said: Mapping[str, Any], name: str) -> Any:
    found: Any = said
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def _shown(said: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """For the record, as JSON has it: of known settings alone, for a misplaced one may be a secret."""
    recorded = [name for name in names if name in all_keys().keys() - SECRET]
    found = {name: value for name in recorded if not isinstance(value := _get(said, name), Mapping)}
    shown: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return shown


def is_in_file(said: Mapping[str, Any], name: str) -> bool:
    """Whether the file says something under that name, known or not."""
    return _get(said, name) is not None


def _put(said: Any, name: str, value: Any) -> None:
    *sections, last = name.split(".")
    for place, part in enumerate(sections):
        if part not in said:
            if value is None:
                return
            is_last = place == len(sections) - 1
            said[part] = tomlkit.table(is_super_table=not is_last) if _is_document(said) else {}
        said = said[part]
        if not isinstance(said, Mapping):
            raise EditError(f"{part}: this is a value in the file and no section; unset it first")
    if value is None:
        with suppress(KeyError):
            del said[last]
    else:
        said[last] = value


def _is_document(said: Any) -> bool:
    return isinstance(said, tomlkit.TOMLDocument | Table)


def _edit(text: str, wanted: Mapping[str, Any]) -> str:
    try:
        document = tomlkit.parse(text)
        for name, value in wanted.items():
            _put(document, name, value)
        return tomlkit.dumps(document)
    except (TOMLKitError, RecursionError) as trouble:
        raise EditError(f"the settings cannot be changed here: {trouble}; use an editor") from None


def _says(text: str, expected: Mapping[str, Any]) -> bool:
    """Whether another reader than the writer's finds there what it should; empty sections say nothing."""
    try:
        return _filled(tomllib.loads(text)) == _filled(expected)
    except ValueError:
        return False


def _filled(said: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: _filled(value) if isinstance(value, dict) else value for key, value in said.items()}
    return {key: value for key, value in found.items() if value != {}}


def _keep(path: Path, text: str) -> bool:
    kept = path.with_name(f"{path.name}.before")
    try:
        rewrite_durably(kept, text.encode(), path, has_copy=True)
    except OSError as trouble:
        if trouble.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise
        return False
    return True
