"""Commands for service profiles and their rules."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from sqlalchemy import func, select

from aaa.domain.profile import STALE_ACTIONS, WHEN_BLOCKED, WHEN_CROWDED
from aaa.domain.profile_rule import DIRECTIONS, EFFECTS, PERIODS, Rule, check_hours, check_quota
from aaa.domain.profile_terms import BOUNDS, FIELDS, REQUIRED
from aaa.set_profile_rule import remove_rule, set_rule
from aaa.set_up import define_profile, redefine_profile
from aaa.store import rule_rows
from aaa.store import tables as aaa
from appliance.commands.running import actor, fail, in_house, in_transaction, outcome_or_fail, say, show
from appliance.lookup import find
from appliance.wiring import House
from core.quantities import GB, format_rate
from core.refusal import Refusal

profiles = typer.Typer(help="Service profiles: the technical half of a plan.", no_args_is_help=True)
rules = typer.Typer(help="What a profile does by itself: hours of the week, quotas.", no_args_is_help=True)
profiles.add_typer(rules, name="rule")


def _number(field: str, words: str) -> Any:
    least, most = BOUNDS[field]
    return typer.Option(min=least, max=most, help=words)


Down = Annotated[int | None, _number("rate_down_bps", "Download rate in bit/s.")]
Up = Annotated[int | None, _number("rate_up_bps", "Upload rate in bit/s.")]
BurstDown = Annotated[int | None, _number("burst_down_bps", "Burst download rate in bit/s.")]
BurstUp = Annotated[int | None, _number("burst_up_bps", "Burst upload rate in bit/s.")]
BurstSeconds = Annotated[int | None, _number("burst_seconds", "How long a burst may last.")]
MinDown = Annotated[int | None, _number("min_down_bps", "Committed download rate in bit/s.")]
MinUp = Annotated[int | None, _number("min_up_bps", "Committed upload rate in bit/s.")]
Priority = Annotated[int | None, _number("priority", "1 (first) to 8.")]
ThrottleDown = Annotated[int | None, _number("throttle_down_bps", "Download when throttled, in bit/s.")]
ThrottleUp = Annotated[int | None, _number("throttle_up_bps", "Upload when throttled, in bit/s.")]
WalledDown = Annotated[int | None, _number("walled_down_bps", "Download in the walled garden, in bit/s.")]
WalledUp = Annotated[int | None, _number("walled_up_bps", "Upload in the walled garden, in bit/s.")]
Pool = Annotated[str | None, typer.Option(help="Address pool: of ours by its name, else on the NAS.")]
Ipv6Pool = Annotated[str | None, typer.Option(help="IPv6 pool of the link (Framed-IPv6-Pool).")]
DelegatedPool = Annotated[str | None, typer.Option(help="IPv6 pool of delegated prefixes.")]
Vlan = Annotated[int | None, _number("vlan", "The customer's VLAN.")]
OuterVlan = Annotated[int | None, _number("outer_vlan", "The outer VLAN (QinQ).")]
FilterId = Annotated[str | None, typer.Option(help="Filter (MikroTik: address list) of its sessions.")]
RouterGroup = Annotated[
    str | None, typer.Option(help="Profile on the router (Mikrotik-Group, ISG service, virtual router).")
]
Interim = Annotated[int | None, _number("interim_interval_s", "Interim interval in seconds.")]
SessionTimeout = Annotated[int | None, _number("session_timeout_s", "Seconds after which a session ends.")]
IdleTimeout = Annotated[int | None, _number("idle_timeout_s", "Seconds of silence that end a session.")]
WhenBlocked = Annotated[
    str | None, typer.Option(help=f"{' or '.join(WHEN_BLOCKED)}; else as radius.when_blocked says.")
]
StaleAfterH = Annotated[
    int | None, _number("stale_after_h", "Hours without the database after which --stale-action holds.")
]
StaleAction = Annotated[
    str | None, typer.Option(help=f"{', '.join(STALE_ACTIONS)}: what sign-ins get then; else they go on.")
]
Devices = Annotated[int | None, _number("devices", "How many devices may be online at once; else one.")]
WhenCrowded = Annotated[
    str | None, typer.Option(help=f"{', '.join(WHEN_CROWDED)} stays; else as radius.when_crowded says.")
]
_OPTION_OF = {
    **{field: field.removesuffix("_bps").removesuffix("_s") for field in FIELDS},
    "rate_down_bps": "down", "rate_up_bps": "up", "interim_interval_s": "interim",
}  # fmt: skip
"""What the option of each field is called."""


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The fields that were given, by their own names."""
    fields = {field: options[_OPTION_OF[field]] for field in FIELDS if field != "name"}
    return {field: value for field, value in fields.items() if value is not None}


