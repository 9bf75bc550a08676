"""The RADIUS role as a family of processes: one that owns the sockets and forks, and those that answer.

The sockets stay open here, so whatever waits in them outlives the process that reads it: one that died is
replaced, and on SIGHUP all are, by processes with the settings as they are now, without a request lost.
This process does nothing else. It has no event loop and no thread, since a fork would copy half of either.
What it must know of the settings, a child reads for it. Where one process answers, it loads only what it
needs itself; where several do, it loads what they all need, once, and they have it from the fork.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

from appliance.readiness import notify, watchdog_period_s
from appliance.restarts import Restarts
from core.log import configure_logging, logger
from radius.serving.place import Place
from radius.serving.sockets import bind_shared, retire
from radius.serving.status import forget_statuses

_log = logger("appliance")
_TURN_S = 1.0
_WATCHDOG_S = 30.0
_STOP_PATIENCE_S = 20.0
_BIND_PATIENCE_S = 6.0
"""For the port of a family whose head was killed: its members notice within a second, say what they have to
say, and go."""
_ALL_NEED = ("asyncio", "appliance.roles", "appliance.settings", "radius.serving.role", "greenlet")
_DRIVERS = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}
"""By SQLAlchemy's name of the database."""
_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


@dataclass(slots=True, eq=False)
class _Process:
    """One that answers."""

    index: int
    pid: int
    channel: socket.socket
    began_s: float
    heard_s: float
    ready: bool = False
    ends_by_s: float = float("inf")
    """When it has been given long enough to finish what it had begun."""


@dataclass(slots=True)
class _Post:
    """The post of one index: the process that serves, the one that is to follow it, past ends."""

    serving: _Process | None = None
    following: _Process | None = None
    restarts: Restarts = field(default_factory=Restarts)
    again_s: float = 0.0
    """When a process is forked for it, if none serves."""

    @property
    def processes(self) -> list[_Process]:
        return [one for one in (self.serving, self.following) if one is not None]


class PlanRefused(Exception):  # noqa: N818 - what happened
    """The settings are wrong; the text says where."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the head has to know of the settings."""

    workers: int
    endpoints: dict[str, tuple[str, int]]
    """``RadiusSettings.endpoints``."""
    journals: str
    log_level: str
    database: str
    """SQLAlchemy's name of its kind."""
    text: str
    """The settings file itself, which has been found good."""


def read_plan(config: Path) -> Plan:
    """What the settings file says now, read by a child. Raises ``PlanRefused``."""

    def read() -> bytes:
        from appliance.settings import SettingsError, check_settings, read_settings
        from core.database import backend_of

        try:
            text, said = read_settings(config)
            settings = check_settings(config, said)
        except SettingsError as trouble:
            return json.dumps({"refused": str(trouble)}).encode()
        chosen = settings.radius
        plan = Plan(
            chosen.worker_count, chosen.endpoints, str(settings.journal_directory), settings.log.level,
            backend_of(settings.database_url), text,
        )  # fmt: skip
        return json.dumps(asdict(plan)).encode()

    told = json.loads(_in_child(read) or '{"refused": "the settings could not be read; see the log"}')
    if "refused" in told:
        raise PlanRefused(told["refused"])
    endpoints = {name: (str(listen), int(count)) for name, (listen, count) in told["endpoints"].items()}
    words = (str(told[name]) for name in ("journals", "log_level", "database", "text"))
    return Plan(int(told["workers"]), endpoints, *words)


