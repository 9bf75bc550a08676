"""The readable timeline of the story: what was done, the figures, PASS or the reason why not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

from core.clock import Clock


class StoryEnds(Exception):  # noqa: N818 - says what happens
    """A step that the rest of the story stands on did not come true."""


class StepFailed(Exception):  # noqa: N818 - reads as the reason in the timeline
    """A step of the story did not come true; the text says why."""


@dataclass(slots=True)
class Timeline:
    """Prints steps as they happen and remembers which passed."""

    clock: Clock
    zone_offset_h: int = 0
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    def chapter(self, number: int, title: str) -> None:
        """A heading."""
        self.console.print()
        self.console.print(f"[bold cyan]{number}. {title}[/]  [dim]{self._when()}[/]")

    def note(self, text: str) -> None:
        """A line of what goes on."""
        self.console.print(f"   {text}", markup=False)

    def command(self, words: str) -> None:
        """A command as the operator typed it."""
        self.console.print("   [green]$[/] ", end="")
        self.console.print(words, markup=False, style="green")

    def device_line(self, text: str) -> None:
        """A line said to a device, or by it."""
        self.console.print(f"     [yellow]│[/] {_escape(text)}")

    @contextmanager
    def step(self, what: str, *, needed: bool = False) -> Iterator[None]:
        """One thing that must come true; a ``StepFailed`` inside is printed as the reason why not.

        After a ``needed`` step that failed the story cannot go on: ``StoryEnds``.
        """
        began = time.monotonic()
        try:
            yield
        except StepFailed as reason:
            self.failures.append(f"{what}: {reason}")
            self.console.print(f"   [bold red]FAIL[/] {_escape(what)} [red]{_escape(str(reason))}[/]")
            if needed:
                raise StoryEnds(what) from None
            return
        self.passed += 1
        took = time.monotonic() - began
        self.console.print(f"   [bold green]PASS[/] {_escape(what)} [dim]{took:.1f} s[/]")

    def leave_out(self, what: str, why: str) -> None:
        """Something this machine cannot show."""
        self.left_out.append(what)
        self.console.print(f"   [yellow]left out:[/] {_escape(what)} [dim]({_escape(why)})[/]")

    def summary(self) -> bool:
        """The closing lines; True when every step passed."""
        self.console.print()
        took = time.monotonic() - self._started
        for failure in self.failures:
            self.console.print(f"[bold red]FAIL[/] {_escape(failure)}")
        verdict = "[bold red]FAIL[/]" if self.failures else "[bold green]PASS[/]"
        self.console.print(
            f"{verdict} {self.passed} steps passed, {len(self.failures)} failed, "
            f"{len(self.left_out)} left out, {took:.0f} s"
        )
        return not self.failures

    def _when(self) -> str:
        return f"{self.clock.now():%Y-%m-%d %H:%M} UTC"


def _escape(text: str) -> str:
    return text.replace("[", "\\[")
