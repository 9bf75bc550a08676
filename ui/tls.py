"""The panel's TLS: it comes up whatever has become of its certificate, and takes over a new one by itself.

A panel that cannot be reached is where a bad certificate could be put right. So a missing or broken one is
replaced by one made in memory, an expired one is shown as it is, and either is a health issue.
"""

from __future__ import annotations

import _ssl
import asyncio
import ssl
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from core.clock import SystemClock
from core.health import HealthIssue, close_issue, open_issue
from core.log import logger
from core.memory_files import in_memory
from core.work import Workplace
from ui.certificate_files import before, fault_of, load, new_context

log = logger("ui")

ISSUE_KEY = "ui.tls_certificate"
_LOOK_EVERY_S = 2.0
_REMEDY = (
    "Put the right files there (hilltop certificate install --cert FILE --key FILE), or make a self-signed "
    "one (hilltop certificate renew). The panel takes it over by itself."
)


class PanelTls:
    """One context for all connections; what it shows changes with the files."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self.context = new_context()
        self._seen: object = None
        self._fault: str | None = None
        self._has_own = False  # loaded from the files at least once

    def look(self) -> None:
        """Take over what the files hold, if they have changed; without a usable pair the last one stays."""
        seen = [_signature(path) for path in self._files]
        if seen == self._seen:
            return
        self._seen = seen
        self._fault = fault_of(*self._files)
        certificate, key = self._files
        if self._fault is None:
            load(self.context, certificate, key)
            self._has_own = True
        elif self._has_own:
            return
        elif fault_of(certificate, before(key)) is None:  # its replacing was cut off
            load(self.context, certificate, before(key))
            self._has_own = True
        else:
            _load_made_in_memory(self.context)

    def issue(self, now: datetime) -> HealthIssue | None:
        """What is wrong with the certificate at this instant."""
        file = self._files[0]
        if self._fault is not None:
            shown = "the one before" if self._has_own else "a self-signed one made for now"
            title = f"The panel's certificate cannot be used: {self._fault}; it shows {shown}"
            return HealthIssue(ISSUE_KEY, "critical", title, _REMEDY)
        ends = _ends(file)
        if ends is not None and now.timestamp() > ends:
            day = datetime.fromtimestamp(ends, now.tzinfo)
            title = f"The panel's certificate {file} expired on {day:%Y-%m-%d}; browsers warn of it"
            return HealthIssue(ISSUE_KEY, "warning", title, _REMEDY)
        return None


async def keep_certificate(tls: PanelTls, workplace: Workplace, stop: asyncio.Event) -> None:
    """Look at the files every few seconds, and open or close the health issue when that changes."""
    told: object = ()
    while not stop.is_set():
        try:
            tls.look()
            found = tls.issue(workplace.clock.now())
            if found != told:
                await _tell(workplace, found)
                told = found
        except Exception as trouble:  # noqa: BLE001 - the panel goes on with the certificate it has
            log.warning("certificate_not_looked_at", error=f"{type(trouble).__name__}: {trouble}")
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK_EVERY_S)


async def _tell(workplace: Workplace, found: HealthIssue | None) -> None:
    if found is not None:
        log.error(
            "certificate_unusable" if found.severity == "critical" else "certificate_old", said=found.title
        )
    async with workplace.work("system:web") as work:
        if found is None:
            await close_issue(work, ISSUE_KEY)
        else:
            await open_issue(work, found)


def _signature(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as trouble:
        return trouble.errno
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode, found.st_uid


def _ends(certificate: Path) -> float | None:
    """The last instant of a certificate, read as the handshake reads it; None when it is not told."""
    decode = getattr(_ssl, "_test_decode_cert", None)  # the x509 of cryptography is 5 MB of a panel
    if decode is None:
        return None
    try:
        return float(ssl.cert_time_to_seconds(str(decode(str(certificate))["notAfter"])))
    except (OSError, ValueError, LookupError):
        return None


def _load_made_in_memory(context: ssl.SSLContext) -> None:
    from ui.certificates import make_self_signed

    with in_memory(*make_self_signed(SystemClock().now())) as pair:
        load(context, *pair)