class RadiusProcesses:
    """Keeps the processes of the role until SIGTERM or SIGINT."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._plan = self._next_plan = Plan(0, {}, "", "info", "", "")
        self._sockets: dict[str, list[socket.socket]] = {}
        self._posts: list[_Post] = []
        self._leaving: list[_Process] = []
        self._selector = selectors.DefaultSelector()
        self._signals: set[int] = set()
        self._announced = False
        self._code: int | None = None

    def run(self) -> int:
        """Serve; the exit code: 2 for wrong settings."""
        try:
            self._plan = read_plan(self._config)
        except PlanRefused as refused:
            sys.stderr.write(f"{refused}\n")
            return 2
        configure_logging("radius", self._plan.log_level)
        try:
            self._bind(self._plan)
        except OSError as trouble:
            _in_child(partial(_tell_failure, self._config, trouble))
            return 1
        _load_what_is_shared(self._plan)
        with _heard_signals(self._selector, self._signals), tempfile.TemporaryDirectory() as folder:
            self._posts = [_Post() for _ in range(self._plan.workers)]
            forget_statuses(Path(self._plan.journals), len(self._posts))
            try:
                while self._code is None:
                    self._turn(Path(folder))
            finally:
                self._end_all()
        return self._code

    def _bind(self, plan: Plan) -> None:
        """Have a socket on each endpoint for each process. Raises ``OSError``, and nothing has changed."""
        more: dict[str, list[socket.socket]] = {}
        try:
            for name, (listen, count) in plan.endpoints.items():
                have = self._sockets.get(name, [])
                more[name] = _bind_patiently(listen, count - len(have), have)
        except OSError:
            for made in more.values():
                _close_all(made)
            raise
        for name, made in more.items():
            self._sockets.setdefault(name, []).extend(made)

    def _turn(self, folder: Path) -> None:
        """Wait for something to happen, at most a moment, and do what follows from it."""
        self._fork_due(folder)
        period_s = watchdog_period_s()
        for key, _ in self._selector.select(min(_TURN_S, period_s or _TURN_S)):
            if isinstance(key.data, _Process):
                self._hear(key.data)
            else:
                _drain(key.fileobj)
        if period_s is not None:
            notify("WATCHDOG=1")
        for process in self._all():
            self._look_after(process)
        self._follow_reload()
        if self._signals & {signal.SIGTERM, signal.SIGINT} or _is_orphan():
            self._code = 0
        elif signal.SIGHUP in self._signals and not any(post.following for post in self._posts):
            self._signals.discard(signal.SIGHUP)  # one that comes from now on asks for another reload
            self._begin_reload(folder)

    def _fork_due(self, folder: Path) -> None:
        now_s = time.monotonic()
        for index, post in enumerate(self._posts):
            if post.serving is None and now_s >= post.again_s:
                post.serving = self._fork(index, self._plan, folder)

    def _fork(self, index: int, plan: Plan, folder: Path, *, follows: bool = False) -> _Process:
        """``follows``: it answers when it is told to."""
        path = folder / f"{index}.{time.monotonic_ns()}"
        channel = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        channel.bind(str(path))
        sys.stdout.flush()
        sys.stderr.flush()
        with _undisturbed():
            pid = os.fork()
            if pid == 0:
                self._become(index, plan, path, waits=follows)
        now_s = time.monotonic()
        process = _Process(index, pid, channel, now_s, now_s)
        self._selector.register(channel, selectors.EVENT_READ, process)
        return process

    def _become(self, index: int, plan: Plan, channel: Path, *, waits: bool) -> NoReturn:
        """The child: what belongs to the parent is let go, then the role runs. Never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _NUMBERS:
                signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _NUMBERS)
            gc.disable()  # what is imported stays: looking through it for garbage is a sixth of the start
            import asyncio
            import tomllib

            from appliance.without_orm import leave_out_orm

            leave_out_orm()
            from appliance.roles import run_role
            from appliance.settings import check_settings

            self._selector.close()
            for other in self._all():
                other.channel.close()
            for made in self._sockets.values():
                _close_all(made[:index] + made[index + 1 :])
            os.environ["NOTIFY_SOCKET"] = str(channel)
            os.environ["HILLTOP_SUPERVISOR"] = str(os.getppid())
            os.environ["WATCHDOG_USEC"] = str(int(_WATCHDOG_S * 1_000_000))
            os.environ.pop("WATCHDOG_PID", None)
            named = plan.endpoints.items()
            sockets = {name: self._sockets[name][index] for name, (_, count) in named if index < count}
            place = Place(index, plan.workers, sockets, waits)
            settings = check_settings(self._config, tomllib.loads(plan.text))
            code = asyncio.run(run_role("radius", settings, place))
        except BaseException as trouble:  # noqa: BLE001 - nothing may return into the parent's loop
            _log.error("role_failed", reason=f"{type(trouble).__name__}: {trouble}", exc_info=trouble)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _hear(self, process: _Process) -> None:
        with contextlib.suppress(BlockingIOError):
            while told := process.channel.recv(4096):
                process.heard_s = time.monotonic()
                if told.startswith(b"STATUS="):
                    notify(told.decode(errors="replace"))
                if b"READY=1" in told:
                    process.ready = True
        if not self._announced and all(post.serving and post.serving.ready for post in self._posts):
            self._announced = True
            notify("READY=1")

    def _all(self) -> list[_Process]:
        return [process for post in self._posts for process in post.processes] + self._leaving

    def _look_after(self, process: _Process) -> None:
        """Kill one that hangs or does not go; see to one that has ended."""
        if time.monotonic() - process.heard_s > _WATCHDOG_S:
            _log.error("radius_process_hangs", worker=process.index, silent_s=_WATCHDOG_S)
            os.kill(process.pid, signal.SIGKILL)
            process.heard_s = time.monotonic()
        elif time.monotonic() > process.ends_by_s:
            _log.error("radius_process_stays", worker=process.index, asked_to_go_s=_STOP_PATIENCE_S)
            os.kill(process.pid, signal.SIGKILL)
            process.ends_by_s = float("inf")
        ended, status = os.waitpid(process.pid, os.WNOHANG)
        if not ended:
            return
        self._selector.unregister(process.channel)
        process.channel.close()
        code = os.waitstatus_to_exitcode(status)
        if process in self._leaving:
            self._leaving.remove(process)
        elif process is self._posts[process.index].following:
            self._posts[process.index].following = None
            self._give_up_reload(code)
        else:
            self._lost(self._posts[process.index], process, code)

    def _lost(self, post: _Post, process: _Process, code: int) -> None:
        """One that served has ended by itself. When none of its siblings serves, the role has failed."""
        post.serving = None
        now_s = time.monotonic()
        pause_s = post.restarts.pause_s(now_s - process.began_s if process.ready else 0.0)
        post.again_s = now_s + pause_s
        _log.error("radius_process_ended", worker=process.index, code=code, restart_in_s=pause_s)
        if not process.ready and not any(one.serving and one.serving.ready for one in self._posts):
            self._code = code or 1

    def _begin_reload(self, folder: Path) -> None:
        """Fork a successor for each process, with the settings as they are now; the old ones still serve."""
        try:
            chosen = read_plan(self._config)
            self._bind(chosen)
            _load_what_is_shared(chosen)
        except (PlanRefused, OSError) as trouble:
            _log.error("reload_refused", reason=str(trouble), goes_on="with the settings it has")
            notify(f"STATUS=not reloaded: {trouble}")
            return
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1_000}")
        self._next_plan = chosen
        while len(self._posts) < chosen.workers:
            self._posts.append(_Post(again_s=float("inf")))  # nobody serves there until the reload is done
        for index in range(chosen.workers):
            self._posts[index].following = self._fork(index, chosen, folder, follows=True)

    def _follow_reload(self) -> None:
        """When all successors are ready they take over, and the others finish what they have begun."""
        following = [post.following for post in self._posts if post.following]
        if not following or not all(one.ready for one in following):
            return
        chosen = self._plan = self._next_plan
        old = [post.serving for post in self._posts]
        for post in self._posts:
            post.serving, post.following, post.restarts, post.again_s = post.following, None, Restarts(), 0.0
        self._let_go(chosen)
        for successor in following:
            os.kill(successor.pid, signal.SIGUSR1)
        for process in old:
            self._dismiss(process)
        _log.info("radius_reloaded", processes=chosen.workers)
        notify("READY=1\nSTATUS=reloaded")

    def _dismiss(self, process: _Process | None) -> None:
        """Ask one to finish what it has begun and go."""
        if process is not None:
            os.kill(process.pid, signal.SIGTERM)
            process.ends_by_s = time.monotonic() + _STOP_PATIENCE_S
            self._leaving.append(process)

    def _let_go(self, chosen: Plan) -> None:
        """Posts and sockets that these settings have no use for; those leaving have their own copies."""
        del self._posts[chosen.workers :]
        keep = {name: count for name, (_, count) in chosen.endpoints.items()}
        for name, sockets in self._sockets.items():
            for one in sockets[keep.get(name, 0) :]:
                retire(one)
                one.close()
        self._sockets = {name: self._sockets[name][:count] for name, count in keep.items()}

    def _give_up_reload(self, code: int) -> None:
        """A successor has failed: those that serve were never asked to go."""
        _log.error("reload_failed", code=code, goes_on="with the processes it has")
        for post in self._posts:
            self._dismiss(post.following)
            post.following = None
        self._let_go(self._plan)
        notify("READY=1\nSTATUS=not reloaded: the new processes failed; see the log")

    def _end_all(self) -> None:
        """SIGTERM, patience, SIGKILL."""
        alive = self._all()
        for process in alive:
            os.kill(process.pid, signal.SIGTERM)
        until_s = time.monotonic() + _STOP_PATIENCE_S
        for process in alive:
            while not os.waitpid(process.pid, os.WNOHANG)[0]:
                if time.monotonic() > until_s:
                    os.kill(process.pid, signal.SIGKILL)
                time.sleep(0.02)
        for made in self._sockets.values():
            _close_all(made)


