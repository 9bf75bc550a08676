"""Runs bill runs that are killed: forks them from an interpreter that has imported everything.

One JSON order a line comes on standard input: the database, and after how many seconds the child gets SIGKILL
(null: it may live). The answer is ``done``, ``killed`` or what went wrong. The child writes real files or
talks to a real server, with the meters of the AAA room, and knows nothing of being watched.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time

import sqlalchemy.dialects.postgresql.asyncpg
import sqlalchemy.dialects.sqlite.aiosqlite  # noqa: F401 - before the fork, so that each child is quick

from appliance.wiring import MeteredUsage
from bench.billing_world import MEASURED, workplace_at
from billing.config import BillingSettings
from billing.invoicing.bill_run import bill_run
from core.database import Database
from core.refusal import granted


async def run(url: str, block_size: int) -> None:
    """The month's bill run, as the worker does it."""
    database = Database(url)
    settings = BillingSettings(block_size=block_size)
    outcome = granted(await bill_run(workplace_at(database, MEASURED), MeteredUsage(), settings=settings))
    await database.close()
    if outcome.parked:
        raise RuntimeError(f"parked: {outcome.parked}")


def _child(url: str, block_size: int) -> None:
    code = 1
    try:
        asyncio.run(run(url, block_size))
        code = 0
    except BaseException as trouble:  # noqa: BLE001 - what a Python process does at its end
        sys.excepthook(type(trouble), trouble, trouble.__traceback__)
    finally:
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Answer orders until standard input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(order["url"], order["block_size"])
        if order["kill_after_s"] is not None:
            time.sleep(order["kill_after_s"])
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            print("killed", flush=True)
        else:
            print("done" if os.WEXITSTATUS(status) == 0 else "failed", flush=True)


if __name__ == "__main__":
    serve()
