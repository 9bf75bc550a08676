"""Playing the story from beginning to end, and leaving the panel up for a look around."""

from __future__ import annotations

import asyncio
import logging
import signal
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from appliance.settings import load_settings
from appliance.story import chapters, panel_tour
from appliance.story.timeline import StepFailed, StoryEnds, Timeline
from appliance.story.world import ZONE, World, build_world, leave
from appliance.wiring import open_house
from core.clock import LabClock

BEGINNING = datetime(2026, 3, 12, 9, 0, tzinfo=ZONE)


@dataclass(frozen=True, slots=True)
class Telling:
    """How the story is told. ``database_url`` empty: embedded SQLite; ``panel_port`` 0: any free port."""

    once: bool = True
    folder: Path | None = None
    database_url: str = ""
    panel_port: int = 0
    simulated_only: bool = False


async def play(telling: Telling) -> int:
    """Play the story; the exit code is 0 only if every step passed. Without ``once`` the panel stays up."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # towers that hang up are part of the story
    async with AsyncExitStack() as stack:
        folder = telling.folder
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hilltop-story-")))
        folder.mkdir(parents=True, exist_ok=True)
        clock = LabClock.create(folder / "clock", BEGINNING)
        timeline = Timeline(clock)
        world = await build_world(
            timeline, clock, folder, telling.panel_port, simulated_only=telling.simulated_only
        )
        stack.push_async_callback(leave, world)
        world.appliance.write_settings(folder / "clock", telling.database_url)
        stack.push_async_callback(world.appliance.stop)
        world.house = await stack.enter_async_context(
            open_house(load_settings(world.appliance.config), may_make_key=True)
        )
        passed = await _tell(world)
        if not telling.once:
            await _stay(world)
        return 0 if passed else 1


async def _tell(world: World) -> bool:
    line = world.timeline
    line.console.print("[bold]Hilltop: one subscriber's month[/]")
    line.note("the clock is the lab's and moves; every protocol is real")
    try:
        await world.appliance.command("init --operator owner", quiet=True)
        await world.appliance.start()
        await chapters.set_up(world)
        session = await chapters.connect(world)
        session = await chapters.use(world, session)
        await chapters.bill(world)
        await chapters.fall_late(world, session)
        await chapters.suspend(world, session)
        await chapters.pay(world, session)
        await panel_tour.look(world)
    except StoryEnds as last:
        line.note(f"the story cannot go on without: {last}")
    except StepFailed as reason:
        line.failures.append(str(reason))
    except Exception as trouble:  # noqa: BLE001 - the story must end with its verdict, whatever happened
        line.failures.append(f"{type(trouble).__name__}: {trouble}")
    if line.failures:
        line.console.print("[dim]the appliance's log ends:[/]")
        line.console.print(world.appliance.log()[-3000:], markup=False)
    return line.summary()


async def _stay(world: World) -> None:
    said = await world.appliance.command("operator add you --role owner", quiet=True)
    password = said.rsplit(" ", 1)[-1]
    console = world.timeline.console
    console.print()
    console.print(f"The panel is up: [bold]http://127.0.0.1:{world.appliance.ports.panel}/[/]")
    console.print(f"Sign in as [bold]you[/], one-time password [bold]{password}[/]. Ctrl-C ends it all.")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
