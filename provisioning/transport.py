"""The one door to netmiko: consoles over SSH with pinned host keys, end marks and redacted transcripts.

netmiko is synchronous; each session lives in threads of a bounded pool. Prompts are not trusted to end an
output (RouterOS redraws them at each keystroke, netmiko issues 2880, 3285, 3498): after each command the
console prints a mark that only this command knows, and the output is what stands before the mark.
"""

from __future__ import annotations

import asyncio
import errno
import io
import re
import secrets
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import paramiko
from netmiko import ConnectHandler
from netmiko.exceptions import (
    NetmikoAuthenticationException,
    NetmikoBaseException,
    NetmikoTimeoutException,
    ReadTimeout,
)

from core.clock import SystemClock
from provisioning.config import ProvisioningSettings
from provisioning.domain.redaction import redact
from provisioning.ports import Command, Driver, Exchange, Reply, SessionTrouble, Target

_T = TypeVar("_T")
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # colours, cursor, erasing
    r"|[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)"  # window titles and the like, with their text
    r"|[ -/]+[0-~]|[0-OQ-WYZ\\=>c])|[\x00\x07\x08\x0e\x0f]"
)
_PROMPT_ENDS = re.compile(r"\A\s*[$#%>]?\s*")  # netmiko's base prompt may lack the sign at the end
_TAIL = 4096  # characters in which the end mark is looked for: more than any mark with escapes in it
_LONGEST_REPLY = 16 * 1024 * 1024  # characters; a list of a hundred thousand entries fits
_POLL_S = 0.01
_SHARE_OF_LEASE = 0.8  # the rest is for writing down what came of it
# How a session that broke off shows itself; AttributeError is netmiko's when the channel went under it.
_GONE = (NetmikoBaseException, paramiko.SSHException, OSError, EOFError, AttributeError)
_NO_ROUTE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
_KEY_CLASSES: tuple[type[paramiko.PKey], ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


class NetmikoTransport:
    """Opens consoles through netmiko. Close it at the end: it owns threads."""

    def __init__(self, settings: ProvisioningSettings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(settings.device_sessions, thread_name_prefix="device")

    def close(self) -> None:
        """Let the threads end; sessions still open are closed by their own contexts."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def open(self, target: Target, driver: Driver) -> AsyncIterator[NetmikoConsole]:
        """Log in; raises ``SessionTrouble`` saying why not."""
        connection = await self._in_thread(lambda: _connect(target, driver, self._settings))
        console = NetmikoConsole(
            connection, target=target, driver=driver, settings=self._settings,
            in_thread=self._in_thread,
        )  # fmt: skip
        try:
            yield console
        finally:
            await self._in_thread(console.hang_up)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class NetmikoConsole:
    """One open session."""

    def __init__(
        self,
        connection: Any,
        *,
        target: Target,
        driver: Driver,
        settings: ProvisioningSettings,
        in_thread: Callable[[Callable[[], str]], Any],
    ) -> None:
        self._connection = connection
        self._client: paramiko.SSHClient = connection.remote_conn_pre
        self._driver = driver
        self._settings = settings
        self._stopwatch = SystemClock()  # devices are real: their time does not move with a lab clock
        self._in_thread = in_thread
        self._broken = False
        # While the claim on the device lasts: afterwards another worker may be speaking to it.
        self._session_s = settings.claim_lease_s * _SHARE_OF_LEASE
        self._ends_at = self._stopwatch.monotonic_s() + self._session_s
        held = (target.password, target.private_key)
        self._secrets = [secret.reveal() for secret in held if secret is not None]
        self.host_key = _host_key_of(connection)
        self.exchanges: list[Exchange] = []

    async def send(self, command: Command) -> Reply:
        """Type one command; the reply is what the console printed before the end mark."""
        started = self._stopwatch.monotonic_s()
        nonce = secrets.token_hex(6)
        received = "(no end of the output)"
        try:
            raw = await self._in_thread(lambda: self._exchange(command.text, nonce))
            reply = self._reply(raw, command.text, nonce)
            received = reply.text
        except SessionTrouble:
            self._broken = True
            raise
        finally:
            self._note(command, received, started)
        return reply

    def hang_up(self) -> None:
        """Close the session; a broken one without the courtesy of a last command."""
        if not self._broken:
            with suppress(*_GONE):  # the device may be gone in the middle of our good-bye
                self._connection.disconnect()
        self._client.close()

    def _exchange(self, command: str, nonce: str) -> str:
        if self._stopwatch.monotonic_s() > self._ends_at:
            raise SessionTrouble("hung", f"the session took longer than {self._session_s:g} s")
        try:
            for line in self._driver.typed(command, nonce):
                self._connection.write_channel(line + self._connection.RETURN)
            return self._read_to(re.compile(self._driver.end_mark(nonce)), command)
        except _GONE as trouble:
            raise SessionTrouble("broken", f"the session broke off at: {_brief(command)}") from trouble

    def _read_to(self, end_mark: re.Pattern[str], command: str) -> str:
        """Everything up to the end mark; what follows is the next prompt, and of no interest.

        A long list may take its time: only silence, or the session's own end, stops the wait.
        """
        pieces: list[str] = []
        tail, received = "", 0
        heard_at = self._stopwatch.monotonic_s()
        while True:
            fresh = self._connection.read_channel()
            if fresh:
                pieces.append(fresh)
                received += len(fresh)
                tail = (tail + fresh)[-(_TAIL + len(fresh)) :]
                heard_at = self._stopwatch.monotonic_s()
                if end_mark.search(_ESCAPE.sub("", tail)):
                    return _ESCAPE.sub("", "".join(pieces))
            elif self._connection.remote_conn.closed:
                raise SessionTrouble("broken", f"the device closed the session at: {_brief(command)}")
            self._check_patience(heard_at, received, command)
            if not fresh:
                time.sleep(_POLL_S)

    def _check_patience(self, heard_at: float, received: int, command: str) -> None:
        now, limit_s = self._stopwatch.monotonic_s(), self._settings.command_timeout_s
        if now > heard_at + limit_s:
            raise SessionTrouble("hung", f"no answer within {limit_s:g} s to: {_brief(command)}")
        if now > self._ends_at:
            raise SessionTrouble("hung", f"the session took longer than {self._session_s:g} s")
        if received > _LONGEST_REPLY:
            raise SessionTrouble("broken", f"the answer does not end: {_brief(command)}")

    def _reply(self, raw: str, command: str, nonce: str) -> Reply:
        mark = re.search(self._driver.end_mark(nonce), raw)
        if mark is None:
            raise SessionTrouble("broken", f"the end mark vanished after: {_brief(command)}")
        status = re.search(r"-(\d+)$", mark[0])
        has_status = status is not None and not mark[0].endswith(nonce)
        text = _without_echo(
            raw[: mark.start()], self._driver.typed(command, nonce), self._connection.base_prompt
        )
        return Reply(text, int(status[1]) if status is not None and has_status else None)

    def _note(self, command: Command, received: str, started: float) -> None:
        ms = round((self._stopwatch.monotonic_s() - started) * 1000)
        limit = self._settings.reply_kept_characters
        safe = redact(received, self._secrets)
        if len(safe) > limit:
            safe = f"{safe[:limit]}\n({len(safe) - limit} more characters)"
        self.exchanges.append(Exchange(redact(command.text, self._secrets), safe, ms, command.service_id))


def _brief(command: str) -> str:
    return redact(command if len(command) <= 80 else f"{command[:77]}...")


def _without_echo(raw: str, typed: tuple[str, ...], prompt: str) -> str:
    """What the console printed of its own: without escapes, prompts and the echo of what was typed."""
    kept = []
    for line in _ESCAPE.sub("", raw).replace("\r", "\n").split("\n"):
        said = line
        if prompt and line.strip().startswith(prompt):
            # A plain shell may print it after the terminal echoed the command, right before the answer.
            said = _PROMPT_ENDS.sub("", line.strip().removeprefix(prompt), count=1)
        words = said.strip()
        # A number alone is an answer (a count), though its digits may well occur in what was typed.
        may_be_echo = (len(words) > 1 or said != line) and not words.isdigit()
        is_echo = may_be_echo and any(words in line_typed or line_typed in words for line_typed in typed)
        if words and not is_echo:
            kept.append(said)
    return "\n".join(kept)


def _connect(target: Target, driver: Driver, settings: ProvisioningSettings) -> Any:
    with tempfile.TemporaryDirectory(prefix="hilltop-ssh-") as folder:
        arguments = {
            "device_type": driver.device_type, "host": target.address, "port": target.port,
            "username": target.username, "password": target.password.reveal() if target.password else None,
            "pkey": _private_key(target), "use_keys": False, "allow_agent": False,
            "conn_timeout": settings.connect_timeout_s, "auth_timeout": settings.login_timeout_s,
            "banner_timeout": settings.login_timeout_s, **_host_key_rules(target, Path(folder)),
        }  # fmt: skip
        try:
            connection = ConnectHandler(**arguments)
        except NetmikoAuthenticationException:
            raise SessionTrouble("login_refused", _refused_login(target)) from None
        except (
            NetmikoBaseException,
            paramiko.SSHException,
            OSError,
            EOFError,
            ValueError,
            AttributeError,
        ) as trouble:
            raise _connect_trouble(target, trouble, settings) from None
    if target.host_key and _host_key_of(connection) != target.host_key:
        connection.paramiko_cleanup()
        raise SessionTrouble("host_key", "the host key differs from the pinned one")
    return connection


def _host_key_rules(target: Target, folder: Path) -> dict[str, Any]:
    """A pinned key is the only one accepted; without one, the first contact is trusted."""
    if target.host_key is None:
        return {"ssh_strict": False}
    host = target.address if target.port == 22 else f"[{target.address}]:{target.port}"
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"{host} {target.host_key}\n")
    return {"ssh_strict": True, "alt_host_keys": True, "alt_key_file": str(known_hosts)}


def _refused_login(target: Target) -> str:
    given = " or ".join(
        word for word, secret in (("password", target.password), ("key", target.private_key)) if secret
    )
    return f"login as {target.username} was refused: wrong user name or {given}"


def _connect_trouble(
    target: Target, trouble: BaseException, settings: ProvisioningSettings
) -> SessionTrouble:
    cause = trouble.__context__
    if isinstance(cause, paramiko.BadHostKeyException):
        return SessionTrouble("host_key", "the host key differs from the pinned one")
    text = str(trouble)
    if target.host_key and ("no acceptable host key" in text or "not found in known_hosts" in text):
        return SessionTrouble("host_key", "the device no longer shows the pinned host key")
    where = f"{target.address} port {target.port}"
    if isinstance(trouble, ReadTimeout):
        return SessionTrouble("hung", f"{where} accepted the login but shows no prompt")
    if isinstance(trouble, NetmikoTimeoutException | OSError):
        kind, why = _no_connection(cause if cause is not None else trouble, target, settings)
        return SessionTrouble(kind, f"no SSH session: {why}")
    return SessionTrouble("broken", f"the login to {where} broke off")


def _no_connection(cause: BaseException, target: Target, settings: ProvisioningSettings) -> tuple[str, str]:
    """(kind, plain words) of why there is no connection. Of several tries, the last one speaks."""
    where = f"{target.address} port {target.port}"
    if isinstance(cause, paramiko.ssh_exception.NoValidConnectionsError):
        cause = list(cause.errors.values())[-1]
    if isinstance(cause, socket.gaierror):
        return "unknown_name", f"the name {target.address} is not known"
    if isinstance(cause, ConnectionRefusedError):
        return "refused", f"{where} refused the connection"
    if isinstance(cause, TimeoutError):
        return "timed_out", f"{where} did not answer within {settings.connect_timeout_s:g} s"
    if isinstance(cause, OSError) and cause.errno in _NO_ROUTE:
        return "no_route", f"there is no way from here to {target.address}"
    return "unreachable", f"{where} takes connections but does not speak SSH, or breaks them off"


def _private_key(target: Target) -> paramiko.PKey | None:
    if target.private_key is None:
        return None
    for key_class in _KEY_CLASSES:
        try:
            return key_class.from_private_key(io.StringIO(target.private_key.reveal()))
        except (paramiko.SSHException, ValueError, IndexError):
            continue
    raise SessionTrouble("login_refused", "the stored private key is of a kind that SSH here does not know")


def _host_key_of(connection: Any) -> str | None:
    client = getattr(connection, "remote_conn_pre", None)
    transport = client.get_transport() if client is not None else None
    if transport is None:
        return None
    key = transport.get_remote_server_key()
    return f"{key.get_name()} {key.get_base64()}"
