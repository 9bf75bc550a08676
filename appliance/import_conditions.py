"""The columns of an import that say what a service's sign-ins have to fulfil: CPEs, NAS and port, devices."""

from __future__ import annotations

from collections.abc import Mapping

from aaa.set_up import NewCredential, bind_cpe, bind_port, limit_devices, set_binding
from appliance.lookup import find
from core.refusal import Refusal, Refused
from core.work import Work

CONDITION_COLUMNS = ("cpe_binding", "cpe_macs", "bound_nas", "bound_port", "devices", "when_crowded")


async def set_conditions(
    work: Work, service_id: str, credentials: list[NewCredential], row: Mapping[str, str]
) -> None:
    """Bind the line's own login (its PPPoE user, else its line) and limit its devices. Raises ``Refused``."""
    if row.get("devices") or row.get("when_crowded"):
        limited = await limit_devices(
            work, service_id, devices=_devices(row), when_crowded=row.get("when_crowded") or None
        )
        _must(limited, "devices")
    if not any(row.get(column) for column in CONDITION_COLUMNS[:4]):
        return
    username = _login(credentials)
    if row.get("cpe_binding"):
        _must(await set_binding(work, username, row["cpe_binding"]), "cpe_binding")
    for mac in filter(None, (one.strip() for one in row.get("cpe_macs", "").split(";"))):
        _must(await bind_cpe(work, username, mac), "cpe_macs")
    if row.get("bound_nas") or row.get("bound_port"):
        nas_id = await find(work.connection, "nas", row["bound_nas"]) if row.get("bound_nas") else None
        bound = await bind_port(work, username, nas_id=nas_id, port=row.get("bound_port") or None)
        _must(bound, "bound_port")


def _devices(row: Mapping[str, str]) -> int | None:
    text = row.get("devices", "")
    if text and not (text.isascii() and text.isdecimal()):
        raise Refused(
            Refusal("bad_number", f"{text!r} is not a number of devices; write 1 or more", "devices")
        )
    return int(text) if text else None


def _login(credentials: list[NewCredential]) -> str:
    for one in credentials:
        if one.kind in {"pppoe", "circuit"}:
            return one.username.strip()
    raise Refused(
        Refusal(
            "no_login", "only a PPPoE user or a line is bound; give one beside these columns", "cpe_binding"
        )
    )


def _must(outcome: Refusal | None, column: str) -> None:
    """A refusal is about the column, whatever the use case calls it."""
    if isinstance(outcome, Refusal):
        raise Refused(Refusal(outcome.code, outcome.message, column))
