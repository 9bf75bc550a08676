"""Starts roles quickly: forks them from an interpreter that has imported them, since importing costs a second.

A child runs the very command ``hilltop --config F role NAME``. One JSON order a line comes on standard input
and its answer, the process id, goes to standard output. Children die with this process, and this one with its
standard input.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1


def serve() -> None:
    """Import everything, then fork at each order until standard input ends."""
    for name in _MODULES:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(order)
        print(child, flush=True)


_MODULES = (
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "aaa.reap_sessions",
    "appliance.reactions",
    "appliance.role_process",
    "appliance.roles",
    "appliance.schedule",
    "billing.invoicing.bill_run",
    "billing.dunning.evaluate",
    "core.outbox",
    "provisioning.enforce",
    "provisioning.transport",
    "radius.accounting.ingest",
    "radius.dynauth.live_session",
    "radius.serving.role",
    "snmp.poll",
    "snmp.role",
)


def _become(order: dict[str, Any]) -> NoReturn:
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, descriptor)
    os.environ.update(order["env"])
    sys.argv = ["hilltop", *order["arguments"]]
    from appliance.cli import main

    code = 1
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as trouble:  # noqa: BLE001 - what a Python process does at its end
        sys.excepthook(type(trouble), trouble, trouble.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
