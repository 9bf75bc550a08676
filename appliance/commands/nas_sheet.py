"""What stands of a NAS, as people and scripts read it; its secrets are not among it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from sqlalchemy import Select, select
from sqlalchemy.engine import Row

from aaa.store import tables as aaa
from appliance.commands.running import in_house, say, show
from appliance.lookup import find
from appliance.wiring import House
from provisioning.store import tables as provisioning

AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
_COLUMNS = tuple(one for one in aaa.nas.c if not one.name.endswith("_sealed"))
_WORDS = {
    "network": "sends from", "site": "tower", "message_authenticator": "Message-Authenticator",
    "signs_requests": "signs requests", "identity": "who signs in", "mac_format": "MAC spelling",
    "mac_case": "MAC case", "mac_password": "MAC password", "octets_reversed": "octets reversed",
    "dynauth_port": "CoA port", "radsec_identity": "RadSec identity", "created_at": "since",
    "old_secret_until": "old secret until", "admin_logins": "operators' logins",
}  # fmt: skip


def _nases() -> Select[Any]:
    site = provisioning.site
    return (
        select(*_COLUMNS, site.c.name.label("site"))
        .join_from(aaa.nas, site, site.c.id == aaa.nas.c.site_id, isouter=True)
        .order_by(aaa.nas.c.name)
    )


def _fields(row: Row[Any]) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name != "site_id"}


def nas_list(output: AsJson = False) -> None:
    """All NASes."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            rows = (await connection.execute(_nases())).all()
        if output:
            typer.echo(json.dumps([_fields(one) for one in rows], indent=2, default=str))
            return
        show(
            "NASes",
            ["name", "network", "tower", "dialect", "signs requests", "MAC logins", "CoA port", "enabled",
             "id"],
            [
                [one.name, one.network, one.site, one.dialect, one.signs_requests, _macs(one),
                 one.dynauth_port, one.enabled, one.id]
                for one in rows
            ],
        )  # fmt: skip

    in_house(body)


def _macs(row: Row[Any]) -> str:
    return "no" if row.mac_format == "none" else f"{row.mac_format}, {row.mac_password}"


def nas_show(
    nas: Annotated[str, typer.Argument(help="NAS name or id.")],
    output: AsJson = False,
) -> None:
    """Everything that is said of a NAS but its secrets."""

    async def body(house: House) -> None:
        async with house.workplace.reading() as connection:
            nas_id = await find(connection, "nas", nas)
            row = (await connection.execute(_nases().where(aaa.nas.c.id == nas_id))).one()
        fields = _fields(row)
        if output:
            typer.echo(json.dumps(fields, indent=2, default=str))
            return
        say(f"{row.name} ({nas_id})")
        for name, value in fields.items():
            if value is not None and name not in {"id", "name"}:
                shown = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
                say(f"  {_WORDS.get(name, name):21} {shown}")

    in_house(body)
