"""Somebody at the box's serial console: what he reads and types in Hilltop's menu."""

from __future__ import annotations

import re

from image_machine import Machine
from image_power import BoxFailed

_PROMPT = r"hilltop> $"
_SECRET = r"(password|secret|community|key|words)[^\n]*: $"


class AtConsole:
    """Waits for the menu's own words; on an emulated processor each new process takes seconds."""

    def __init__(self, machine: Machine, *, patience_s: float = 240) -> None:
        self._machine, self._patience_s = machine, patience_s

    def hear(self, pattern: str) -> re.Match[str]:
        """The next words that match."""
        return self._machine.hear(pattern, self._patience_s)

    def enter(self, line: str, pattern: str) -> re.Match[str]:
        """Type a line and wait for words."""
        self._machine.type(f"{line}\r")
        return self.hear(pattern)

    def code(self) -> str:
        """The one-time code for the owner, as soon as it is shown."""
        return self.hear(r"One-time code +(\w{4}(?:-\w{4})+) ")[1]

    def menu(self) -> None:
        """Back to the first screen, wherever one is."""
        self.enter("", r"Choice: $")

    def choose(self, item: int, *lines: tuple[str, str]) -> str:
        """Choose an item; for each pair wait for the prompt and answer it. What was said up to the way back."""
        self.enter("", r"Choice: $")
        line = str(item)
        for prompt, answer in lines:
            self.enter(line, prompt)
            line = answer
        return self.enter(line, r"(?s).*Enter: back")[0]

    def begin_commands(self, name: str, password: str) -> None:
        """Item 4, up to the prompt."""
        self.enter("", r"Choice: $")
        self.enter("4", r"Name: $")
        self.enter(name, r"Password: $")
        self.enter(password, _PROMPT)

    def command(self, line: str, *, secret: str | None = None) -> str:
        """One command of Hilltop at its prompt; what it said. Raises ``BoxFailed`` when it ended badly.

        A ``secret`` of several lines is ended with ^D, as a key is.
        """
        if secret is not None:
            self.enter(line, _SECRET)
            several = "\n" in secret
            self._machine.type(secret.strip("\n").replace("\n", "\r") + ("\r\x04" if several else "\r"))
            said = self.hear(r"(?s)(.*)" + _PROMPT)[1]
        else:
            said = self.enter(line, r"(?s)(.*)" + _PROMPT)[1]
        if re.search(r"^\(ended with \d+\)", said, re.MULTILINE):
            raise BoxFailed(f"hilltop {line}: {said}")
        return said.strip()

    def end_commands(self) -> None:
        """Leave the prompt."""
        self.enter("exit", r"Enter: back")
        self.menu()
