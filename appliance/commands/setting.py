"""Commands about the settings file, and the restart that puts a change in force."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from appliance.commands.on_record import ANSWERS_WITHIN_S, put_on_record
from appliance.commands.running import config_path, fail, read_secret, say, settings

if TYPE_CHECKING:
    from appliance.settings import Settings
    from appliance.settings_file import Key

settings_group = typer.Typer(
    help="Every setting in force, as TOML; get, set and unset one.", invoke_without_command=True
)
_ON_DEBIAN = "systemctl restart hilltop.target"


@settings_group.callback()
def show_settings(context: typer.Context) -> None:
    """Every setting in force, as TOML; a password in database.url is not shown."""
    if context.invoked_subcommand is None:
        for name, section in _shown(settings()).items():
            _show_section(name, section)


def _shown(chosen: Settings) -> dict[str, Any]:
    from appliance.trouble import shown_url

    shown = chosen.model_dump(mode="json")
    if chosen.database.url:
        shown["database"]["url"] = shown_url(chosen)
    return shown


def _show_section(name: str, section: dict[str, Any]) -> None:
    say(f"[{name}]")
    for key, value in section.items():
        if value is None:
            say(f"# {key} is not set")
        elif not isinstance(value, dict):
            say(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    say("")
    for key, value in section.items():
        if isinstance(value, dict):
            _show_section(f"{name}.{key}", value)


@settings_group.command("get")
def get(key: Annotated[str, typer.Argument(help="Like ui.provider_name.")]) -> None:
    """The value of one setting: text as it is, a list as TOML; nothing where it is not set."""
    from appliance.settings_file import EditError, find_key

    try:
        name = find_key(key).name
    except EditError as refused:
        fail(f"refused: {refused}")
    value: Any = _shown(settings())
    for part in name.split("."):
        value = value[part]
    if value is not None:
        say(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@settings_group.command("set")
def set_(
    words: Annotated[
        list[str], typer.Argument(metavar="KEY VALUE...", help="A key like ui.provider_name and its value.")
    ],
    value_file: Annotated[
        Path | None,
        typer.Option(help="The value from a file (-: standard input), for one with a password."),
    ] = None,
) -> None:
    """Change one setting, or several that belong together (KEY VALUE KEY VALUE).

    A list is written like '["0.0.0.0:1812", "[::]:1812"]'; one value alone is a list of one.
    """
    from appliance.settings_file import EditError, check_place, find_key, holds_password, read_value

    pairs = _pairs(words, value_file)
    wanted: dict[str, Any] = {}
    try:
        keys = [find_key(name) for name, _ in pairs]
        for key, (_, text) in zip(keys, pairs, strict=True):
            if text is None:
                given = read_secret(key.name, value_file, again=False).reveal()
            elif holds_password(key, text):
                fail(f"refused: {key.name}: a password is in it; give it by: --value-file - (or a file)", 2)
            else:
                given = text
            check_place(key, _said())
            if key.name in wanted:
                fail(f"{key.name} is given twice; once is enough", 2)
            wanted[key.name] = read_value(key, given)
    except EditError as refused:
        fail(f"refused: {refused}; nothing was changed")
    if wanted.get("database.url"):
        _must_answer(wanted["database.url"])
    _change(keys, wanted)


@settings_group.command("unset")
def unset(
    names: Annotated[list[str], typer.Argument(metavar="KEY...", help="Like ui.provider_name.")],
) -> None:
    """Back to the default; a key that is unknown is taken out of the file."""
    from appliance.settings_file import EditError, Key, all_keys, check_place, find_key, is_in_file

    said, known = _said(), all_keys()
    keys = []
    try:
        for name in names:
            is_section = any(key.startswith(f"{name}.") for key in known)
            if name in known or is_section or not is_in_file(said, name):
                keys.append(find_key(name))
                check_place(keys[-1], said)
            else:
                keys.append(Key(name, (), None))
    except EditError as refused:
        fail(f"refused: {refused}; nothing was changed")
    _change(keys, {key.name: None for key in keys})


def _pairs(words: list[str], value_file: Path | None) -> list[tuple[str, str | None]]:
    if value_file is not None:
        if len(words) != 1:
            fail("with --value-file give one KEY and no VALUE", 2)
        return [(words[0], None)]
    if len(words) % 2:
        many = f"; is {words[2]!r} part of the value? Then put quotes around it" if len(words) > 2 else ""
        fail(f"{words[-1] if not many else words[0]}: give a VALUE after each KEY{many}", 2)
    return list(zip(words[::2], words[1::2], strict=True))


def _said() -> dict[str, Any]:
    from appliance.settings import SettingsError, read_settings

    try:
        return read_settings(config_path())[1]
    except SettingsError as trouble:
        fail(str(trouble), 2)


def _must_answer(url: str) -> None:
    """A PostgreSQL that cannot be reached would leave nobody to sign in with, at the console neither."""
    from appliance.settings import DatabaseSettings, Settings
    from appliance.trouble import in_words
    from core.database import Database

    if not url.startswith("postgresql"):
        return

    async def look() -> None:
        database = Database(url)
        try:
            async with asyncio.timeout(ANSWERS_WITHIN_S), database.read():
                pass
        finally:
            await database.close()

    try:
        asyncio.run(look())
    except Exception as trouble:  # noqa: BLE001 - whatever it is, this database cannot be used
        chosen = Settings(database=DatabaseSettings(url=url))
        words = None if isinstance(trouble, TimeoutError) else in_words(trouble, chosen)
        said = words or f"it does not answer ({type(trouble).__name__}); look at its address and options"
        fail(f"refused: database.url: {said}; nothing was changed")


def _change(keys: list[Key], wanted: Mapping[str, Any]) -> None:
    from appliance.settings import SettingsError, load_settings
    from appliance.settings_file import EditError, change_settings

    path = config_path()
    try:
        in_force: Settings | None = load_settings(path)
    except SettingsError:
        in_force = None  # this may be what puts it right
    try:
        change = change_settings(path, wanted)
    except EditError as refused:
        fail(f"refused: {refused}; nothing was changed")
    except SettingsError as trouble:
        fail(str(trouble), 2)
    except OSError as trouble:
        _cannot_be_written(path, trouble)
    if change is None:
        say("it is so already; nothing was changed")
        return
    for key in keys:
        say(_in_words(key, wanted[key.name]))
    say(f"wrote {path}" + (f"; as it was before: {path.name}.before" if change.has_backup else ""))
    for fault in change.left:
        say(f"still wrong: {fault}")
    detail = {"keys": list(wanted), "before": change.before, "after": change.after}
    put_on_record(in_force, "settings.changed", "settings", detail)
    if not change.left:
        say(f"The services take it over by: {_restart_words()}")
        if any(key.name.startswith("radius.") for key in keys):
            say("RADIUS alone, without losing a request: hilltop radius reload")


def _in_words(key: Key, value: Any) -> str:
    from appliance.settings_file import SECRET

    if not key.kinds:
        return f"{key.name}: taken out"
    if value is None:
        default = "not set" if key.default is None else f"the default, {json.dumps(key.default)}"
        return f"{key.name}: {default}"
    shown = "as given" if key.name in SECRET else f"= {json.dumps(value, ensure_ascii=False)}"
    return f"{key.name} {shown}"


def _cannot_be_written(path: Path, trouble: OSError) -> NoReturn:
    fail(
        f"{trouble.filename or path}: {trouble.strerror}; nothing was changed; "
        "run as root, or as the user who owns it and its folder, and look at the disk"
    )


def _restart_words() -> str:
    from appliance.settings_file import is_appliance

    return "hilltop restart" if is_appliance(_said()) else _ON_DEBIAN


def restart() -> None:
    """Restart Hilltop's services, so that changed settings are in force; RADIUS pauses for seconds."""
    from appliance.console.asks import AskError, ask_and_wait
    from appliance.console.places import find_places

    chosen = settings()
    places = find_places(config_path())
    if places.asks is None:
        fail(f"on this machine it is done by: {_ON_DEBIAN}")
    put_on_record(chosen, "services.restart", "settings", {})
    try:
        ask_and_wait(places, "restart-services")
    except AskError as trouble:
        fail(str(trouble))
    say("The services restart; RADIUS answers again in some seconds. See: hilltop status")
