"""A line-based terminal that survives whatever is typed: binary garbage, endless lines, ^C, ^D, a hang-up."""

from __future__ import annotations

import os
import select
import signal
import termios
import time
from collections.abc import Callable
from types import FrameType

LONGEST_LINE = 1000
IDLE_S = 600.0
_PLAIN = {"", "dumb", "unknown"}


class GoneBackError(Exception):
    """^C, ^D, or nobody there any more: the way back to the first screen."""


class HangUpError(Exception):
    """The line itself is gone."""


class Terminal:
    """Reads lines from one descriptor and writes to another."""

    def __init__(self, source: int = 0, target: int = 1) -> None:
        self._source, self._target = source, target
        self._rest = b""
        self._reading = False
        self._ends = 0
        self.plain = os.environ.get("TERM", "") in _PLAIN

    def begin(self) -> None:
        """Take ^C for ourselves; nothing typed stops or suspends this process."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        for number in (signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)
        self.settle()

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._reading:  # anything that is being done is finished first
            self._rest = b""
            raise GoneBackError

    def settle(self, *, echo: bool = True) -> None:
        """Lines, echo and signals as they should be, whatever a command left behind."""
        try:
            modes = termios.tcgetattr(self._source)
        except termios.error:
            return
        modes[0] |= termios.ICRNL
        modes[1] |= termios.OPOST | termios.ONLCR
        modes[3] |= termios.ICANON | termios.ISIG | termios.ECHOE | termios.ECHOK
        modes[3] = modes[3] | termios.ECHO if echo else modes[3] & ~termios.ECHO
        termios.tcsetattr(self._source, termios.TCSADRAIN, modes)

    def clear(self) -> None:
        """An empty screen, or a line across on a terminal without one."""
        self.write("\n" if self.plain else "\x1b[H\x1b[2J")

    def say(self, text: str = "") -> None:
        """A line."""
        self.write(f"{text}\n")

    def write(self, text: str) -> None:
        """All of ``text``; a line that is gone raises ``HangUpError``."""
        octets = text.encode(errors="replace")
        try:
            while octets:
                octets = octets[os.write(self._target, octets) :]
        except OSError as trouble:
            raise HangUpError from trouble

    def ask(self, prompt: str, *, hidden: bool = False) -> str:
        """A line typed within the idle time. Raises ``GoneBackError`` otherwise."""
        if not hidden:
            self.write(prompt)
            return self._line(IDLE_S, None) or ""
        self.settle(echo=False)
        try:
            self.write(prompt)
            return self._line(IDLE_S, None, strip=False) or ""
        finally:
            self.settle()
            self.say()

    def wait(self, prompt: str, seconds: float, look: Callable[[], bool]) -> str | None:
        """A line; None when ``look``, called every half second, is true or ``seconds`` have passed."""
        self.write(prompt)
        return self._line(seconds, look)

    def _line(self, seconds: float, look: Callable[[], bool] | None, *, strip: bool = True) -> str | None:
        deadline = time.monotonic() + seconds
        while b"\n" not in self._rest:
            if time.monotonic() >= deadline:
                if look is None:
                    raise GoneBackError
                return None
            self._more()
            if look is not None and b"\n" not in self._rest and look():
                return None
        line, _, self._rest = self._rest.partition(b"\n")
        self._ends = 0
        if len(line) > LONGEST_LINE:
            self.say(f"That line is longer than {LONGEST_LINE} characters; it was not taken.")
            raise GoneBackError
        text = "".join(one for one in line.decode(errors="replace") if one.isprintable())
        return text.strip() if strip else text

    def _more(self) -> None:
        self._reading = True
        try:
            if not select.select([self._source], [], [], 0.5)[0]:
                return
            octets = os.read(self._source, 4096)
        except OSError as trouble:
            raise HangUpError from trouble
        finally:
            self._reading = False
        if not octets:
            self._end_of_input()
        self._rest += octets.replace(b"\r", b"\n")
        if b"\n" not in self._rest:
            self._rest = self._rest[: LONGEST_LINE + 1]

    def _end_of_input(self) -> None:
        """^D is a way back; an end that does not end is a line that is gone."""
        self._rest = b""
        self._ends += 1
        if self._ends > 20:
            raise HangUpError
        if self._ends > 3:
            time.sleep(0.5)
        raise GoneBackError
