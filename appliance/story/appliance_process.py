"""The appliance of the story: a real ``hilltop run`` and the real command line, seen from outside."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from appliance.story.timeline import StepFailed, Timeline

_SETTINGS = """\
[state]
directory = "{state}"

[database]
url = "{database_url}"

[clock]
source = "lab:{clock}"

[worker]
outbox_s = 0.1
enforcement_s = 0.2
billing_s = 0.5
dunning_s = 0.5
reaping_s = 1
drift_s = 5

[radius]
auth_listen = ["{radius_host}:{auth_port}"]
accounting_listen = ["{radius_host}:{accounting_port}"]

[ui]
listen = "127.0.0.1:{panel_port}"
{portal}
provider_name = "Hilltop Lab Wireless"
time_zone = "America/Denver"
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the story's appliance listens; ``portal`` is host:port or empty."""

    radius_host: str
    auth: int
    accounting: int
    panel: int
    portal: str


@dataclass(slots=True)
class ApplianceProcess:
    """Runs commands and the daemon over one settings file."""

    timeline: Timeline
    folder: Path
    ports: Ports
    running: asyncio.subprocess.Process | None = None

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "hilltop.toml"

    def write_settings(self, clock: Path, database_url: str) -> None:
        """Write the settings of the lab's appliance."""
        self.config.write_text(
            _SETTINGS.format(
                state=self.folder / "state",
                database_url=database_url,
                clock=clock,
                radius_host=self.ports.radius_host,
                auth_port=self.ports.auth,
                accounting_port=self.ports.accounting,
                panel_port=self.ports.panel,
                portal=f'portal_listen = "{self.ports.portal}"' if self.ports.portal else "",
            )
        )

    async def command(
        self, line: str, *, secret: str | None = None, expect: int = 0, quiet: bool = False
    ) -> str:
        """Run ``hilltop LINE``, ``secret`` on standard input. Raises ``StepFailed`` on another exit code."""
        if not quiet:
            self.timeline.command(f"hilltop {line}")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "appliance.cli",
            "--config",
            str(self.config),
            *shlex.split(line),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "110"},
        )
        out, err = await asyncio.wait_for(process.communicate((secret or "").encode()), 60)
        text = (out + err).decode().strip()
        if process.returncode != expect:
            raise StepFailed(f"hilltop {line} ended with {process.returncode}: {text[-600:]}")
        return text

    async def start(self) -> None:
        """Start ``hilltop run`` and wait until all roles are ready."""
        self.timeline.command("hilltop run &")
        log = (self.folder / "hilltop.log").open("wb")
        self.running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "appliance.cli",
            "--config",
            str(self.config),
            "run",
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        for _ in range(300):
            if "all_roles_ready" in self.log():
                return
            if self.running.returncode is not None:
                break
            await asyncio.sleep(0.1)
        raise StepFailed(f"the appliance did not come up; its log ends: {self.log()[-800:]}")

    def log(self) -> str:
        """What the appliance logged so far."""
        path = self.folder / "hilltop.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def stop(self) -> None:
        """End the appliance."""
        if self.running is None or self.running.returncode is not None:
            return
        self.running.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.running.wait(), 20)
        except TimeoutError:
            os.killpg(self.running.pid, signal.SIGKILL)