def _load_what_is_shared(plan: Plan) -> None:
    """What several processes need is loaded once, before they are forked: they share the pages that none of
    them writes to, and a new one begins at once. For a single one a head that has all loaded costs more."""
    if plan.workers > 1:
        from appliance.without_orm import leave_out_orm

        gc.disable()  # looking through all that for garbage is a sixth of the time
        leave_out_orm()
        driver = _DRIVERS[plan.database]
        for name in (*_ALL_NEED, driver, f"sqlalchemy.dialects.{plan.database}.{driver}"):
            importlib.import_module(name)
        gc.enable()
    gc.freeze()  # a collection in a child would write to every page


def _in_child(act: Callable[[], bytes]) -> bytes:
    """What a child finds out, so that this process need not load what that takes; empty if it fails."""
    ear, mouth = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            with os.fdopen(mouth, "wb") as told:
                told.write(act())
        except BaseException as trouble:  # noqa: BLE001 - nothing may return into the parent's course
            _log.error("role_failed", reason=f"{type(trouble).__name__}: {trouble}")
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.close(mouth)
    with os.fdopen(ear, "rb") as heard:
        found = heard.read()
    os.waitpid(pid, 0)
    return found


def _tell_failure(config: Path, trouble: OSError) -> bytes:
    import asyncio

    from appliance.roles import tell_failure
    from appliance.settings import load_settings

    asyncio.run(tell_failure("radius", load_settings(config), trouble))
    return b""


