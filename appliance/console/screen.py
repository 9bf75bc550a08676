"""What the console shows: gathered without the database, but for what ``hilltop status`` told last."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import textwrap
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from appliance.console.network import interfaces
from appliance.console.places import Places
from appliance.role_marks import role_states
from appliance.whereabouts import panel_urls
from core.addresses import local_addresses
from core.release import image, version

WIDTH = 79
_MOST_URLS = 3
_MOST_INTERFACES = 5
_DATA_LOST = Path("/run/hilltop-data-lost")  # left there by the appliance's start: why, in one line
_LONGEST_REASON = 1000
_REASON_LINES = 2
_MENU = """\
 1 Network                          5 Restart
 2 New password for an operator     6 Power off
 3 Date and time                    7 Factory reset
 4 Hilltop commands                 Enter: look again"""
_LONGEST_ANSWER_S = 120.0


@dataclass(frozen=True, slots=True)
class View:
    """The lines of the first screen."""

    lines: tuple[str, ...]
    settled: bool  # every role is ready: no need to look again by itself


class Status:
    """What ``hilltop status --json`` said last, asked in another process so that nobody waits for it."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._running: subprocess.Popen[bytes] | None = None
        self._since = 0.0
        self.told: dict[str, Any] | None = None

    def ask(self) -> None:
        """Begin to ask, unless that goes on already."""
        if self._running is not None:
            return
        self._since = time.monotonic()
        try:
            self._running = subprocess.Popen(  # noqa: S603 - without a shell
                self._places.command("status", "--json"),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        except OSError:
            self._running = None

    def heard(self) -> bool:
        """True once for each answer."""
        running = self._running
        if running is None:
            return False
        if running.poll() is None:
            if time.monotonic() - self._since > _LONGEST_ANSWER_S:
                running.kill()
            return False
        said = running.stdout.read() if running.stdout else b""
        if running.stdout:
            running.stdout.close()
        self._running = None
        try:
            told = json.loads(said)
        except ValueError:
            told = None
        self.told = told if isinstance(told, dict) else None
        return True


def view(places: Places, told: dict[str, Any] | None) -> View:
    """The first screen as things are now."""
    states = role_states(places.state)
    ready = (places.runtime / "ready").exists()
    found = image()
    head = f"Hilltop {version()}" + (f"   image {found['name']} {found['version']}" if found else "")
    rows = [
        head,
        "-" * WIDTH,
        *_machine(ready),
        _row("Roles", in_groups(states)),
        _row("Clock", _clock(told)),
        _row("Health", _health(told)),
        *_panel(places),
        *_fingerprint(places),
        _row("One-time code", _code(places, told)),
        *_interfaces(places),
        "-" * WIDTH,
        *_MENU.splitlines(),
    ]
    settled = ready and all(state == "ready" for state in states.values()) and told is not None
    return View(tuple(line[:WIDTH] for line in rows), settled)


def _machine(ready: bool) -> list[str]:
    try:
        reason = _DATA_LOST.read_text(errors="replace")[:_LONGEST_REASON]
    except FileNotFoundError:
        words = "ready" if ready else "starting: keys, certificate and database are being prepared"
        return [_row("Machine", words)]
    except OSError as trouble:
        reason = trouble.strerror or ""
    reason = "".join(letter if letter.isprintable() else " " for letter in reason)
    lines = textwrap.wrap(reason, WIDTH - len(_row("", "")), max_lines=_REASON_LINES)
    told = ["its data partition cannot be used, and nothing runs:", *(lines or ["look at the disk"])]
    return [_row("" if number else "Machine", line) for number, line in enumerate(told)]


def in_groups(states: dict[str, str]) -> str:
    """Roles by their state, in one line."""
    groups: dict[str, list[str]] = {}
    for role, state in states.items():
        groups.setdefault(state, []).append(role)
    return "; ".join(f"{state}: {' '.join(roles)}" for state, roles in groups.items())


def _row(name: str, value: str) -> str:
    return f"{name:14} {value}"


def _clock(told: dict[str, Any] | None) -> str:
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    trust = told.get("clock") if told else None
    return f"{now}, {trust['words']}" if isinstance(trust, dict) and "words" in trust else now


def _health(told: dict[str, Any] | None) -> str:
    if told is None:
        return "not known yet"
    said = told.get("health")
    return str(said) if said else "not known: the database does not answer"


def _panel(places: Places) -> list[str]:
    try:
        urls = panel_urls(places.listen, tls=places.certificate is not None)
    except ValueError:  # no role starts with such settings
        urls = []
    if not urls:
        return [_row("Panel", "no address yet")]
    return [_row("" if number else "Panel", url) for number, url in enumerate(urls[:_MOST_URLS])]


def _fingerprint(places: Places) -> list[str]:
    if places.certificate is None:
        return []
    try:
        text = places.certificate.read_text(errors="replace")
        body = text.split("-----BEGIN CERTIFICATE-----")[1].split("-----END CERTIFICATE-----")[0]
        octets = hashlib.sha256(base64.b64decode(body)).digest().hex(":").upper()
    except (OSError, ValueError, IndexError):
        return [_row("Certificate", "none yet, or not readable")]
    return [_row("Certificate", f"SHA-256 {octets[:48]}"), _row("", f"        {octets[48:]}")]


def _code(places: Places, told: dict[str, Any] | None) -> str:
    if told is not None and told.get("code") == "used":
        return "used"
    try:
        text = (places.runtime / "admin-code").read_text(errors="replace").strip()[:40]
    except OSError:
        return "used" if (places.runtime / "ready").exists() else "not made yet"
    return f"{text}   for the operator named owner"


def _interfaces(places: Places) -> list[str]:
    by_name: dict[str, list[str]] = {name: [] for name in interfaces(places.interfaces)}
    for one in local_addresses():
        if one.interface in by_name:
            by_name[one.interface].append(str(one.address))
    rows = [_row(name[:14], ", ".join(found) or "no address yet") for name, found in by_name.items()]
    rows.sort(key=lambda row: row.endswith("no address yet"))
    more = len(rows) - _MOST_INTERFACES
    return rows[:_MOST_INTERFACES] + ([_row("", f"and {more} more")] if more > 0 else [])
