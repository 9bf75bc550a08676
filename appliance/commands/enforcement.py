"""Commands for holds on services and for making towers match."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import select

from aaa.domain.effect import Effect
from aaa.domain.entitlement import Holder
from aaa.place_hold import lift_hold, place_hold
from aaa.store import tables as aaa
from appliance.commands.running import Limit, actor, fail, in_house, outcome_or_fail, say, show
from appliance.lookup import find
from appliance.wiring import House
from provisioning.request_enforcement import request_enforcement
from provisioning.store import tables as provisioning

holds = typer.Typer(help="Holds on services.", no_args_is_help=True)
enforcement = typer.Typer(help="Making towers match entitlements.", no_args_is_help=True)
_RULED = (Holder.DUNNING, Holder.QUOTA, Holder.CAP, Holder.SCHEDULE)
_OURS = tuple(str(holder) for holder in Holder if holder not in _RULED)


def _check_holder(holder: str) -> None:
    if holder not in _OURS:
        fail(
            f"--holder {holder!r}: use one of {', '.join(_OURS)}; dunning's own holds follow payments, "
            "those of quota and schedule the rules of the profile, that of cap the usage terms of the plan",
            2,
        )


@holds.command("place")
def hold_place(
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")],
    reason: Annotated[str, typer.Argument(help="Why; the subscriber and the audit ask.")],
    effect: Annotated[str, typer.Option(help="throttle, walled_garden or block")] = "walled_garden",
    holder: Annotated[str, typer.Option(help=", ".join(_OURS))] = "operator",
) -> None:
    """Place a hold on a service; paying does not lift it."""
    if effect not in {"throttle", "walled_garden", "block"}:
        fail(f"--effect {effect!r}: use throttle, walled_garden or block", 2)
    _check_holder(holder)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            service_id = await find(work.connection, "service", service)
            generation = outcome_or_fail(
                await place_hold(
                    work, service_id=service_id, holder=holder, effect=Effect(effect), reason=reason
                )
            )
        say(f"{service}: hold of {holder} ({effect}), entitlement generation {generation}")

    in_house(body)


@holds.command("lift")
def hold_lift(
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")],
    holder: Annotated[str, typer.Option(help=", ".join(_OURS))] = "operator",
    reason: Annotated[str, typer.Option(help="For the audit trail.")] = "",
) -> None:
    """Lift a holder's hold from a service, and no other's."""
    _check_holder(holder)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            service_id = await find(work.connection, "service", service)
            generation = outcome_or_fail(
                await lift_hold(work, service_id=service_id, holder=holder, reason=reason)
            )
        say(f"{service}: hold of {holder} lifted, entitlement generation {generation}")

    in_house(body)


@enforcement.command("list")
def enforcement_list(limit: Limit = 30) -> None:
    """Enforcement tasks, newest first."""

    async def body(house: House) -> None:
        task = provisioning.task
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(select(task).order_by(task.c.created_at.desc()).limit(limit))
            ).all()
        show(
            "Enforcement tasks",
            ["created", "service", "effect", "generation", "status", "attempts", "verified", "last error"],
            [
                [
                    r.created_at,
                    r.service_id,
                    r.effect,
                    r.generation,
                    r.status,
                    r.attempts,
                    r.verified_at,
                    r.last_error,
                ]
                for r in rows
            ],
        )

    in_house(body)


@enforcement.command("preview")
def enforcement_preview(
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")],
    effect: Annotated[str, typer.Option(help="none, throttle, walled_garden, block")] = "walled_garden",
) -> None:
    """The exact device commands that an effect would need; no device is touched."""
    from provisioning.preview import preview_enforcement

    if effect not in set(Effect):
        fail(f"--effect {effect!r}: use one of {', '.join(Effect)}", 2)

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            service_id = await find(connection, "service", service)
            changes = await preview_enforcement(connection, [service_id], Effect(effect))
        for change in changes:
            say(f"{change.device_name}:")
            for line in change.commands or ["(nothing: the service has no address now)"]:
                say(f"  {line}")
        if not changes:
            say(f"no device enforces {service}; its live sessions are moved by RADIUS")

    in_house(body)


@enforcement.command("approve")
def enforcement_approve(
    site: Annotated[
        str | None, typer.Argument(help="Site name or id; none: services without a device.")
    ] = None,
) -> None:
    """Let tasks go that the blast-radius guard parked on a site."""
    from provisioning.set_up import approve_parked

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            site_id = None if site is None else await find(work.connection, "site", site)
            count = await approve_parked(work, site_id)
        say(f"{count} tasks approved on {site or 'services without a device'}")

    in_house(body)


@enforcement.command("drift")
def enforcement_drift() -> None:
    """Read every device back now and repair what differs."""
    from appliance.roles import make_enforcer

    async def body(house: House) -> None:
        say(f"{await make_enforcer(house, 'cli').check_drift()} differences found")

    in_house(body)


@enforcement.command("leave")
def enforcement_leave(
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")],
    device: Annotated[str, typer.Argument(help="Device that enforces it no more.")],
    device_is_gone: Annotated[
        bool, typer.Option("--device-is-gone", help="It will never answer again: do not clean it up.")
    ] = False,
) -> None:
    """Take a service off a device: our entries leave the device first."""
    from provisioning.set_up import remove_enforcement_point

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            task = outcome_or_fail(
                await remove_enforcement_point(
                    work,
                    service_id=await find(work.connection, "service", service),
                    device_id=await find(work.connection, "device", device),
                    device_is_gone=device_is_gone,
                )
            )
        say(
            f"{service} has left {device}"
            if task is None
            else f"{service} leaves {device} when {task} is done"
        )

    in_house(body)


@enforcement.command("again")
def enforcement_again(
    service: Annotated[str, typer.Argument(help="Service label, id or user name.")],
) -> None:
    """Make a service's entitlement true once more, even where it was proven."""
    from aaa.entitlements import entitlement_of

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            service_id = await find(work.connection, "service", service)
            stands = await entitlement_of(work.connection, service_id)
            if stands is None:
                fail(f"{service} has no entitlement; look at it with: hilltop radius explain {service}")
            tasks = await request_enforcement(
                work, service_id=service_id, generation=stands.generation, effect=stands.effect,
                cause=f"asked for by {work.actor}", again=True,
            )  # fmt: skip
        say(f"{service}: {stands.effect}, generation {stands.generation}, {len(tasks)} tasks")

    in_house(body)


@holds.command("list")
def hold_list(limit: Limit = 50) -> None:
    """Standing holds, newest first."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(
                    select(aaa.hold, aaa.service.c.label)
                    .join(aaa.service, aaa.service.c.id == aaa.hold.c.service_id)
                    .where(aaa.hold.c.lifted_at.is_(None))
                    .order_by(aaa.hold.c.placed_at.desc())
                    .limit(limit)
                )
            ).all()
        show(
            "Holds",
            ["service", "holder", "effect", "since", "by", "reason"],
            [[r.label, r.holder, r.effect, r.placed_at, r.placed_by, r.reason] for r in rows],
        )

    in_house(body)
