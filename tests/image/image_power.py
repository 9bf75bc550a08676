"""What a container and a machine of these tests have in common: power, a console, and patience with an end."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


class BoxFailed(Exception):  # noqa: N818 - what happened
    """The container or machine did not do what was waited for; the text ends with what it said on its console."""


class Powered(abc.ABC):
    """Something that is switched on by ``with``, and off again whatever happens in between."""

    patience_s = 60.0

    @abc.abstractmethod
    def start(self) -> object:
        """Power on."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Off, and all that was taken is free again."""

    @abc.abstractmethod
    def said(self) -> str:
        """All that it wrote to its console."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(
        self,
        what: str,
        condition: Callable[[], object],
        timeout_s: float | None = None,
        pause_s: float = 0.2,
    ) -> None:
        """Until ``condition`` holds, ``patience_s`` unless told. Raises ``BoxFailed`` when it did not in time."""
        timeout_s = self.patience_s if timeout_s is None else timeout_s
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                raise BoxFailed(f"waited {timeout_s:g} s for {what}\n{self.said()[-2500:]}")
            time.sleep(pause_s)
