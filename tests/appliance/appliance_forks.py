"""Runs ``hilltop`` quickly: in processes forked from an interpreter that has imported it, since importing costs a second.

Each command is a process of its own all the same, with its own environment, standard streams and end. The interpreter
that forks listens on a socket at the path it is given, and ends with its standard input.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import core

_PORT = "socket"
_KEPT: list[subprocess.Popen[str]] = []


@functools.cache
def _nursery() -> Path:
    """The socket of this process's interpreter that forks."""
    folder = Path(tempfile.mkdtemp(prefix="hilltop-forks-"))
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder / _PORT)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(core.__file__).parents[1])},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    _KEPT.append(process)  # its standard input is open as long as this process lives
    return folder / _PORT


def run(
    words: Sequence[str], *, before: str, stdin: str, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """``hilltop WORDS`` to its end, after the Python of ``before`` in the same process."""
    ends = [os.pipe() for _ in range(3)]  # standard input, output, errors: (read, write)
    theirs, ours = [ends[0][0], ends[1][1], ends[2][1]], [ends[0][1], ends[1][0], ends[2][0]]
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(_nursery()))
        order = {"words": list(words), "before": before, "env": env, "folder": str(Path.cwd())}
        octets = json.dumps(order).encode()
        socket.send_fds(channel, [len(octets).to_bytes(4, "big")], theirs)
        channel.sendall(octets)
        for one in theirs:
            os.close(one)

        def give() -> None:
            with contextlib.suppress(BrokenPipeError), os.fdopen(ours[0], "w") as target:
                target.write(stdin)

        def take(end: int) -> str:
            with os.fdopen(end) as source:
                return source.read()

        with ThreadPoolExecutor(3) as threads:
            giving, said, complained = (
                threads.submit(give), threads.submit(take, ours[1]), threads.submit(take, ours[2])
            )  # fmt: skip
            giving.result()
            texts = said.result(), complained.result()
        code = int(channel.recv(16))
    return subprocess.CompletedProcess(["hilltop", *words], code, *texts)


def _serve(path: str) -> None:
    for package in ("appliance.commands", "billing.store", "core", "appliance"):
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            if found.name not in {"appliance.migrations", "appliance.new_migration", "appliance.story"}:
                importlib.import_module(found.name)
    for name in (
        "alembic.command",
        "sqlalchemy.dialects.sqlite.aiosqlite",
        "argon2",
        "asyncssh",
        "aiohttp.web",
    ):
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps who waited for a command
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            Path(path).unlink()
            Path(path).parent.rmdir()
            os._exit(0)
        channel, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _watch(channel)
        channel.close()


def _watch(channel: socket.socket) -> NoReturn:
    """Fork the command, wait for its end, tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(channel, 4, 3)
    octets = b""
    while len(octets) < int.from_bytes(head, "big"):
        octets += channel.recv(65_536)
    child = os.fork()
    if child == 0:
        channel.close()
        _become(json.loads(octets), streams)
    for one in streams:
        os.close(one)
    _, status = os.waitpid(child, 0)
    channel.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(order: dict[str, Any], streams: list[int]) -> NoReturn:
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = ["-c", *order["words"]]
    # As an interpreter's own, made anew: a buffer of the one that forked is none of this command's.
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    code = 0
    try:
        exec(f"{order['before']}\nfrom appliance.cli import main\nmain()", {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as trouble:  # noqa: BLE001 - what a Python process does at its end
        sys.excepthook(type(trouble), trouble, trouble.__traceback__)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
