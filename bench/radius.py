"""``radius``: Hilltop against FreeRADIUS, request for request.

Both servers stand at once; in each round one of them works and the other is stopped (SIGSTOP), turn about.
Both get the same kind of requests for the same subscribers from the same generator, all with
Message-Authenticator, and every reply's code and authenticator are checked. A figure is the median of the
rounds.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from bench import cpu, freeradius
from bench.compiled import cannot_compile
from bench.echo import Echo
from bench.freeradius import Configuration, FreeRadius
from bench.generator import Accesses, Flood, Generator, LearnClasses, Load, Mixed, Reports, RoundResult
from bench.hilltop import Hilltop
from bench.options import Measured, Options, say
from bench.packets import METHODS, Subscriber, make_subscribers
from bench.ports import free_udp_ports
from bench.postgresql import SETTINGS as POSTGRESQL_SETTINGS
from bench.postgresql import Cluster
from bench.table import Row
from bench.ttls import TtlsLoad
from core import pki

OURS, THEIRS = "Hilltop", "FreeRADIUS"
ON_SQLITE = ("accounting_sqlite", "mixed_sqlite")
ON_POSTGRESQL = ("accounting_postgresql", "mixed_postgresql")
EAP_ROWS = ("eap_ttls", "eap_ttls_p256")
ROWS = (*METHODS, "latency_one", "overload", *EAP_ROWS, *ON_SQLITE, *ON_POSTGRESQL)
SECRET = "bench-secret-of-32-characters-xy"
LANES = 8
WINDOW = 256
IDENTIFIERS = LANES * 256

OUR_WORKERS = (1, 2)
FILES_THREADS = (0, 1, 2, 3)
SQLITE_THREADS = (0, 1, 2)
"""No more: with four threads rlm_sql on SQLite was seen to answer for sessions that were not in the table."""
POSTGRESQL_THREADS = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done."""

    subscribers: int
    rounds: int
    round_s: float
    warm_up_s: float
    tuning_s: float
    """Length of a trial with one number of threads; 0: take the middle candidate untried."""
    drain_s: float
    turns: int
    """Access-Requests made for a row, in turns of every lane's identifiers, so they can come round again."""

    @property
    def stock(self) -> int:
        """How many Access-Requests that is."""
        return self.turns * IDENTIFIERS


FULL = Scale(subscribers=10_000, rounds=5, round_s=2.0, warm_up_s=0.5, tuning_s=0.8, drain_s=15.0, turns=24)
QUICK = Scale(subscribers=1_000, rounds=3, round_s=0.4, warm_up_s=0.2, tuning_s=0.0, drain_s=2.0, turns=8)