def _bind_patiently(listen: str, count: int, beside: list[socket.socket]) -> list[socket.socket]:
    until_s = time.monotonic() + _BIND_PATIENCE_S
    while True:
        try:
            return bind_shared(listen, count, beside)
        except OSError as trouble:
            if trouble.errno != errno.EADDRINUSE or time.monotonic() > until_s:
                raise
        time.sleep(0.1)


def _close_all(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()


def _is_orphan() -> bool:
    """Whether the ``hilltop run`` that started us is gone."""
    supervisor = int(os.environ.get("HILLTOP_SUPERVISOR", "0"))
    return bool(supervisor) and os.getppid() != supervisor


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals wait: a child takes none with its parent's handlers, which would note it and go on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NUMBERS)


def _drain(wakeup: object) -> None:
    with contextlib.suppress(BlockingIOError):
        while isinstance(wakeup, socket.socket) and wakeup.recv(4096):
            pass


@contextlib.contextmanager
def _heard_signals(selector: selectors.BaseSelector, heard: set[int]) -> Iterator[None]:
    """Signals wake the selector and are noted in ``heard``."""
    ear, mouth = socket.socketpair()
    with ear, mouth:
        ear.setblocking(False)
        mouth.setblocking(False)
        signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
        for number in _NUMBERS:
            signal.signal(number, lambda one, _frame: heard.add(one))
        selector.register(ear, selectors.EVENT_READ)
        yield
        signal.set_wakeup_fd(-1)
