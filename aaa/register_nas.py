"""Register the devices that send us RADIUS, and change them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aaa.domain import checks
from aaa.domain.certificate import check_radsec_identity
from aaa.domain.identity import MAC_FORMATS
from aaa.domain.line import IDENTITIES
from aaa.domain.mac_convention import CASES, MAC_PASSWORDS, MAC_PRESETS, NO_MACS
from aaa.store import repositories
from core.health import HealthIssue, close_issue, open_issue
from core.refusal import Refusal
from core.secrets import Sealer, Secret
from core.work import Work

NAS_FIELDS = (
    "name", "network", "secret", "dialect", "message_authenticator", "mac_preset", "mac_format", "mac_case",
    "mac_password", "mac_shared_password", "identity", "identifier", "site_id", "octets_reversed",
    "dynauth_port", "enabled", "radsec_identity", "admin_logins",
)  # fmt: skip

_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": lambda value: checks.check_text(value, "name", 80),
    "network": checks.check_network,
    "secret": lambda value: checks.check_secret(len(value.reveal())) or value,
    "dialect": lambda value: checks.check_choice(value, "dialect", tuple(checks.DIALECTS)),
    "message_authenticator": lambda value: checks.check_choice(
        value, "message_authenticator", checks.MESSAGE_AUTHENTICATOR
    ),
    "identity": lambda value: checks.check_choice(value, "identity", IDENTITIES),
    "mac_preset": lambda value: checks.check_choice(value, "mac_preset", tuple(MAC_PRESETS)),
    "mac_format": lambda value: checks.check_choice(value, "mac_format", (*MAC_FORMATS, NO_MACS)),
    "mac_case": lambda value: checks.check_choice(value, "mac_case", CASES),
    "mac_password": lambda value: checks.check_choice(value, "mac_password", MAC_PASSWORDS),
    "dynauth_port": lambda value: checks.check_port(value, "dynauth_port"),
    "radsec_identity": lambda value: check_radsec_identity(value) if value else None,
}


async def register_nas(
    work: Work,
    sealer: Sealer,
    *,
    name: str,
    network: str,
    secret: Secret,
    dialect: str = "mikrotik",
    message_authenticator: str = "auto",
    mac_preset: str = NO_MACS,
    mac_format: str | None = None,
    mac_case: str | None = None,
    mac_password: str | None = None,
    mac_shared_password: Secret | None = None,
    identity: str = "user_name",
    identifier: str | None = None,
    site_id: str | None = None,
    octets_reversed: bool = False,
    dynauth_port: int = 3799,
    radsec_identity: str | None = None,
    admin_logins: bool = False,
) -> str | Refusal:
    """Let a device send us RADIUS; returns its id. Networks may overlap (longest wins), not be equal.

    ``radsec_identity`` lets it come by RadSec too, from wherever it is: a name in its certificate, or
    ``sha256:`` and the certificate's fingerprint.

    ``identity`` says what tells who signs in (``aaa.domain.line``). MAC logins are let in only as
    ``mac_preset`` or the three fields say (``aaa.domain.mac_convention``).
    """
    await repositories.take_directory_lane(work.connection)
    given = {
        "name": name, "network": network, "secret": secret, "dialect": dialect,
        "message_authenticator": message_authenticator, "mac_preset": mac_preset, "identifier": identifier,
        "identity": identity,
        "site_id": site_id, "octets_reversed": octets_reversed, "dynauth_port": dynauth_port, "enabled": True,
        "radsec_identity": radsec_identity, "admin_logins": admin_logins,
    }  # fmt: skip
    chosen = {
        "mac_format": mac_format, "mac_case": mac_case, "mac_password": mac_password,
        "mac_shared_password": mac_shared_password,
    }  # fmt: skip
    given |= {field: value for field, value in chosen.items() if value is not None}
    nas_id = work.ids.new("nas")
    values = await _nas_values(work, sealer, nas_id, given)
    if isinstance(values, Refusal):
        return values
    row = {"id": nas_id, "signs_requests": False, "created_at": work.now} | values
    await repositories.insert_nas(work.connection, row)
    await repositories.append_directory_change(work.connection, "nas", nas_id, work.now)
    await watch_secret(work, nas_id, str(values["name"]), secret)
    await work.audit("nas.register", nas_id, name=values["name"], network=values["network"], dialect=dialect)
    return nas_id


async def change_nas(work: Work, sealer: Sealer, nas_id: str, **fields: Any) -> Refusal | None:
    """Change fields of a NAS (those of ``register_nas``, and ``enabled``)."""
    await repositories.take_directory_lane(work.connection)
    unknown = sorted(set(fields) - set(NAS_FIELDS))
    if unknown:
        return Refusal("nas.field", f"a NAS has no {unknown[0]}; it has {', '.join(NAS_FIELDS)}", unknown[0])
    row = await repositories.nas_row(work.connection, nas_id)
    if row is None:
        return Refusal("nas.unknown", f"there is no NAS {nas_id}; look it up by its name", "nas_id")
    values = await _nas_values(work, sealer, nas_id, fields, kept_shared=row.mac_password_sealed)
    if isinstance(values, Refusal):
        return values
    if values:
        await repositories.update_nas(work.connection, nas_id, values)
        await repositories.append_directory_change(work.connection, "nas", nas_id, work.now)
    if "secret" in fields:
        await watch_secret(work, nas_id, str(values.get("name", row.name)), fields["secret"])
    await work.audit("nas.change", nas_id, fields=sorted(fields))
    return None


async def _nas_values(
    work: Work, sealer: Sealer, nas_id: str, given: Mapping[str, Any], kept_shared: str | None = None
) -> dict[str, Any] | Refusal:
    """The columns of the given fields, checked in the order of ``NAS_FIELDS``."""
    values: dict[str, Any] = {}
    for field in (one for one in NAS_FIELDS if one in given):
        value = _CHECKS[field](given[field]) if field in _CHECKS else given[field]
        if isinstance(value, Refusal):
            return value
        values[field] = value
    if "secret" in values:
        values["secret_sealed"] = sealer.seal(values.pop("secret"), "nas.secret")
        values |= {"old_secret_sealed": None, "old_secret_until": None}  # a replacement, not a rotation
    lacking = _take_mac_fields(sealer, values, kept_shared)
    return lacking or await _check_nas_unique(work, nas_id, values) or values


def _take_mac_fields(sealer: Sealer, values: dict[str, Any], kept_shared: str | None) -> Refusal | None:
    """The preset as the columns it stands for, the shared password sealed."""
    if "mac_preset" in values:
        preset = MAC_PRESETS[values.pop("mac_preset")]
        for column, value in (
            ("mac_format", preset.spelling), ("mac_case", preset.case), ("mac_password", preset.password)
        ):  # fmt: skip
            values.setdefault(column, value)
    shared = values.pop("mac_shared_password", None)
    if shared is not None:
        values["mac_password_sealed"] = sealer.seal(shared, "nas.mac_password")
    if values.get("mac_password") == "shared" and shared is None and kept_shared is None:
        return Refusal(
            "mac_shared_password.none",
            "the devices of this NAS are to share a password for MAC logins; give that password too",
            "mac_shared_password",
        )
    return None


async def _check_nas_unique(work: Work, nas_id: str, values: Mapping[str, Any]) -> Refusal | None:
    if "name" in values:
        other = await repositories.nas_named(work.connection, values["name"])
        if other is not None and other.id != nas_id:
            return Refusal(
                "nas.name_taken", f"another NAS is called {values['name']}; choose another name", "name"
            )
    if "network" in values:
        other = await repositories.nas_at(work.connection, values["network"])
        if other is not None and other.id != nas_id:
            return Refusal(
                "nas.network_taken",
                f"{values['network']} already belongs to {other.name}; change that one or give another",
                "network",
            )
    if values.get("radsec_identity") is not None:
        other = await repositories.nas_with_radsec_identity(work.connection, values["radsec_identity"])
        if other is not None and other.id != nas_id:
            return Refusal(
                "nas.radsec_identity_taken",
                f"{other.name} has that RadSec identity already; change that one or give another",
                "radsec_identity",
            )
    return None


async def watch_secret(work: Work, nas_id: str, name: str, secret: Secret) -> None:
    """Tell the operator of a short secret, and no longer of one that was replaced."""
    key = f"aaa.weak_nas_secret:{nas_id}"
    if len(secret.reveal()) >= checks.STRONG_SECRET:
        await close_issue(work, key)
        return
    await open_issue(
        work,
        HealthIssue(
            key, "warning", f"the RADIUS secret of {name} is short",
            f"set one of at least {checks.STRONG_SECRET} random characters on the device and here",
        ),
    )  # fmt: skip
