"""The EAP server of one process, and what keeps its offer current: the server certificate and its dates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from aaa.directory import Directory
from aaa.directory_certificates import TlsMaterial
from core.clock import Clock
from core.health import HealthIssue
from radius.config import EapSettings
from radius.eap.certificates import DirectoryBook, anchors_of, of_directory, read_server_certificate
from radius.eap.conversation import Conversation
from radius.eap.server import METHODS, EapLimits, EapOffer, EapServer
from radius.eap.steps import refusal
from radius.eap.tls_session import ServerCertificate, TlsRules
from radius.guard.lockout import Lockout
from radius.serving.counters import Counters
from radius.sign_in.reject_log import Rejection

CERTIFICATE_ISSUE: Final = "radius.eap_certificate"
_WARNED: Final = timedelta(days=30)
_URGENT: Final = timedelta(days=7)

FileMark = tuple[int, int, int, int]
"""When two files were last written, and their sizes."""


class EapKeeper:
    """Makes the server from the settings; ``look`` again now and then."""

    def __init__(  # noqa: PLR0917 - the radius process calls it this way
        self,
        settings: EapSettings,
        counters: Counters,
        on_reject: Callable[[Rejection], None],
        lockout: Lockout,
        clock: Clock,
        worker: int = 0,
    ) -> None:
        self._clock = clock
        self._book: DirectoryBook | None = None
        self._material: TlsMaterial | None = None
        self._issued: tuple[ServerCertificate, ...] = ()
        self._settings = settings
        self._counters = counters
        self._on_reject = on_reject
        self._mark: FileMark | None = None
        self._certificate: ServerCertificate | None = None
        self._troubles: dict[str, str] = {}
        self._read()
        limits = EapLimits(
            settings.conversations, -(-settings.conversations // 4), settings.conversation_lifetime_s,
            settings.fragment_octets,
        )  # fmt: skip
        self.server = EapServer(self._offer(()), limits, worker, self._on_lost, lockout)
        self._offer_it()

    def look(self) -> bool:
        """Read the files again if they have changed; whether they had. What is wrong with them is told by
        ``issues``, and the last good certificate stays."""
        if self._settings.certificate_file is None or self._marked() == self._mark:
            return False
        self._read()
        self._offer_it()
        return True

    def use(self, directory: Directory) -> None:
        """Decide by this snapshot, and show what certificates it has if the settings name no files."""
        self.server.use(directory)
        material = directory.certificates.tls
        if material is self._material:
            if self._book is not None:
                self._book.directory = directory
            return
        self._material = material
        try:
            self._issued = of_directory(material)
            self._book = DirectoryBook(directory, anchors_of(material), self._clock)
            self._troubles.pop("issued", None)
        except ValueError as trouble:
            self._troubles["issued"] = str(trouble)
        self._offer_it()

    def _offer_it(self) -> None:
        shown = self._issued if self._certificate is None else (self._certificate,)
        try:
            self.server.offer_anew(self._offer(shown))
            self._troubles.pop("offer", None)
        except ValueError as trouble:  # ciphers that name none, for instance
            self._troubles["offer"] = str(trouble)

    def _offer(self, certificates: tuple[ServerCertificate, ...]) -> EapOffer:
        settings = self._settings
        return EapOffer(
            tuple(METHODS[one] for one in settings.methods),
            {name: tuple(METHODS[one] for one in some) for name, some in settings.of_nas.items()},
            TlsRules(
                settings.tls_minimum, settings.tls_maximum, settings.ciphers, settings.session_lifetime_s
            ),
            certificates, self._book,
        )  # fmt: skip

    def _files(self) -> tuple[Path, Path] | None:
        chain, key = self._settings.certificate_file, self._settings.private_key_file
        if chain is not None and key is not None:
            return Path(chain), Path(key)
        if chain is not None or key is not None:
            self._troubles["files"] = "certificate_file and private_key_file go together, and one is not set"
        return None

    def _marked(self) -> FileMark | None:
        files = self._files()
        if files is None:
            return None
        try:
            chain, key = (one.stat() for one in files)
        except OSError:
            return 0, 0, 0, 0
        return chain.st_mtime_ns, chain.st_size, key.st_mtime_ns, key.st_size

    def _read(self) -> None:
        files = self._files()
        if files is None:
            return
        self._mark = self._marked()
        try:
            self._certificate = read_server_certificate(*files)
            self._troubles.pop("files", None)
        except ValueError as trouble:
            self._troubles["files"] = str(trouble)

    def issues(self, now: datetime) -> list[HealthIssue]:
        """What the operator has to see to."""
        if self._troubles:
            return [
                HealthIssue(
                    CERTIFICATE_ISSUE, "critical",
                    f"the server certificate for EAP cannot be used: {'; '.join(self._troubles.values())}",
                    "put right what radius.eap names (certificate_file, private_key_file, ciphers), or leave "
                    "the files out: then Hilltop shows the certificate that its own authority issues",
                )
            ]  # fmt: skip
        if self._certificate is None:
            return []
        ends = self._certificate.chain[0].not_valid_after_utc
        if ends - now > _WARNED:
            return []
        word = "has expired" if ends <= now else "expires"
        return [
            HealthIssue(
                CERTIFICATE_ISSUE, "critical" if ends - now <= _URGENT else "warning",
                f"the server certificate for EAP {word} ({ends:%Y-%m-%d}); CPEs refuse it from then on",
                "renew it, and replace the files that radius.eap.certificate_file and private_key_file name",
            )
        ]  # fmt: skip

    def _on_lost(self, lost: Conversation) -> None:
        """Recorded like a reject: a CPE that does not like our certificate often says nothing at all."""
        self._counters.eap_unfinished += 1
        reject = refusal(
            "eap_unfinished", lost.dialogue.identity,
            f"the CPE fell silent in the midst of {lost.dialogue.described}",
            "look at the CPE's log; one that falls silent after the server certificate does not trust it",
        )  # fmt: skip
        station = None if lost.station is None else lost.station.decode("utf-8", "replace")
        self._on_reject(Rejection(lost.owner[0], reject, station))