@profiles.command("add")
def profile_add(
    name: str,
    down: Annotated[int, _number("rate_down_bps", "Download rate in bit/s.")],
    up: Annotated[int, _number("rate_up_bps", "Upload rate in bit/s.")],
    burst_down: BurstDown = None,
    burst_up: BurstUp = None,
    burst_seconds: BurstSeconds = None,
    min_down: MinDown = None,
    min_up: MinUp = None,
    priority: Priority = None,
    throttle_down: ThrottleDown = None,
    throttle_up: ThrottleUp = None,
    walled_down: WalledDown = None,
    walled_up: WalledUp = None,
    pool: Pool = None,
    ipv6_pool: Ipv6Pool = None,
    delegated_pool: DelegatedPool = None,
    vlan: Vlan = None,
    outer_vlan: OuterVlan = None,
    filter_id: FilterId = None,
    router_group: RouterGroup = None,
    interim: Interim = 300,
    session_timeout: SessionTimeout = None,
    idle_timeout: IdleTimeout = None,
    when_blocked: WhenBlocked = None,
    stale_after_h: StaleAfterH = None,
    stale_action: StaleAction = None,
    devices: Devices = None,
    when_crowded: WhenCrowded = None,
) -> None:
    """Define a service profile."""
    fields = _given(locals())

    profile_id = in_transaction(lambda work, _: define_profile(work, name=name, **fields))
    say(f"profile {name} ({format_rate(down)} down, {format_rate(up)} up): {profile_id}")


@profiles.command("change")
def profile_change(
    profile: Annotated[str, typer.Argument(help="Profile name or id.")],
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    down: Down = None,
    up: Up = None,
    burst_down: BurstDown = None,
    burst_up: BurstUp = None,
    burst_seconds: BurstSeconds = None,
    min_down: MinDown = None,
    min_up: MinUp = None,
    priority: Priority = None,
    throttle_down: ThrottleDown = None,
    throttle_up: ThrottleUp = None,
    walled_down: WalledDown = None,
    walled_up: WalledUp = None,
    pool: Pool = None,
    ipv6_pool: Ipv6Pool = None,
    delegated_pool: DelegatedPool = None,
    vlan: Vlan = None,
    outer_vlan: OuterVlan = None,
    filter_id: FilterId = None,
    router_group: RouterGroup = None,
    interim: Interim = None,
    session_timeout: SessionTimeout = None,
    idle_timeout: IdleTimeout = None,
    when_blocked: WhenBlocked = None,
    stale_after_h: StaleAfterH = None,
    stale_action: StaleAction = None,
    devices: Devices = None,
    when_crowded: WhenCrowded = None,
    clear: Annotated[
        list[str] | None, typer.Option(help="An option that is to have no value any more; repeatable.")
    ] = None,
) -> None:
    """Change a profile; its live sessions are moved."""
    fields = _given(locals()) | ({} if name is None else {"name": name})
    for option in clear or []:
        fields[_clearable(option)] = None
    if not fields:
        fail("nothing is to be changed; give an option, see --help", 2)

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            profile_id = await find(work.connection, "profile", profile)
            changed = outcome_or_fail(await redefine_profile(work, profile_id, **fields))
        say(f"profile {profile}: changed {', '.join(changed) or 'nothing, it was so already'}")

    in_house(body)


def _clearable(option: str) -> str:
    by_option = {_OPTION_OF[field].replace("_", "-"): field for field in FIELDS if field not in REQUIRED}
    asked = option.removeprefix("--").replace("_", "-")
    if asked not in by_option:
        fail(f"--clear {option!r}: use one of {', '.join(sorted(by_option))}", 2)
    return by_option[asked]


