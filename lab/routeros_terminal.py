"""The console's terminal: banner, prompt, echo and redraw of the line, paging, wrapping.

What is sent follows recorded sessions of RouterOS 6.49 and 7: the typed line comes back as it is typed and
is painted once more when it is entered; the prompt is painted twice where the terminal is not known to
understand erasing; long lines are broken at the terminal's width.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh

from lab.routeros_script import completed

if TYPE_CHECKING:
    from lab.routeros import RouterOsConsole
    from lab.routeros_router import Outcome

ART = (
    "",
    "",
    "  MMM      MMM       KKK                          TTTTTTTTTTT      KKK",
    "  MMMM    MMMM       KKK                          TTTTTTTTTTT      KKK",
    "  MMM MMMM MMM  III  KKK  KKK  RRRRRR     OOOOOO      TTT     III  KKK  KKK",
    "  MMM  MM  MMM  III  KKKKK     RRR  RRR  OOO  OOO     TTT     III  KKKKK",
    "  MMM      MMM  III  KKK KKK   RRRRRR    OOO  OOO     TTT     III  KKK KKK",
    "  MMM      MMM  III  KKK  KKK  RRR  RRR   OOOOOO      TTT     III  KKK  KKK",
    "",
)
HELP_6 = (
    "[?]             Gives the list of available commands",
    "command [?]     Gives help on the command and list of arguments",
    "",
    "[Tab]           Completes the command/word. If the input is ambiguous,",
    "                a second [Tab] gives possible options",
    "",
    "/               Move up to base level",
    "..              Move up one level",
    "/command        Use command at the base level",
)
ROWS_AT_ONCE = 50
PAGER = "-- [Q quit|D dump|down]"
PROBE = "\x1bZ  \r\x1b[6n\x1b[H\x1b[9999C\x1b[6n\r"
PROBE_ANSWER_S = 0.4
_CURSOR_REPORT = re.compile(r"\x1b\[(\d+);(\d+)R")
_REPORTS = re.compile(r"\x1b\[\d+;\d+R|\x1b\[\?[\d;]*c|\x1b/Z")
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z~]|O[A-Za-z])")
_KEYS = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left", "\x1b[H": "home",
    "\x1b[F": "end", "\x1bOP": "help", "\x1b[11~": "help", "\x1b[3~": "delete",
    "\x03": "interrupt", "\x04": "logout", "\x7f": "backspace", "\x08": "backspace", "\x01": "home",
    "\x05": "end", "\x15": "clear", "\x0b": "cut", "\t": "complete", "\r": "enter", "\n": "enter",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoginOptions:
    """What stands after ``+`` in the login name: ``[number] letter`` any number of times."""

    colours: bool = True
    probes: bool = True
    dumb: bool = False
    width: int | None = None
    height: int | None = None

    @classmethod
    def of(cls, login: str) -> tuple[str, LoginOptions]:
        """The user name and the options; letters unknown to the console are passed over."""
        name, plus, parameters = login.partition("+")
        if not plus:
            return login, cls()
        given = {letter: number for number, letter in re.findall(r"(\d*)([a-z])", parameters)}
        return name, cls(
            colours="c" not in given,
            probes="t" not in given,
            dumb="e" in given,
            width=int(given["w"]) if given.get("w") else None,
            height=int(given["h"]) if given.get("h") else None,
        )


class ChannelClosedError(Exception):
    """The other side is gone."""


class Terminal:
    """One interactive session on the console."""

    def __init__(
        self,
        console: RouterOsConsole,
        process: asyncssh.SSHServerProcess[str],
        user: str,
        options: LoginOptions,
    ) -> None:
        self._console = console
        self._process = process
        self._user = user
        self._options = options
        columns, rows = process.term_size[:2]
        self.width = options.width or columns or 80
        self.height = options.height or rows or 24
        self._erases = False
        self._typed = ""
        self._menu: tuple[str, ...] = ()
        self._line = ""
        self._cursor = 0
        self._history: list[str] = []
        self._after_return = False
        self._unsent: list[str] = []
        self.idle = False

    # -- wires

    def _write(self, text: str) -> None:
        self._unsent.append(text)

    def _flush(self) -> None:
        """Send what was written: in one piece, so that a far end that is gone is noticed before the next."""
        text = "".join(self._unsent)
        self._unsent.clear()
        if not text:
            return
        if self._process.is_closing():
            raise ChannelClosedError
        try:
            self._process.stdout.write(text)
        except (OSError, asyncssh.Error):
            raise ChannelClosedError from None

    async def _deliver(self) -> None:
        """Send, wait while the far end is slow to take it, and look whether it is still there."""
        self._flush()
        await asyncio.sleep(0)
        try:
            await self._process.stdout.drain()
        except (OSError, asyncssh.Error):
            raise ChannelClosedError from None

    async def _read(self) -> None:
        await self._deliver()
        while True:
            try:
                text = await self._process.stdin.read(4096)
            except asyncssh.TerminalSizeChanged as change:
                self.width = self._options.width or change.width or self.width
                self.height = self._options.height or change.height or self.height
                continue
            except (asyncssh.BreakReceived, asyncssh.SignalReceived):
                text = "\x03"
            if not text:
                raise ChannelClosedError
            self._typed += text
            return

    async def _key(self) -> str:
        """The next key: a printable character or the name of a control key."""
        while True:
            while not self._typed:
                await self._read()
            sequence = _ESCAPE.match(self._typed)
            key = sequence.group() if sequence else self._typed[0]
            self._typed = self._typed[len(key) :]
            if key == "\n" and self._after_return:
                self._after_return = False
                continue
            self._after_return = key == "\r"
            if key in _KEYS or (len(key) == 1 and key.isprintable()):
                return _KEYS.get(key, key)

    # -- login

    async def run(self) -> None:
        """The whole session."""
        try:
            await self._probe()
            await self._greet()
            while await self._one_command():
                pass
            await self._deliver()
        except ChannelClosedError:
            return

    async def _probe(self) -> None:
        if not self._options.probes or self._options.dumb or self._process.term_type is None:
            return
        self._write(PROBE)
        try:
            async with asyncio.timeout(PROBE_ANSWER_S):
                while len(_CURSOR_REPORT.findall(self._typed)) < 2:
                    await self._read()
        except TimeoutError:
            pass
        reports = _CURSOR_REPORT.findall(self._typed)
        self._typed = _REPORTS.sub("", self._typed)
        if reports:
            self._erases = True
            if self._options.width is None and int(reports[-1][1]) > 1:
                self.width = int(reports[-1][1])

    async def _greet(self) -> None:
        router = self._console.router
        new = router.version >= (7,)
        years, address = (
            ("1999-2024", "https://www.mikrotik.com/") if new else ("1999-2021", "http://www.mikrotik.com/")
        )
        lines = [*ART, f"  MikroTik RouterOS {router.version_text} (c) {years}       {address}", ""]
        self._say([*lines, *(("Press F1 for help", "") if new else (*HELP_6, ""))])
        if self._console.shows_license:
            await self._ask_license()
        if self._console.asks_new_password:
            await self._ask_new_password()

    async def _ask_license(self) -> None:
        self._write("Do you want to see the software license? [Y/n]: ")
        if await self._key() in "yY":
            self._say(["", "MIKROTIK SOFTWARE END-USER LICENCE AGREEMENT", ""])
        self._write("\r\n")

    async def _ask_new_password(self) -> None:
        self._say(["Change your password (Ctrl-C to skip)", ""])
        while True:
            first = await self._secret("new password> ")
            again = None if first is None else await self._secret("repeat new password> ")
            if first is None or again is None:
                return
            if first == again:
                self._console.password = first
                self._console.asks_new_password = False
                return
            self._say(["", "passwords do not match", ""])

    async def _secret(self, prompt: str) -> str | None:
        self._write(f"\r\n{prompt}")
        typed = ""
        while (key := await self._key()) != "enter":
            if key == "interrupt":
                self._write("\r\n")
                return None
            typed = typed[:-1] if key == "backspace" else typed + key if len(key) == 1 else typed
            self._write("*" if len(key) == 1 else "")
        self._write("\r\n")
        return typed

    # -- prompt and line

    def prompt(self) -> str:
        """``[user@Identity] > `` at the root, with the menu's path elsewhere."""
        joint = "/" if self._console.router.version >= (7,) else " "
        place = f" /{joint.join(self._menu)}> " if self._menu else " > "
        return f"[{self._user}@{self._console.router.identity}]{place}"

    def _painted_prompt(self) -> str:
        prompt = self.prompt()
        if not self._options.colours or not self._erases:
            return prompt
        name, _, rest = prompt[1:].partition("@")
        identity, _, place = rest.partition("]")
        return f"[\x1b[35m{name}\x1b[m@\x1b[36m{identity}\x1b[m]{place}"

    def _paint_prompt(self) -> None:
        if self._erases:
            self._write(f"\r\x1b[9999B{self._painted_prompt()}{self._line}\x1b[K")
            return
        prompt = self.prompt()
        blank = " " * max(0, min(self.width, 4096) - len(prompt) - 1)
        self._write(f"\r\r\r\r{prompt}{blank}\r{prompt}{self._line}")

    def _wrapped(self, text: str) -> str:
        return "\r\n".join(text[at : at + self.width] for at in range(0, len(text), self.width))

    def _repaint(self) -> None:
        full = self.prompt() + self._line
        blank = "\x1b[K" if self._erases else " " * max(0, min(self.width, 4096) - len(full) - 1)
        self._write(
            f"\r{self._wrapped(full)}{blank}\r{self._wrapped(full[: len(self.prompt()) + self._cursor])}"
        )

    def interrupt_idle(self, text: str) -> None:
        """A line of the log, written by the router into a session that waits at its prompt."""
        if not self.idle:
            return
        self._write(f"\r{text}{chr(27) + '[K' if self._erases else ''}\r\n")
        self._paint_prompt()
        with contextlib.suppress(ChannelClosedError):  # the session itself will notice
            self._flush()

    async def _read_line(self) -> str | None:
        """The line typed, None at logout. Keys are echoed as they come."""
        self._line, self._cursor = "", 0
        past = len(self._history)
        while True:
            self.idle = not self._typed
            key = await self._key()
            self.idle = False
            if len(key) == 1 and not (key == "?" and self._console.router.version < (7,)):
                self._insert(key)
            elif key == "enter":
                return self._entered()
            elif key == "logout" and not self._line:
                return None
            elif key in ("up", "down"):
                past = max(0, min(len(self._history), past + (1 if key == "down" else -1)))
                self._line = self._history[past] if past < len(self._history) else ""
                self._cursor = len(self._line)
                self._repaint()
            else:
                self._edit(key)

    def _insert(self, key: str) -> None:
        self._line = self._line[: self._cursor] + key + self._line[self._cursor :]
        self._cursor += 1
        if self._cursor != len(self._line):
            self._repaint()
            return
        column = (len(self.prompt()) + len(self._line) - 1) % self.width
        self._write(("\r\n" if column == 0 else "") + key)

    def _entered(self) -> str:
        line = self._line
        if line and not self._erases:
            self._write(f"\r{self._wrapped(self.prompt() + line)}")
        self._write("\r\n")
        if line and (not self._history or self._history[-1] != line):
            self._history.append(line)
        self._line, self._cursor = "", 0
        return line

    def _edit(self, key: str) -> None:
        line, at = self._line, self._cursor
        if key == "interrupt":
            self._line, self._cursor = "", 0
            self._write("\r\n")
            self._paint_prompt()
            return
        if key in ("?", "help", "complete"):
            self._help(completing=key == "complete")
            return
        moves: dict[str, tuple[str, int]] = {
            "backspace": (line[: max(0, at - 1)] + line[at:], max(0, at - 1)),
            "delete": (line[:at] + line[at + 1 :], at),
            "left": (line, max(0, at - 1)),
            "right": (line, min(len(line), at + 1)),
            "home": (line, 0),
            "end": (line, len(line)),
            "clear": (line[at:], 0),
            "cut": (line[:at], at),
        }
        self._line, self._cursor = moves.get(key, (line, at))
        self._repaint()

    def _help(self, completing: bool) -> None:
        *path, word = re.split(r"[ /]+", self._line.lstrip("/")) or [""]
        tree = self._console.router.tree
        menu: tuple[str, ...] = () if self._line.startswith("/") else self._menu
        for name in path:
            submenu = completed(name, tree.submenus(menu))
            if submenu is None:
                return
            menu = (*menu, submenu)
        names = sorted(name for name in {*tree.submenus(menu), *tree.verbs(menu)} if name.startswith(word))
        if completing and len(names) == 1:
            for character in names[0][len(word) :] + " ":
                self._insert(character)
            return
        self._write("\r\n")
        self._say([*(f"{name}" for name in names), ""])
        self._paint_prompt()

    # -- commands

    async def _one_command(self) -> bool:
        self._paint_prompt()
        line = await self._read_line()
        if line is None:
            self._say(["interrupted"])
            return False
        if not line.strip():
            return True
        await self._deliver()
        outcome = await self._console.execute(line, self._menu, self._process)
        if outcome is None:
            return False
        self._menu = outcome.menu
        if outcome.reboots and not await self._confirmed("Reboot, yes? [y/N]: "):
            return True
        await self._show(outcome)
        if outcome.reboots:
            self._say(["system will reboot shortly"])
            self._console.reboot_soon()
        elif outcome.quits:
            self._say(["interrupted"])
        return not outcome.quits

    async def _confirmed(self, question: str) -> bool:
        self._write(question)
        answer = await self._key()
        self._write("\r\n")
        return answer in ("y", "Y")

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._write(self._wrapped(line) + "\r\n")

    async def _show(self, outcome: Outcome) -> None:
        rows = [row for line in outcome.lines for row in (self._wrapped(line).split("\r\n"))]
        dumping = not outcome.paged
        on_page = 0
        for index, row in enumerate(rows):
            if not dumping and on_page >= self.height - 1 and index < len(rows):
                choice = await self._turn_page()
                if choice == "quit":
                    return
                dumping = choice == "dump"
                on_page = self.height - 2 if choice == "line" else 0
            if index % ROWS_AT_ONCE == 0 or self._console.delay_per_line_s > 0:
                await self._deliver()
            await self._console.pace()
            self._write(row + "\r\n")
            on_page += 1

    async def _turn_page(self) -> str:
        self._write(PAGER)
        choices: dict[str, str] = {
            "q": "quit",
            "Q": "quit",
            "interrupt": "quit",
            "d": "dump",
            "D": "dump",
            "enter": "line",
            "down": "line",
            " ": "page",
        }
        while (choice := choices.get(await self._key())) is None:
            continue
        self._write("\r" + " " * len(PAGER) + "\r")
        return choice


async def run_one_shot(
    console: RouterOsConsole,
    process: asyncssh.SSHServerProcess[str],
    command: str,
    finish: Callable[[int], None],
) -> None:
    """``ssh router command``: the output without prompt, echo or paging; the exit status says nothing."""
    outcome = await console.execute(command, (), process)
    if outcome is None:
        return
    for line in outcome.lines:
        await console.pace()
        process.stdout.write(line + "\r\n")
        await process.stdout.drain()
    if outcome.reboots:
        process.stdout.write("system will reboot shortly\r\n")
        console.reboot_soon()
    finish(0)
