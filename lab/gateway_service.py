"""``hilltop lab gateway``: a gateway to try cards on, with the commands that set it up."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from core.clock import Clock, SystemClock
from core.secrets import random_password
from lab.gateway_authorizenet import AuthorizeNetSandbox
from lab.gateway_stripe import StripeSandbox
from lab.gateway_world import serve

_SETTLES_EVERY_S = 60.0
"""A sandbox's banks are quick: a debit that takes days elsewhere has its end in a minute."""


async def run_gateways(
    stop: asyncio.Event,
    *,
    panel_url: str,
    host: str = "127.0.0.1",
    port: int = 8450,
    clock: Clock | None = None,
    say: Callable[[str], None] = print,
    ready: asyncio.Event | None = None,
) -> None:
    """Run both simulated gateways on two ports until ``stop``; their webhooks go to ``panel_url``."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    watch = clock or SystemClock()
    keys = [random_password(3).replace("-", "") for _ in range(4)]
    stripe = StripeSandbox(watch, f"sk_test_{keys[0]}", f"whsec_{keys[1]}")
    other = AuthorizeNetSandbox(watch, "lab-login", keys[2], keys[3].upper())
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hilltop-lab-gateway-")))
        for offset, name, sandbox, key, hook_key, login in (
            (0, "stripe", stripe, stripe.key, stripe.signing_secret, ""),
            (1, "authorizenet", other, other.key, other.signature_key, f" --login {other.login}"),
        ):
            sandbox.world.hook_url = f"{panel_url.rstrip('/')}/hooks/{name}"
            sandbox.world.delivers_itself = True
            listening = await serve(sandbox.app(), host, port + offset if port else 0)
            stack.push_async_callback(listening.close)
            for kind, secret in (("key", key), ("webhook-key", hook_key)):
                file = folder / f"{name}.{kind}"
                file.touch(0o600)
                file.write_text(secret)
            say(f"{name} at {listening.url}; webhooks go to {sandbox.world.hook_url}. Set it up:")
            say(
                f"  hilltop gateway set {name}{login} --base-url {listening.url}"
                f" --key-file {folder / name}.key --webhook-key-file {folder / name}.webhook-key"
            )
        if ready is not None:
            ready.set()
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _SETTLES_EVERY_S)
            for one in (stripe, other):
                one.settle()
                await one.world.deliver_by_itself()
