"""Commands for the operator's own reply lines, and for looking at what a reply would carry."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from aaa.domain.effect import Effect
from aaa.live_scope import LiveScope, count_live_sessions
from aaa.set_reply_template import set_reply_template
from aaa.store import tables as aaa
from appliance.commands.running import actor, fail, in_house, outcome_or_fail, say, show
from appliance.lookup import find
from appliance.wiring import House
from ui.ports import ReapplyQuestion

templates = typer.Typer(help="Your own lines over what RADIUS replies carry.", no_args_is_help=True)

Profile = Annotated[str | None, typer.Option(help="For this profile alone (name or id).")]
Nas = Annotated[str | None, typer.Option(help="For this NAS alone (name or id).")]
Dialect = Annotated[str | None, typer.Option(help="For NASes of this dialect alone.")]
_LARGEST = 64 * 1024


async def _scope(
    connection: AsyncConnection, profile: str | None, nas: str | None, dialect: str | None
) -> dict[str, str | None]:
    return {
        "profile_id": None if profile is None else await find(connection, "profile", profile),
        "nas_id": None if nas is None else await find(connection, "nas", nas),
        "dialect": dialect,
    }


def _words(profile: str | None, nas: str | None, dialect: str | None) -> str:
    named = [("profile", profile), ("NAS", nas), ("dialect", dialect)]
    return ", ".join(f"{kind} {name}" for kind, name in named if name) or "every reply"


@templates.command("set")
def template_set(
    file: Annotated[Path, typer.Argument(help="File with the lines (-: standard input).")],
    profile: Profile = None,
    nas: Nas = None,
    dialect: Dialect = None,
) -> None:
    """Put the lines of FILE in place of what stands for that scope; RADIUS sends them within a second."""
    try:
        octets = sys.stdin.buffer.read(_LARGEST) if str(file) == "-" else file.read_bytes()[:_LARGEST]
        lines = octets.decode()
    except OSError as trouble:
        fail(f"{file}: {trouble.strerror}", 2)
    except UnicodeDecodeError:
        fail(f"{file}: this is not UTF-8 text", 2)
    if not lines.strip():
        fail(f"{file}: it has no line; to take a template away: hilltop template remove", 2)
    _set(lines, profile, nas, dialect)
    say(f"template for {_words(profile, nas, dialect)}: saved")
    _tell_of_live_sessions(profile, nas, dialect)


@templates.command("remove")
def template_remove(profile: Profile = None, nas: Nas = None, dialect: Dialect = None) -> None:
    """Take the template of that scope away."""
    _set("", profile, nas, dialect)
    say(f"template for {_words(profile, nas, dialect)}: taken away")
    _tell_of_live_sessions(profile, nas, dialect)


def _tell_of_live_sessions(profile: str | None, nas: str | None, dialect: str | None) -> None:
    async def body(house: House) -> int:
        async with house.workplace.reading() as connection:
            scope = LiveScope(**await _scope(connection, profile, nas, dialect))
            return await count_live_sessions(connection, scope)

    online: int = in_house(body)
    if online:
        given = [("--profile", profile), ("--nas", nas), ("--dialect", dialect)]
        options = " ".join(f"{name} {shlex.quote(value)}" for name, value in given if value)
        say(
            f"{online} online keep what they were told until they dial again; to tell them now: "
            f"hilltop template apply {options or '--everywhere'}"
        )


@templates.command("apply")
def template_apply(
    profile: Profile = None,
    nas: Nas = None,
    dialect: Dialect = None,
    everywhere: Annotated[bool, typer.Option("--everywhere", help="Every live session.")] = False,
    output: Annotated[bool, typer.Option("--json", help="As JSON, one session a line.")] = False,
) -> None:
    """Tell live sessions of that scope what stands now, by CoA; nobody is disconnected.

    Exit 1 when a NAS refused, was silent, or could not be told.
    """
    from appliance.panel_acts import panel_acts

    if everywhere == any((profile, nas, dialect)):
        fail("give --profile, --nas or --dialect, or --everywhere alone", 2)

    async def body(house: House) -> Counter[str]:
        async with house.workplace.reading() as connection:
            scope = LiveScope(**await _scope(connection, profile, nas, dialect))
        act = panel_acts(house.sealer, house.settings.radius).reapply_sessions
        counts: Counter[str] = Counter()
        after: str | None = ""
        while after is not None:
            page = await act(house.workplace, ReapplyQuestion(scope, actor(), after))
            after = page.next_after
            for one in page.sessions:
                counts[one.outcome] += 1
                if output:
                    typer.echo(json.dumps(asdict(one)))
                elif one.outcome != "moved":
                    say(f"{one.username} on {one.nas}, {one.session_id}: {one.outcome}: {one.detail}")
        return counts

    counts = in_house(body)
    if not output:
        say(
            ", ".join(f"{count} {word.replace('_', ' ')}" for word, count in sorted(counts.items()))
            or "nobody online"
        )
    if set(counts) - {"moved", "nothing_live"}:
        raise typer.Exit(1)


def _set(lines: str, profile: str | None, nas: str | None, dialect: str | None) -> None:
    from radius.explaining.preview import template_refusal

    async def body(house: House) -> None:
        files = house.settings.radius.dictionary_files
        async with house.workplace.work(actor()) as work:
            scope = await _scope(work.connection, profile, nas, dialect)
            outcome_or_fail(
                await set_reply_template(
                    work, lambda text: template_refusal(text, files), lines=lines, **scope
                )
            )

    in_house(body)


@templates.command("show")
def template_show(profile: Profile = None, nas: Nas = None, dialect: Dialect = None) -> None:
    """The lines that stand for that scope."""
    from aaa.domain.reply_template import scope_of

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            scope = scope_of(**await _scope(connection, profile, nas, dialect))
            statement = select(aaa.reply_template.c.lines).where(aaa.reply_template.c.scope == scope)
            lines = (await connection.execute(statement)).scalar_one_or_none()
        if lines is None:
            fail(f"there is no template for {_words(profile, nas, dialect)}; see: hilltop template list")
        say(lines)

    in_house(body)


@templates.command("list")
def template_list() -> None:
    """All templates, in the order in which they are applied: the last has the last word."""
    from aaa.directory import Directory

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            found = sorted(await Directory.templates_of(connection), key=lambda one: (one.rank, one.scope))
            names: dict[str, str] = {}
            for table in (aaa.service_profile, aaa.nas):
                rows = await connection.execute(select(table.c.id, table.c.name))
                names |= {row.id: row.name for row in rows}
        show(
            "Reply templates",
            ["profile", "NAS", "dialect", "lines"],
            [
                [names.get(one.profile_id or "", "any"), names.get(one.nas_id or "", "any"),
                 one.dialect or "any", len(one.lines.splitlines())]
                for one in found
            ],
        )  # fmt: skip

    in_house(body)


@templates.command("placeholders")
def template_placeholders() -> None:
    """What may stand in braces in a value."""
    from radius.reply.template import PLACEHOLDERS

    show(
        "Placeholders", ["in a value", "is"], [[f"{{{name}}}", words] for name, words in PLACEHOLDERS.items()]
    )


def preview_reply(
    nas: Annotated[str, typer.Option(help="The NAS that would get the reply (name or id).")],
    profile: Annotated[str | None, typer.Option(help="Of this profile (name or id).")] = None,
    service: Annotated[str | None, typer.Option(help="Of this service (label, id or user name).")] = None,
    effect: Annotated[
        str | None, typer.Option(help="none, throttle, walled_garden or block; else the service's own.")
    ] = None,
    output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Exactly what an Accept and a CoA would carry: names, values, octets, and where each comes from."""
    from radius.explaining.preview import PreviewQuestion, format_preview, preview

    if (profile is None) == (service is None):
        fail("give --profile or --service, one of them", 2)
    if effect is not None and effect not in [one.value for one in Effect]:
        fail(f"--effect {effect!r}: use one of {', '.join(one.value for one in Effect)}", 2)

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            question = PreviewQuestion(
                nas_id=await find(connection, "nas", nas),
                service_id=None if service is None else await find(connection, "service", service),
                profile_id=None if profile is None else await find(connection, "profile", profile),
                effect=None if effect is None else Effect(effect),
            )
            radius = house.settings.radius
            found = outcome_or_fail(
                await preview(connection, house.sealer, question, radius.policy, radius.dictionary_files)
            )
        typer.echo(json.dumps(asdict(found), indent=2) if output else format_preview(found))

    in_house(body)
