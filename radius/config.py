"""The RADIUS room's slice of the settings."""

from __future__ import annotations

import os
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from aaa.domain.profile import AccessPolicy
from core.bounds import Count, Seconds
from core.endpoints import check_distinct, is_address, split_endpoint
from radius.guard.lockout import LockoutLimits
from radius.guard.rate_limits import RateLimits
from radius.radsec.limits import RadSecLimits

EapMethod = Literal["ttls", "peap", "tls", "mschapv2", "md5"]
TlsVersion = Literal["1.2", "1.3"]


class EapSettings(BaseModel):
    """Which EAP methods are offered, and the TLS of those that have one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: list[EapMethod] = ["ttls", "peap", "tls", "mschapv2", "md5"]
    """The first is proposed; a CPE that wants another gets it if it stands here."""
    methods_of_nas: list[str] = []
    """Instead of ``methods``, like ``tower=peap,ttls``. EAP-MD5 is never offered to a NAS that needs keys."""
    tls_minimum: TlsVersion = "1.2"
    tls_maximum: TlsVersion = "1.3"
    ciphers: str | None = None
    """OpenSSL's cipher list for TLS 1.2, for CPEs that need an old one."""
    session_lifetime_s: int = Field(default=28_800, ge=0, le=604_800)
    """How long a CPE may resume its TLS session instead of signing in anew; 0: never."""
    certificate_file: str | None = None
    private_key_file: str | None = None
    """PEM files of a server certificate from elsewhere (our own first, then its chain), and of its key.
    Without them the one of Hilltop's own authority is shown."""
    fragment_octets: int = Field(default=1_200, ge=100, le=3_500)
    """TLS octets in one EAP packet; a NAS's Framed-MTU makes it smaller."""
    conversations: int = Field(default=2_048, ge=16, le=1_000_000)
    """Under way at once in one process, at 50 to 70 kB each; a quarter of them at most are one NAS's."""
    conversation_lifetime_s: int = Field(default=60, ge=5, le=600)

    @field_validator("methods_of_nas")
    @classmethod
    def _of_nas(cls, written: list[str]) -> list[str]:
        for one in written:
            name, methods = _methods_of_nas(one)
            unknown = [each for each in methods if each not in get_args(EapMethod)]
            if not name or not methods or unknown:
                raise ValueError(
                    f"{one!r} is no NAS with its methods; write it like tower=peap,ttls, with methods among "
                    f"{', '.join(get_args(EapMethod))}"
                )
        return written

    @property
    def of_nas(self) -> dict[str, list[str]]:
        """The methods of each NAS that has its own, by its name."""
        return dict(_methods_of_nas(one) for one in self.methods_of_nas)

    @model_validator(mode="after")
    def _fits_together(self) -> EapSettings:
        if self.tls_minimum > self.tls_maximum:
            raise ValueError(
                f"tls_minimum {self.tls_minimum} is above tls_maximum {self.tls_maximum}; no TLS is left"
            )
        return self


def _methods_of_nas(written: str) -> tuple[str, list[str]]:
    name, _, methods = written.rpartition("=")
    return name.strip(), [one.strip() for one in methods.split(",") if one.strip()]


_FILTER_NAME = r"^[ -~]{1,128}$"
"""A name that fits an attribute, whatever the dialect puts around it."""


