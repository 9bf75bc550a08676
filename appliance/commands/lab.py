"""The lab: simulated towers for evaluation, and the story of one month."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

lab = typer.Typer(help="Simulated towers, and the story of a subscriber's month.", no_args_is_help=True)


@lab.command("serve")
def serve() -> None:
    """Run simulated towers until interrupted and say how to register them."""
    from lab.config import LabSettings
    from lab.service import run_lab
    from provisioning.drivers.linux_nftables import bootstrap_ruleset

    asyncio.run(
        run_lab(
            LabSettings(),
            asyncio.Event(),
            linux_ruleset=lambda tower: bootstrap_ruleset([tower.portal_address], tower.uplink_interface),
        )
    )


@lab.command("gateway")
def gateway(
    panel_url: Annotated[str, typer.Option(help="Where the panel listens.")] = "http://127.0.0.1:8080",
    port: Annotated[int, typer.Option(help="Port of the first; the second takes the next.")] = 8450,
) -> None:
    """Run gateways that speak like Stripe and Authorize.net, with test cards, until interrupted."""
    from lab.gateway_service import run_gateways

    asyncio.run(run_gateways(asyncio.Event(), panel_url=panel_url, port=port))


@lab.command("story")
def story(
    once: Annotated[
        bool, typer.Option("--once", help="Exit after the story; 0 only if every step passed.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Where the story keeps its appliance; else a temporary folder.")
    ] = None,
    database_url: Annotated[str, typer.Option(help="PostgreSQL URL; else embedded SQLite.")] = "",
    panel_port: Annotated[int, typer.Option(help="Port of the panel; 0: any free one.")] = 8080,
    simulated_only: Annotated[
        bool, typer.Option("--simulated-only", help="Without the real tower in network namespaces.")
    ] = False,
) -> None:
    """Play one subscriber's month against real protocols, with a moving clock, in about a minute."""
    from appliance.story.play import Telling, play

    telling = Telling(
        once=once,
        folder=folder,
        database_url=database_url,
        panel_port=panel_port,
        simulated_only=simulated_only,
    )
    raise typer.Exit(asyncio.run(play(telling)))