@profiles.command("list")
def profile_list() -> None:
    """All service profiles."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (
                await connection.execute(select(aaa.service_profile).order_by(aaa.service_profile.c.name))
            ).all()
        show(
            "Service profiles",
            ["name", "down", "up", "pool", "interim s", "id"],
            [
                [r.name, format_rate(r.rate_down_bps), format_rate(r.rate_up_bps), r.pool,
                 r.interim_interval_s, r.id]
                for r in rows
            ],
        )  # fmt: skip

    in_house(body)


@profiles.command("show")
def profile_show(
    profile: Annotated[str, typer.Argument(help="Profile name or id.")],
    output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Everything a profile says, its rules, and how many services have it."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            profile_id = await find(connection, "profile", profile)
            row = (
                await connection.execute(
                    select(aaa.service_profile).where(aaa.service_profile.c.id == profile_id)
                )
            ).one()
            counted = select(func.count()).where(
                aaa.service.c.profile_id == profile_id, aaa.service.c.lifecycle != "ended"
            )
            services = (await connection.execute(counted)).scalar_one()
            found = [rule_rows.as_rule(one) for one in await rule_rows.rule_rows(connection, profile_id)]
        fields = {field: getattr(row, field) for field in FIELDS}
        if output:
            spoken = [{"name": one.name, "effect": one.effect.value, "says": str(one)} for one in found]
            typer.echo(
                json.dumps({"id": profile_id, **fields, "services": services, "rules": spoken}, indent=2)
            )
            return
        say(f"{row.name} ({profile_id}), services: {services}")
        for field, value in fields.items():
            if value is not None and field != "name":
                say(f"  {field:20} {format_rate(value) if field.endswith('_bps') else value}")
        for one in found:
            say(f"  rule {one.name}: {one.effect.value.replace('_', ' ')} {one}")

    in_house(body)


Effect = Annotated[str, typer.Option(help=" or ".join(EFFECTS))]


@rules.command("hours")
def rule_hours(
    profile: Annotated[str, typer.Argument(help="Profile name or id.")],
    name: Annotated[str, typer.Argument(help="What to call the rule; the same name replaces it.")],
    begins: Annotated[str, typer.Option("--from", help="Local time, like 18:00.")],
    ends: Annotated[str, typer.Option("--until", help="Local time, like 23:00; earlier: on the next day.")],
    days: Annotated[str, typer.Option(help="mon-fri, or sat,sun, or daily.")] = "daily",
    effect: Effect = "throttle",
) -> None:
    """Throttle or wall the profile's services in hours of the week (ui.time_zone)."""
    _set_rule(profile, check_hours(name=name, effect=effect, days=days, begins=begins, ends=ends))


@rules.command("quota")
def rule_quota(
    profile: Annotated[str, typer.Argument(help="Profile name or id.")],
    name: Annotated[str, typer.Argument(help="What to call the rule; the same name replaces it.")],
    gb: Annotated[float, typer.Option(min=0.001, max=1_000_000, help="Size in GB (10^9 octets).")],
    period: Annotated[str, typer.Option(help=", ".join(PERIODS))] = "month",
    direction: Annotated[str, typer.Option(help=", ".join(DIRECTIONS))] = "sum",
    effect: Effect = "throttle",
) -> None:
    """Throttle or wall a service when it has used so much in a period."""
    octets = round(gb * GB)
    _set_rule(
        profile, check_quota(name=name, effect=effect, octets=octets, period=period, direction=direction)
    )


def _set_rule(profile: str, asked: Rule | Refusal) -> None:
    if isinstance(asked, Refusal):
        fail(f"refused: {asked}")
    rule = asked

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            profile_id = await find(work.connection, "profile", profile)
            outcome_or_fail(await set_rule(work, profile_id, rule))
        say(f"profile {profile}: rule {rule.name}, {rule.effect.value.replace('_', ' ')} {rule}")

    in_house(body)


@rules.command("remove")
def rule_remove(
    profile: Annotated[str, typer.Argument(help="Profile name or id.")],
    name: Annotated[str, typer.Argument(help="Name of the rule.")],
) -> None:
    """Take a rule away; what it holds is lifted within a minute."""

    async def body(house: House) -> None:
        async with house.workplace.work(actor()) as work:
            profile_id = await find(work.connection, "profile", profile)
            outcome_or_fail(await remove_rule(work, profile_id, name))
        say(f"profile {profile}: rule {name} taken away")

    in_house(body)


@rules.command("list")
def rule_list(profile: Annotated[str, typer.Argument(help="Profile name or id.")]) -> None:
    """The rules of a profile."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            profile_id = await find(connection, "profile", profile)
            found = [rule_rows.as_rule(one) for one in await rule_rows.rule_rows(connection, profile_id)]
        show("Rules", ["name", "effect", "when"], [[one.name, one.effect.value, str(one)] for one in found])

    in_house(body)