class RadiusSettings(BaseModel):
    """Where RADIUS is answered, how fast what happens, and the operator's access policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    auth_listen: list[str] = ["0.0.0.0:1812"]
    accounting_listen: list[str] = ["0.0.0.0:1813"]
    """A named address is a little faster than a wildcard, which must note where each request came in."""
    radsec_listen: list[str] = []
    dynauth_listen: list[str] = []
    """Where proxies and scripts may ask to end or change live sessions (RFC 5176); none: nowhere."""
    dynauth_require_timestamp: bool = True
    """Whether such a request must say when it was made: without that an old one may be sent once more."""
    dynauth_rate: float = Field(default=20.0, gt=0, le=10_000)
    """Such requests a second of one client; twice as many at once."""
    """Where NASes come by TLS (RFC 6614), like 0.0.0.0:2083; it needs a certificate: hilltop ca."""
    radsec_connections: int = Field(default=500, ge=1, le=50_000)
    radsec_connections_of_one: int = Field(default=8, ge=1, le=1_000)
    """Connections a worker holds, in all and of one NAS."""
    radsec_idle_s: Seconds = 900.0
    """A connection on which nothing came for so long is closed; the NAS opens another when it has to."""

    workers: int = Field(default=0, ge=0, le=64)
    """Processes that answer, each on its core; 0: as many as cores, at most one for each GiB of memory."""

    reject_delay_s: float = Field(default=1.0, ge=0, le=5)
    delayed_rejects: Count = 10_000
    """Rejects waiting for their time. A tenth of them at most are one NAS's: a flood there costs no other."""
    requests_per_s_of_source: int = Field(default=20_000, ge=0, le=10_000_000)
    requests_per_s_of_nas: int = Field(default=40_000, ge=0, le=10_000_000)
    """What a worker takes of sign-ins, and again of reports; beyond that silence. 0: no limit."""
    unknown_names_per_s: int = Field(default=20, ge=0, le=1_000_000)
    """Sign-ins from one source under names nobody has that are answered; ten times as many at once."""
    lockout_after: int = Field(default=5, ge=2, le=1_000)
    """Wrong passwords for one login from one device until it must wait: 2 s, and each time twice as long."""
    lockout_longest_s: Seconds = 300.0
    lockout_longest_known_s: Seconds = 10.0
    """The longest wait of a device that has signed in there before."""
    proxy_outstanding: int = Field(default=4_096, ge=16, le=1_000_000)
    """Sign-ins of other realms that wait for their home servers; beyond them a NAS gets no answer."""
    duplicate_memory_s: float = Field(default=6.0, ge=1, le=60)
    duplicate_entries: int = Field(default=65_536, ge=1_024, le=10_000_000)
    slow_proof_threads: int = Field(default=2, ge=1, le=32)
    """Threads that check passwords against argon2id and bcrypt; each needs the memory its hash asks for."""
    slow_proof_queue: int = Field(default=256, ge=1, le=10_000)
    """Requests waiting for such a check; beyond them a NAS gets no answer and tries again."""
    directory_refresh_s: Seconds = 0.25
    database_patience_s: Seconds = 3.0
    """How long a process that starts waits for the database before it begins with the snapshot."""
    snapshot_every_s: Seconds = 300.0
    """The snapshot of the directory follows its changes at most so often."""
    reject_record_s: Seconds = 1.0
    status_interval_s: Seconds = 10.0

    journal_commit_rows: int = Field(default=100, ge=1, le=5_000)
    journal_commit_ms: float = Field(default=20, ge=0, le=1_000)
    journal_backlog: int = Field(default=20_000, ge=100, le=10_000_000)
    """Records waiting for the disk; beyond them a NAS gets no answer and tries again."""
    journal_trim_s: Seconds = 5.0

    walled_garden_list: str = Field(default="hilltop-walled", pattern=_FILTER_NAME)
    open_list: str = Field(default="hilltop-open", pattern=_FILTER_NAME)
    throttle_down_bps: int = Field(default=1_000_000, ge=1_000, le=1_000_000_000_000)
    throttle_up_bps: int = Field(default=512_000, ge=1_000, le=1_000_000_000_000)
    interim_jitter_percent: int = Field(default=10, ge=0, le=50)
    when_blocked: Literal["reject", "walled_garden"] = "reject"
    """What a blocked subscriber's sign-in gets, unless his profile says otherwise."""
    walled_down_bps: int | None = Field(default=None, ge=1_000, le=1_000_000_000_000)
    walled_up_bps: int | None = Field(default=None, ge=1_000, le=1_000_000_000_000)
    """Rates in the walled garden; without them the plan's own."""

    dictionary_files: list[str] = []
    """The operator's own attributes, in FreeRADIUS's format, read after the product's; absolute paths."""

    cpe_binding: Literal["off", "learn"] = "off"
    """Whether a login is bound to the first CPE it is seen with, unless it says otherwise."""
    when_crowded: Literal["newest", "oldest", "unlimited"] = "newest"
    """What becomes of devices beyond those a service may have online, unless it or its profile says."""
    online_refresh_s: Seconds = 1.0
    pool_hold_h: float = Field(default=72.0, ge=1, le=8_760)
    """So long a worker that cannot reach the database gives away what was set aside for it; after that
    addresses of one that is gone without a trace are others'."""
    walled_pool: str | None = None
    """The IPv4 pool of sessions in the walled garden; without it the plan's."""

    dynauth_timeout_s: Seconds = 2.0
    dynauth_tries: int = Field(default=3, ge=1, le=10)
    dynauth_source: str | None = None
    """The address CoA leaves from, when NASes only listen to one of several."""
    simultaneous_use_check_s: Seconds = 30.0

    eap: EapSettings = EapSettings()

    @field_validator("auth_listen", "accounting_listen", "radsec_listen", "dynauth_listen")
    @classmethod
    def _listen(cls, listen: list[str]) -> list[str]:
        for one in listen:
            split_endpoint(one)
        return listen

    @field_validator("dictionary_files")
    @classmethod
    def _absolute(cls, files: list[str]) -> list[str]:
        for one in files:
            if not one.startswith("/"):
                raise ValueError(
                    f"{one!r} is not an absolute path; write it like /etc/hilltop/dictionary.own"
                )
        return files

    @field_validator("dynauth_source")
    @classmethod
    def _an_address(cls, source: str | None) -> str | None:
        if source is not None and not is_address(source):
            raise ValueError(f"{source!r} is not an address of this machine; write it like 192.0.2.1")
        return source

    @model_validator(mode="after")
    def _distinct(self) -> RadiusSettings:
        check_distinct("radius.radsec_listen", self.radsec_listen)
        listen = [*self.auth_listen, *self.accounting_listen]
        check_distinct("radius.auth_listen and radius.accounting_listen", listen)
        both = [*listen, *self.dynauth_listen]
        check_distinct("radius.dynauth_listen and the other listeners of RADIUS", both)
        return self

    @property
    def radsec(self) -> RadSecLimits:
        """How many RadSec connections a worker holds, and how long."""
        return RadSecLimits(self.radsec_connections, self.radsec_connections_of_one, self.radsec_idle_s)

    @property
    def rates(self) -> RateLimits:
        """How much a worker takes of whom."""
        return RateLimits(self.requests_per_s_of_source, self.requests_per_s_of_nas, self.unknown_names_per_s)

    @property
    def lockout(self) -> LockoutLimits:
        """When wrong passwords make wait."""
        return LockoutLimits(self.lockout_after, self.lockout_longest_s, self.lockout_longest_known_s)

    @property
    def endpoints(self) -> dict[str, tuple[str, int]]:
        """Where it listens by UDP, by a name for each: the place and how many processes hear it.

        The names tell apart what may be equal: the same port 0 may be asked for twice.
        """
        shared = {f"auth {listen}": (listen, self.worker_count) for listen in self.auth_listen}
        shared |= {f"accounting {listen}": (listen, self.worker_count) for listen in self.accounting_listen}
        return shared | {f"dynauth {listen}": (listen, 1) for listen in self.dynauth_listen}

    @property
    def worker_count(self) -> int:
        """How many processes answer on this machine."""
        memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        return self.workers or min(len(os.sched_getaffinity(0)), max(1, round(memory_gib)))

    @property
    def policy(self) -> AccessPolicy:
        """The part that decides what sessions get."""
        return AccessPolicy(
            self.walled_garden_list, self.open_list, self.throttle_down_bps, self.throttle_up_bps,
            self.interim_jitter_percent, self.when_blocked, self.walled_down_bps, self.walled_up_bps,
            self.when_crowded, self.cpe_binding, self.walled_pool,
        )  # fmt: skip