@dataclass(slots=True)
class Side:
    """One server in one row: where it listens, whose processor time counts, and what was measured."""

    name: str
    port: int
    pids: list[int]
    beside: dict[str, list[int]] = field(default_factory=dict)
    """Processes that work for the server (ingestion, PostgreSQL), by name; their time is given apart."""
    rounds: list[RoundResult] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    beside_cpu_us: dict[str, list[float]] = field(default_factory=dict)
    promised_sessions: int = 0
    promised_reports: int = 0
    accounting_port: int = 0
    """In a mixed row: where the reports go, while the sign-ins go to ``port``."""

    @property
    def p50_ms(self) -> float:
        """Median of the rounds' medians."""
        return statistics.median(one.p50_ms for one in self.rounds)

    @property
    def per_second(self) -> float:
        """Median of the rounds."""
        return statistics.median(one.per_second for one in self.rounds)

    def pause(self) -> None:
        """Let it stand still while the other works."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in cpu.with_descendants(
            [*self.pids, *(pid for pids in self.beside.values() for pid in pids)]
        ):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@dataclass(slots=True)
class Bench:
    """What all rows share."""

    options: Options
    scale: Scale
    people: list[Subscriber]
    folder: Path
    generator: Generator
    facts: str = ""
    runs: int = 0

    def show(self, title: str, text: str) -> None:
        """Print a configuration if it was asked for."""
        if self.options.show_config:
            say(f"--- {title}\n{text.rstrip()}\n")

    def next_run(self) -> str:
        """A name for accounting sessions that no other round has."""
        self.runs += 1
        return f"{self.runs:04x}"


def measure(options: Options) -> Iterator[Measured]:
    """Measure the rows, one after the other. Raises ``RuntimeError`` with the remedy when it cannot."""
    _check_rows(options)
    missing = freeradius.missing_packages()
    if missing:
        raise RuntimeError(f"missing packages: apt-get install {' '.join(missing)}")
    if trouble := cannot_compile():
        raise RuntimeError(f"Hilltop is measured compiled, as it is shipped: {trouble}")
    scale = QUICK if options.quick else FULL
    people = make_subscribers(scale.subscribers)
    folder = Path(tempfile.mkdtemp(prefix="hilltop-bench-"))
    generator = Generator(people, SECRET.encode(), LANES)
    try:
        bench = Bench(options, scale, people, folder, generator)
        bench.facts = _facts(bench)
        say(bench.facts)
        yield from _rows(bench)
    finally:
        generator.close()
        shutil.rmtree(folder, ignore_errors=True)


def _check_rows(options: Options) -> None:
    unknown = sorted(set(options.only) - set(ROWS))
    if unknown:
        raise RuntimeError(f"there is no row {unknown[0]!r}; the rows are {', '.join(ROWS)}")


def _facts(bench: Bench) -> str:
    """What the figures depend on besides the servers."""
    load = _load()
    echo = Echo()
    try:
        bench.generator.prepare(Accesses("pap", bench.scale.stock))
        ceiling = bench.generator.run(Load(echo.port, WINDOW, bench.scale.warm_up_s * 2, again=True))
    finally:
        echo.stop()
    return (
        f"{load}, "
        f"fdatasync {_fsync_ms(bench.folder):.2f} ms, "
        f"generator's ceiling against an echo {ceiling.per_second:,.0f}/s, "
        f"{WINDOW} outstanding over {LANES} ports, {len(bench.people):,} subscribers, "
        f"median of {bench.scale.rounds} rounds of {bench.scale.round_s:g} s"
    )


def _load() -> str:
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    busy = " (BUSY: others were at work, do not quote)" if load > cores / 2 else ""
    return f"{cores} cores, load {load:.1f} before{busy}"


def _fsync_ms(folder: Path) -> float:
    """Median time to make an appended kilobyte durable where both servers keep their files."""
    times = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"x" * 1024)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def _rows(bench: Bench) -> Iterator[Measured]:
    methods = [row for row in (*METHODS, "latency_one", "overload") if bench.options.wants(row)]
    on_sqlite = [row for row in ON_SQLITE if bench.options.wants(row)]
    on_postgresql = [row for row in ON_POSTGRESQL if bench.options.wants(row)]
    if methods:
        workers = _best_workers(bench, _prepare_sign_ins(bench))
        url = f"sqlite:///{bench.folder / 'ours' / 'hilltop.sqlite'}"
        with _hilltop(bench, "ours", url, workers=workers) as ours:
            yield from _authentication(bench, ours, methods)
    for row in EAP_ROWS:
        if bench.options.wants(row):
            yield _eap(bench, row)
    if on_sqlite or on_postgresql:
        workers = _best_workers(bench, _prepare_reports(bench, 100_000), accounting=True)
    for row in on_sqlite:
        url = f"sqlite:///{bench.folder / row / 'hilltop.sqlite'}"
        with _hilltop(bench, row, url, workers=workers) as ours:
            yield _accounting_sqlite(bench, row, ours)
    for row in on_postgresql:
        yield _accounting_postgresql(bench, row, workers)


@contextmanager
def _hilltop(
    bench: Bench, name: str, url: str, more_settings: str = "", *, workers: int = 1
) -> Iterator[Hilltop]:
    """Hilltop with all subscribers, its radius role running."""
    ports = free_udp_ports(2)
    ours = Hilltop(bench.folder / name, url, (ports[0], ports[1]), more_settings, workers=workers)
    begun = time.monotonic()
    ours.fill(bench.people, SECRET)
    filled = time.monotonic()
    bench.show("Hilltop: hilltop.toml", ours.settings)
    try:
        ours.start()
        say(
            f"Hilltop: database filled in {filled - begun:.1f} s, {workers} radius processes ready after "
            f"{time.monotonic() - filled:.1f} s with {cpu.memory_mib(ours.pids):.0f} MiB"
        )
        yield ours
    finally:
        ours.stop()


def _best_workers(bench: Bench, prepare: Callable[[], None], *, accounting: bool = False) -> int:
    """How many processes of ours answer most here, on SQLite; as FreeRADIUS's threads are found out."""
    if not bench.scale.tuning_s:
        return OUR_WORKERS[-1]
    rates = {}
    for count in OUR_WORKERS:
        url = f"sqlite:///{bench.folder / 'trial' / 'hilltop.sqlite'}"
        with _hilltop(bench, "trial", url, workers=count) as ours:
            port = ours.accounting_port if accounting else ours.auth_port
            prepare()
            bench.generator.run(Load(port, WINDOW, bench.scale.tuning_s / 2, again=True))
            prepare()
            load = Load(port, WINDOW, bench.scale.tuning_s, again=True)
            rates[count] = bench.generator.run(load).per_second
    best = max(rates, key=lambda count: rates[count])
    tried = ", ".join(f"{count} processes {rate:,.0f}/s" for count, rate in rates.items())
    say(f"Hilltop: {tried}; taking {best}")
    return best


