"""Settings: one TOML file, checked to the last key before anything starts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from aaa.config import AaaSettings
from appliance.whereabouts import USUAL_RUNTIME, USUAL_STATE
from billing.config import BillingSettings
from core.bounds import Seconds
from provisioning.config import ProvisioningSettings
from radius.config import RadiusSettings
from snmp.config import SnmpSettings
from ui.config import UiSettings


class SettingsError(Exception):
    """The settings cannot be used; the message names file, key and remedy."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class StateSettings(_Section):
    """Where Hilltop keeps what must survive; ``runtime`` begins anew at each boot."""

    directory: Path = USUAL_STATE
    runtime: Path = USUAL_RUNTIME

    @field_validator("directory", "runtime")
    @classmethod
    def _absolute(cls, given: Path) -> Path:
        if not given.is_absolute():
            raise ValueError(f"{given} depends on where Hilltop is started; write the whole path, from /")
        return given


class DatabaseSettings(_Section):
    """``url`` empty: the embedded database inside the state directory."""

    url: str = ""

    @field_validator("url")
    @classmethod
    def _a_database(cls, given: str) -> str:
        if given:
            from core.database import normalise_url  # only who names a database waits for its library here

            normalise_url(given)
        return given


class ClockSettings(_Section):
    """``system``, or ``lab:/path`` for the moving clock of the lab."""

    source: str = "system"

    @field_validator("source")
    @classmethod
    def _known(cls, given: str) -> str:
        if given != "system" and not given.startswith("lab:/"):
            raise ValueError(f"{given!r} is not a clock; write system, or lab:/path/to/clock-file")
        return given


class WorkerSettings(_Section):
    """How often (seconds of real time) the worker looks for what is due."""

    outbox_s: Seconds = 0.2
    enforcement_s: Seconds = 0.5
    billing_s: Seconds = 300
    dunning_s: Seconds = 300
    quota_s: Seconds = 60
    gateways_s: Seconds = 2.0
    autopay_s: Seconds = 300
    reaping_s: Seconds = 60
    pools_s: Seconds = 30
    rules_s: Seconds = 60
    drift_s: Seconds = 900
    usage_check_s: Seconds = 900
    ledger_check_s: Seconds = 3600
    close_days_s: Seconds = 900
    mail_s: Seconds = 5
    settle_debits_s: Seconds = 900
    certificates_s: Seconds = 600


class LogSettings(_Section):
    """``level``: debug, info, warning or error."""

    level: str = Field("info", pattern="^(debug|info|warning|error)$")


class Settings(_Section):
    """The whole file."""

    state: StateSettings = StateSettings()
    database: DatabaseSettings = DatabaseSettings()
    clock: ClockSettings = ClockSettings()
    log: LogSettings = LogSettings()
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    aaa: AaaSettings = Field(default_factory=AaaSettings)
    radius: RadiusSettings = Field(default_factory=RadiusSettings)
    snmp: SnmpSettings = Field(default_factory=SnmpSettings)
    provisioning: ProvisioningSettings = Field(default_factory=ProvisioningSettings)
    billing: BillingSettings = Field(default_factory=BillingSettings)
    ui: UiSettings = Field(default_factory=UiSettings)

    @property
    def database_url(self) -> str:
        """The database in use."""
        return self.database.url or f"sqlite:///{self.state.directory / 'hilltop.sqlite'}"

    @property
    def journal_directory(self) -> Path:
        """Accounting that was answered and is not yet in the database."""
        return self.state.directory / "journal"

    @property
    def sealing_key(self) -> Path:
        """The key file that opens sealed credentials."""
        return self.state.directory / "keys" / "sealing.key"

    @property
    def admin_code(self) -> Path:
        """The first owner's one-time password for the console, in memory only."""
        return self.state.runtime / "admin-code"

    @property
    def ready_mark(self) -> Path:
        """There when the first boot is done: roles may start."""
        return self.state.runtime / "ready"


def load_settings(path: Path) -> Settings:
    """Read and check the file at ``path``. Raises ``SettingsError``."""
    return check_settings(path, read_settings(path)[1])


def check_settings(path: Path, said: dict[str, Any]) -> Settings:
    """Check what the file at ``path`` says. Raises ``SettingsError``."""
    try:
        return Settings.model_validate(said)
    except ValidationError as trouble:
        raise SettingsError("\n".join(f"{path}: {key}: {said}" for key, said in faults(trouble))) from None


def read_settings(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of the file at ``path`` and what it says, unchecked. Raises ``SettingsError``."""
    try:
        text = path.read_bytes().decode()
        return text, tomllib.loads(text)
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist; make one with: hilltop --config {path} init") from None
    except (OSError, UnicodeDecodeError) as trouble:
        raise SettingsError(f"{path} cannot be read: {trouble}") from None
    except (ValueError, RecursionError) as trouble:
        raise SettingsError(f"{path} is not TOML: {trouble}") from None


def faults(trouble: ValidationError) -> list[tuple[str, str]]:
    """Key and what is wrong with it, one for each fault; never the value itself."""
    found = []
    for error in trouble.errors(include_url=False, include_input=False):
        said = (
            "this key is unknown; check its spelling" if error["type"] == "extra_forbidden" else error["msg"]
        )
        found.append((".".join(str(part) for part in error["loc"]), said.removeprefix("Value error, ")))
    return found
