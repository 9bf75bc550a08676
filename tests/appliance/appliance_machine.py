"""A machine for tests of what the appliance does on itself: its settings, its folders, its command line."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import appliance_forks

NOBODY = 65534
_AS = (  # another user, who may read where Python lies on this machine
    "setpriv --reuid {0} --regid {0} --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search"
)


@dataclass(frozen=True)
class Machine:
    """Folders as an appliance has them, below one temporary folder."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "hilltop.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def runtime(self) -> Path:
        return self.folder / "run"

    @property
    def certificate(self) -> Path:
        return self.state / "tls" / "panel.crt"

    @property
    def key(self) -> Path:
        return self.state / "tls" / "panel.key"

    def code(self) -> str | None:
        path = self.runtime / "admin-code"
        return path.read_text().strip() if path.exists() else None

    def hilltop(
        self, *words: str, code: int | None = 0, user: int | None = None, stdin: str = "", before: str = "",
        **environment: str,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command; ``before`` is Python that runs first in the same process."""
        env = {**os.environ, "COLUMNS": "200", "HILLTOP_CONFIG": str(self.config), **environment}
        if user is None:
            done = appliance_forks.run(words, before=before, stdin=stdin, env=env)
        else:
            start = f"{before}\nfrom appliance.cli import main\nmain()"
            done = subprocess.run(
                [*_AS.format(user).split(), sys.executable, "-c", start, *words],
                capture_output=True, text=True, input=stdin, env=env,
            )  # fmt: skip
        if code is not None:
            assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done


def make_machine(folder: Path, ui: str = "", more: str = "") -> Machine:
    one = Machine(folder)
    one.config.write_text(
        f'[state]\ndirectory = "{one.state}"\nruntime = "{one.runtime}"\n'
        f'[ui]\ntls_cert = "{one.certificate}"\ntls_key = "{one.key}"\n{ui}\n{more}'
    )
    one.state.mkdir()
    one.runtime.mkdir()
    return one


def give_away(one: Machine, user: int = NOBODY) -> None:
    """The folders belong to the user that the roles run as."""
    for path in (one.state, one.runtime):
        os.chown(path, user, user)
