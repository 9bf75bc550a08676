"""``hilltop>``: sub-commands of ``hilltop`` for an owner who has proved himself, and nothing else."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Sequence

from appliance.console.places import Places
from appliance.console.terminal import GoneBackError, Terminal

REFUSED = {"console", "run", "role", "first-boot", "lab"}
_LONGEST_COMMAND_S = 3600.0
_PATIENCE_S = 10.0
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def run_command(terminal: Terminal, words: Sequence[str], *, actor: str | None = None) -> int:
    """Run one command on this terminal; ^C is the command's, and the terminal is ours again afterwards."""
    # What it complains of is for whoever stands here; the console's own errors go to the journal.
    child = subprocess.Popen(words, env=_environment(actor), stderr=subprocess.STDOUT)  # noqa: S603 - no shell
    deadline = time.monotonic() + _LONGEST_COMMAND_S
    try:
        while True:
            try:
                return child.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    terminal.say("That command has run for an hour and is ended.")
                    return _end(child)
    finally:
        terminal.settle()


def _end(child: subprocess.Popen[bytes]) -> int:
    child.terminate()
    try:
        return child.wait(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _environment(actor: str | None) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "HILLTOP_ACTOR"}
    return {**kept, "COLUMNS": "79", "LINES": "24", **({"HILLTOP_ACTOR": actor} if actor else {})}


def ask_name(terminal: Terminal, prompt: str, usual: str = "") -> str | None:
    """An operator's name, or None when that cannot be one."""
    name = terminal.ask(prompt).lower() or usual
    if not _NAME.fullmatch(name):
        terminal.say("Name: 1 to 40 of a-z, 0-9, dot, dash and underscore")
        return None
    return name


def commands(terminal: Terminal, places: Places) -> None:
    """Item 4."""
    terminal.say("Hilltop commands, for an owner with a password of his own.")
    name = ask_name(terminal, "Name: ")
    if name is None:
        return
    password = terminal.ask("Password: ", hidden=True)
    terminal.say("A moment ...")
    checked = subprocess.run(  # noqa: S603 - without a shell
        places.command("operator", "check", name),
        input=password.encode(), capture_output=True, env=_environment(None), start_new_session=True,
        check=False,
    )  # fmt: skip
    if checked.returncode != 0:
        said = (checked.stderr or checked.stdout).decode(errors="replace").strip()
        terminal.say(said.splitlines()[-1][:300] if said else "That did not work; see the log.")
        return
    terminal.say("Commands such as: health   operator list   radius status   --help.  Back: exit")
    while True:
        line = terminal.ask("hilltop> ")
        if line in {"exit", "quit", "logout"}:
            return
        if line:
            _run(terminal, places, name, line)


def _run(terminal: Terminal, places: Places, name: str, line: str) -> None:
    try:
        words = shlex.split(line)
    except ValueError as trouble:
        terminal.say(f"That cannot be read: {trouble}; put quotes in pairs")
        return
    words = words[1:] if words[:1] == ["hilltop"] else words
    if not words or (words[0].startswith("-") and words not in (["--help"], ["--version"])):
        terminal.say("Begin with a command; --help lists them")
    elif words[0] in REFUSED:
        terminal.say(f"{words[0]} is not for this place")
    else:
        code = run_command(terminal, places.command(*words), actor=f"console:{name}")
        if code != 0:
            terminal.say(f"(ended with {code})")


def reset_password(terminal: Terminal, places: Places) -> None:
    """Item 2."""
    terminal.say("A new one-time password for an operator. Whoever stands at this console may do it:")
    terminal.say("keep the machine in a locked room. It is put on record.")
    name = ask_name(terminal, "Operator (Enter: owner): ", "owner")
    if name is None:
        return
    if terminal.ask(f"Type yes to replace the password of {name}: ").lower() != "yes":
        raise GoneBackError
    terminal.say("A moment ...")
    run_command(terminal, places.command("operator", "reset", name), actor="console")