@contextmanager
def _tuned(
    bench: Bench,
    title: str,
    candidates: Sequence[int],
    make: Callable[[int], FreeRadius],
    prepare: Callable[[], None],
) -> Iterator[FreeRadius]:
    """FreeRADIUS with the number of threads that answers most; ``prepare`` makes requests for a trial."""
    threads = candidates[len(candidates) // 2]
    if bench.scale.tuning_s:
        rates = {count: _trial(bench, make(count), prepare) for count in candidates}
        threads = max(rates, key=lambda count: rates[count])
        tried = ", ".join(f"{_threads(count)} {rate:,.0f}/s" for count, rate in rates.items())
        say(f"FreeRADIUS {title}: {tried}; taking {_threads(threads)}")
    server = make(threads)
    bench.show(f"FreeRADIUS {title}: radiusd.conf", server.configuration.text)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _threads(count: int) -> str:
    return f"{count} threads" if count else "single-threaded"


def _trial(bench: Bench, server: FreeRadius, prepare: Callable[[], None]) -> float:
    prepare()
    server.start()
    try:
        bench.generator.run(Load(server.port, WINDOW, bench.scale.tuning_s / 2, again=True))
        prepare()
        return bench.generator.run(Load(server.port, WINDOW, bench.scale.tuning_s, again=True)).per_second
    finally:
        server.stop()


def _authentication(bench: Bench, ours: Hilltop, methods: Sequence[str]) -> Iterator[Measured]:
    (port,) = free_udp_ports(1)
    folder = bench.folder / "freeradius"
    users = freeradius.users_file(bench.people)

    def make(threads: int) -> FreeRadius:
        configuration = freeradius.authentication(folder, port, SECRET, threads)
        return FreeRadius(folder, port, configuration, users)

    with _tuned(bench, "files", FILES_THREADS, make, _prepare_sign_ins(bench)) as theirs:
        bench.show("FreeRADIUS files: the first of the users", users.partition("\n\n")[0])
        for method in (row for row in methods if row in METHODS):
            our_side = Side(OURS, ours.auth_port, ours.pids)
            their_side = Side(THEIRS, port, theirs.pids)
            bench.generator.prepare(Accesses(method, bench.scale.stock))
            _alternate(bench, our_side, their_side, lambda _side: True)
            yield _measured(bench, method, our_side, their_side, theirs.configuration, [], sound=True)
        if "overload" in methods:
            yield _overload(bench, ours, theirs)
    if "latency_one" in methods:
        yield _latency_one(bench, ours, make(0))


OVERLOAD = 5


def _overload(bench: Bench, ours: Hilltop, theirs: FreeRadius) -> Measured:
    """What is still served when five times as many sign-ins come as can be: a share of the peak."""
    bench.generator.prepare(Accesses("pap", bench.scale.stock))
    sides = (Side(OURS, ours.auth_port, ours.pids), Side(THEIRS, theirs.port, theirs.pids))
    shares: list[list[float]] = [[], []]
    words: list[str] = []
    for side in sides:
        side.pause()
    for turn in range(bench.scale.rounds):
        for place, side in enumerate(sides):
            side.resume()
            load = Load(side.port, WINDOW, bench.scale.round_s, again=True)
            peak = bench.generator.run(load).per_second
            before_mib = cpu.memory_mib(side.pids)
            seen = bench.generator.flood(Flood(side.port, OVERLOAD * peak, bench.scale.round_s * 2))
            shares[place].append(100 * seen.answered_per_second / peak)
            if turn == bench.scale.rounds - 1:
                words.append(
                    f"{side.name}: peak {peak:,.0f}/s, offered {seen.sent_per_second:,.0f}/s, answered "
                    f"{seen.answered_per_second:,.0f}/s, memory {before_mib:.0f} MiB and after it "
                    f"{cpu.memory_mib(side.pids):.0f} MiB"
                )
            time.sleep(0.5)  # what waits in the socket is answered before the next one is measured
            side.pause()
    for side in sides:
        side.resume()
    medians = [statistics.median(one) for one in shares]
    words.append("the flood and its reading share the cores with the server")
    row = Row("overload", *medians, "% of the peak served", "; ".join([*words, bench.facts]))
    say(f"overload: {row.ours:.0f} % of the peak against {row.theirs:.0f} %")
    return Measured(row, sound=True)


def _latency_one(bench: Bench, ours: Hilltop, theirs: FreeRadius) -> Measured:
    """One request outstanding: what a single sign-in takes. FreeRADIUS single-threaded hands nothing over."""
    our_side = Side(OURS, ours.auth_port, ours.pids)
    bench.generator.prepare(Accesses("pap", bench.scale.stock))
    theirs.start()
    try:
        their_side = Side(THEIRS, theirs.port, theirs.pids)
        _alternate(bench, our_side, their_side, lambda _side: True, lanes=1)
    finally:
        theirs.stop()
    measured = _measured(bench, "latency_one", our_side, their_side, theirs.configuration, [], sound=True)
    row = replace(
        measured.row, ours=our_side.p50_ms, theirs=their_side.p50_ms, unit="p50 ms", less_is_better=True
    )
    return replace(measured, row=row)


def _eap(bench: Bench, row: str) -> Measured:
    """Processor time of a whole EAP-TTLS/MSCHAPv2 sign-in, with the same certificate and key for both.

    The CPEs need more of the processors than the servers do, so a rate would be theirs.
    """
    folder = bench.folder / row
    chain, key = _server_certificate(folder, "p256" if row.endswith("p256") else "rsa2048")
    shown = (
        f'[radius.eap]\ncertificate_file = "{chain}"\nprivate_key_file = "{key}"\n'
        'tls_maximum = "1.2"\nsession_lifetime_s = 0\n'
    )
    url = f"sqlite:///{bench.folder / f'ours-{row}' / 'hilltop.sqlite'}"
    (port,) = free_udp_ports(1)
    configuration = freeradius.eap_ttls(folder / "freeradius", port, SECRET, 0, chain, key)
    theirs = FreeRadius(folder / "freeradius", port, configuration, freeradius.users_file(bench.people))
    bench.show("FreeRADIUS eap: radiusd.conf", configuration.text)
    with _hilltop(bench, f"ours-{row}", url, shown) as ours:
        theirs.start()
        try:
            sides = (_EapSide(OURS, ours.auth_port, ours.pids), _EapSide(THEIRS, port, theirs.pids))
            for turn in range(bench.scale.rounds + 1):
                for side in sides if turn % 2 else reversed(sides):
                    side.measure(bench, warm_up=turn == 0)
        finally:
            theirs.stop()
    return _measured_eap(bench, row, *sides)


@dataclass(slots=True)
class _EapSide:
    """One server, and what its sign-ins cost."""

    name: str
    port: int
    pids: list[int]
    cpu_us: list[float] = field(default_factory=list)
    faults: int = 0
    right: int = 0

    def measure(self, bench: Bench, *, warm_up: bool) -> None:
        """One round."""
        cpes = TtlsLoad(self.port, SECRET.encode(), bench.people)
        try:
            before = cpu.used_s(self.pids)
            outcome = cpes.run(bench.scale.warm_up_s if warm_up else bench.scale.round_s * 2)
            spent_s = cpu.used_s(self.pids) - before
        finally:
            cpes.close()
        self.faults += outcome.wrong + outcome.lost
        self.right += outcome.right
        if not warm_up and outcome.right:
            self.cpu_us.append(spent_s / outcome.right * 1e6)


def _measured_eap(bench: Bench, row: str, ours: _EapSide, theirs: _EapSide) -> Measured:
    sides = (ours, theirs)
    note = "; ".join(
        [
            *(f"NOT SOUND: {side.name} failed {side.faults} sign-ins" for side in sides if side.faults),
            ", ".join(f"{side.name} {side.right:,} sign-ins" for side in sides),
            "whole handshakes over TLS 1.2, none resumed, 32 at once",
            f"FreeRADIUS {freeradius.version()} single-threaded",
            bench.facts,
        ]
    )
    medians = [statistics.median(side.cpu_us or [0.0]) for side in sides]
    measured = Row(row, *medians, "server CPU µs a sign-in", note, less_is_better=True)
    say(f"{row}: {measured.ours:,.0f} against {measured.theirs:,.0f} µs")
    return Measured(measured, not any(side.faults for side in sides))


def _server_certificate(folder: Path, key_type: str) -> tuple[Path, Path]:
    """PEM files of a server certificate with its authority's, and of its key."""
    folder.mkdir(parents=True)
    now = datetime.now(UTC)
    root_key, key = pki.make_key(key_type), pki.make_key(key_type)
    root = pki.make_root("Bench Root", root_key, now, 30)
    names = pki.Names("radius.bench.example", ("radius.bench.example",))
    issuer = pki.Issuer(root, root_key)
    leaf = pki.issue(issuer, names, key.public_key(), use="server", now=now, days=7)
    chain_file, key_file = folder / "chain.pem", folder / "key.pem"
    chain_file.write_text(pki.to_pem(leaf, root))
    key_file.write_text(pki.key_to_pem(key).reveal())
    key_file.chmod(0o600)
    return chain_file, key_file


def _alternate(bench: Bench, ours: Side, theirs: Side, again: Callable[[Side], bool], lanes: int = 0) -> None:
    """Warm both up, measure them turn about. ``again`` prepares a side's round; may its requests repeat?

    ``lanes``: so many source ports with one request each outstanding; 0: the whole window.
    """
    sides = (ours, theirs)
    try:
        for side in sides:
            side.pause()
        for turn in range(bench.scale.rounds + 1):
            for side in sides if turn % 2 else reversed(sides):
                side.resume()
                _one_round(bench, side, warm_up=turn == 0, again=again(side), lanes=lanes)
                side.pause()
    finally:
        for side in sides:
            side.resume()


def _one_round(bench: Bench, side: Side, *, warm_up: bool, again: bool, lanes: int) -> None:
    seconds = bench.scale.warm_up_s if warm_up else bench.scale.round_s
    before = cpu.used_s(side.pids)
    beside_before = {name: cpu.used_s(pids) for name, pids in side.beside.items()}
    load = Load(side.port, lanes or WINDOW, seconds, again, lanes, side.accounting_port)
    result = bench.generator.run(load)
    side.promised_sessions += result.sessions
    side.promised_reports += result.reports
    if warm_up or not result.answered:
        side.rounds += [] if warm_up else [result]
        return
    side.rounds.append(result)
    side.cpu_us.append((cpu.used_s(side.pids) - before) / result.answered * 1e6)
    for name, pids in side.beside.items():
        spent = (cpu.used_s(pids) - beside_before[name]) / result.answered * 1e6
        side.beside_cpu_us.setdefault(name, []).append(spent)


def _accounting(
    bench: Bench,
    row: str,
    ours: Hilltop,
    theirs: FreeRadius,
    clusters: Sequence[Cluster],
    their_sessions: Callable[[], int],
) -> Measured:
    """One accounting row; ``their_sessions`` counts what FreeRADIUS has in its table.

    ``clusters``: our PostgreSQL and theirs, or none.
    """
    our_database, their_database = [{"PostgreSQL": cluster.pids} for cluster in clusters] or [{}, {}]
    learnt = bench.generator.run(LearnClasses(ours.auth_port))
    if learnt.lost or learnt.wrong:
        raise RuntimeError(
            f"{learnt.lost + learnt.wrong} subscribers could not sign in before {row}: {learnt.first_fault}"
        )
    ours.start_ingestion()
    mixed = row.startswith("mixed")
    our_side = Side(
        OURS,
        ours.auth_port if mixed else ours.accounting_port,
        ours.pids,
        beside={"ingestion": ours.ingestion_pids, **our_database},
        accounting_port=ours.accounting_port if mixed else 0,
    )
    their_side = Side(
        THEIRS,
        theirs.auth_port if mixed else theirs.port,
        theirs.pids,
        beside=their_database,
        accounting_port=theirs.port if mixed else 0,
    )
    held_before = their_sessions()
    expected = {OURS: 30_000.0, THEIRS: 8_000.0}

    def prepare(side: Side) -> bool:
        rate = max([one.per_second for one in side.rounds], default=expected[side.name])
        make = Mixed if mixed else Reports
        bench.generator.prepare(make(bench.next_run(), int(rate * 1.4 * bench.scale.round_s) + 4 * WINDOW))
        return False

    _alternate(bench, our_side, their_side, prepare)
    drained, whole = _drain(bench, ours, our_side)
    kept = their_sessions() - held_before
    theirs_whole = kept >= their_side.promised_sessions
    remarks = [
        drained,
        f"{THEIRS} has {kept:,} of {their_side.promised_sessions:,} answered sessions in its table",
    ]
    return _measured(
        bench, row, our_side, their_side, theirs.configuration, remarks, sound=whole and theirs_whole
    )


def _drain(bench: Bench, ours: Hilltop, side: Side) -> tuple[str, bool]:
    """Wait until the journal is in the database; what to say, and whether nothing answered is missing."""
    begun = time.monotonic()
    rows, sessions = start_rows, _ = ours.ingested()
    while rows < side.promised_reports and time.monotonic() - begun < bench.scale.drain_s:
        time.sleep(0.2)
        rows, sessions = ours.ingested()
    took = time.monotonic() - begun
    pace = (rows - start_rows) / took if took > 0.5 else 0.0
    if rows < side.promised_reports:
        left = side.promised_reports - rows
        kept = min(side.promised_reports, ours.kept())
        words = f"ingestion still had {left:,} reports to go after {took:.0f} s, at {pace:,.0f}/s; "
        words += f"journal and database have {kept:,} of {side.promised_reports:,} answered reports"
        return words, kept == side.promised_reports
    words = f"ingestion drained in {took:.1f} s" + (f" at {pace:,.0f}/s" if pace else "")
    words += f"; {OURS} has {sessions:,} of {side.promised_sessions:,} answered sessions in its database"
    return words, sessions >= side.promised_sessions


def _accounting_sqlite(bench: Bench, row: str, ours: Hilltop) -> Measured:
    port, auth_port = free_udp_ports(2)
    users = freeradius.users_file(bench.people) if row.startswith("mixed") else ""
    folder, file = bench.folder / "freeradius-sqlite", bench.folder / "radacct.sqlite"

    def make(threads: int) -> FreeRadius:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{file}{suffix}").unlink(missing_ok=True)
        freeradius.create_sqlite(file)
        configuration = freeradius.accounting_sqlite(folder, port, SECRET, threads, file)
        if users:
            configuration = freeradius.with_authentication(folder, auth_port, configuration)
        return FreeRadius(folder, port, configuration, users, auth_port)

    def sessions() -> int:
        connection = sqlite3.connect(file)
        try:
            return int(connection.execute("SELECT count(*) FROM radacct").fetchone()[0])
        finally:
            connection.close()

    with _tuned(bench, "rlm_sql on SQLite", SQLITE_THREADS, make, _prepare_reports(bench)) as theirs:
        return _accounting(bench, row, ours, theirs, [], sessions)


def _prepare_sign_ins(bench: Bench) -> Callable[[], None]:
    return lambda: bench.generator.prepare(Accesses("pap", bench.scale.stock))


def _prepare_reports(bench: Bench, count: int = 8_000) -> Callable[[], None]:
    return lambda: bench.generator.prepare(Reports(bench.next_run(), count))


@contextmanager
def _cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _accounting_postgresql(bench: Bench, row: str, workers: int) -> Measured:
    port, auth_port = free_udp_ports(2)
    users = freeradius.users_file(bench.people) if row.startswith("mixed") else ""
    folder = bench.folder / "freeradius-postgresql"
    with ExitStack() as stack:
        our_cluster, their_cluster = (stack.enter_context(_cluster()) for _ in range(2))
        bench.show(
            "PostgreSQL, both sides",
            "\n".join(f"{name} = {value}" for name, value in POSTGRESQL_SETTINGS.items()),
        )
        their_cluster.create("radius", freeradius.STOCK_SQL / "postgresql" / "schema.sql")
        our_cluster.create("hilltop")
        ours = stack.enter_context(
            _hilltop(bench, "ours-postgresql", our_cluster.url("hilltop"), workers=workers)
        )

        def make(threads: int) -> FreeRadius:
            configuration = freeradius.accounting_postgresql(
                folder, port, SECRET, threads, "127.0.0.1", their_cluster.port, "radius"
            )
            if users:
                configuration = freeradius.with_authentication(folder, auth_port, configuration)
            return FreeRadius(folder, port, configuration, users, auth_port)

        theirs = stack.enter_context(
            _tuned(bench, "rlm_sql on PostgreSQL", POSTGRESQL_THREADS, make, _prepare_reports(bench))
        )
        return _accounting(
            bench,
            row,
            ours,
            theirs,
            [our_cluster, their_cluster],
            lambda: int(their_cluster.query("radius", "SELECT count(*) FROM radacct")),
        )


def _measured(
    bench: Bench,
    name: str,
    ours: Side,
    theirs: Side,
    configuration: Configuration,
    remarks: Sequence[str],
    *,
    sound: bool,
) -> Measured:
    faults = [
        f"{side.name}: {one.wrong} wrong replies: {one.first_fault}"
        for side in (ours, theirs)
        for one in side.rounds
        if one.wrong
    ]
    version = freeradius.version()
    notes = [
        *(["NOT SOUND, do not quote"] if faults or not sound else []),
        *faults[:2],
        _words(ours),
        _words(theirs),
        f"FreeRADIUS {version} {_threads(configuration.threads)}" + _signing(theirs),
        *remarks,
        bench.facts,
    ]
    row = Row(name, ours.per_second, theirs.per_second, "answered requests/s", "; ".join(notes))
    say(f"{name}: {row.ours:,.0f}/s against {row.theirs:,.0f}/s")
    return Measured(row, sound and not faults)


def _signing(side: Side) -> str:
    """Debian's 3.2.1 is from before the BlastRADIUS fix."""
    signed = [one.signed_replies for one in side.rounds if one.signed_replies is not None]
    return "" if not signed or all(signed) else " signs no replies with Message-Authenticator"


def _words(side: Side) -> str:
    """Latency, losses and processor time of one side."""
    p50 = statistics.median(one.p50_ms for one in side.rounds)
    p99 = statistics.median(one.p99_ms for one in side.rounds)
    lost, resent = sum(one.lost for one in side.rounds), sum(one.retransmitted for one in side.rounds)
    spent = [f"server {statistics.median(side.cpu_us or [0.0]):.1f}"]
    spent += [f"{name} {statistics.median(values):.1f}" for name, values in side.beside_cpu_us.items()]
    return (
        f"{side.name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, lost {lost}, retransmitted {resent}, "
        f"CPU µs a request: {', '.join(spent)}"
    )
