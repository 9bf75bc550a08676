"""The journal's disk is full: nothing unsaved is acknowledged, sign-ins are answered, and it recovers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from reliability_box import Box, Nursery, open_box, until
from reliability_field import Field, open_field

from lab.nas import LabSession
from radius.serving.status import read_statuses

DISK_OCTETS = 3 << 20


def _no_tiny_disk() -> str:
    """Why no disk of our own can be mounted here; empty when it can."""
    if os.geteuid() != 0:
        return "mounting a tmpfs wants root"
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "unshare and nsenter (util-linux) are not installed"
    tried = subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"], capture_output=True, text=True
    )
    return f"no tmpfs can be mounted in a namespace: {tried.stderr.strip()}" if tried.returncode else ""


@contextmanager
def _tiny_disk(place: Path) -> Iterator[tuple[list[str], Path]]:
    """A tmpfs at ``place`` in a mount namespace of its own: how to run a command there, and its path from here."""
    place.mkdir(parents=True)
    script = f"mount -t tmpfs -o size={DISK_OCTETS} none {place} && echo mounted && exec cat"
    keeper = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "mounted\n"
        enter = ["nsenter", f"--mount=/proc/{keeper.pid}/ns/mnt", "--"]
        yield enter, Path(f"/proc/{keeper.pid}/root") / place.relative_to("/")
    finally:
        keeper.kill()
        keeper.wait()


def _fill(disk: Path) -> Path:
    """A stranger's file takes all there is."""
    stranger = disk / "stranger.log"
    with stranger.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return stranger


async def _report_until_refused(field: Field) -> None:
    """What was preallocated may still be used; then there is silence."""
    for number in range(2_000):
        if not await field.report(field.sessions[number % len(field.sessions)]):
            return
    raise AssertionError("a full disk took everything")


async def _issue_stands(box: Box, stands: bool) -> bool:
    return ("radius.journal" in await box.open_issues()) is stands


async def _status_tells(disk: Path) -> bool:
    """The status file has been written again: it counts the failures and says that they are over."""
    (status,) = read_statuses(disk)
    return status.journal_trouble is None and status.counters["journal_failures"] > 0


@pytest.fixture(autouse=True)
def _a_disk_of_our_own() -> None:
    reason = _no_tiny_disk()
    if reason:
        pytest.skip(reason)


async def _dial_some(field: Field, count: int) -> list[LabSession]:
    """The next subscribers sign in, each answered at once."""
    fresh = list(field.services)[len(field.sessions) : len(field.sessions) + count]
    for number, name in enumerate(fresh):
        before = field.dials
        await field.dial(name, field.nases[number % len(field.nases)])
        assert field.dials == before + 1, "a sign-in went unanswered"
    return field.sessions[-count:]


@pytest.mark.namespaces
@pytest.mark.parametrize("collecting", [True, False], ids=["collected", "uncollected"])
async def test_a_full_disk_is_silence_and_then_recovery(
    tmp_path: Path, nursery: Nursery, collecting: bool
) -> None:
    async with (
        open_box(tmp_path, nursery, workers=1) as box,
        open_field(box, 9, 2, seed=7, timeout_s=0.25) as field,
    ):
        with _tiny_disk(box.journal.parent) as (enter, disk):
            radius = await box.start("radius", prefix=enter)
            if collecting:
                await box.start("collector", prefix=enter)
            await _dial_some(field, 6)
            stranger = _fill(disk)
            await _report_until_refused(field)
            for one in await _dial_some(field, 3):
                assert not await field.report(one), "acknowledged, and where is it?"
            await until("a health issue", lambda: _issue_stands(box, True), 10)
            stranger.unlink()
            await field.resend_all(15)
            await until("the issue closed", lambda: _issue_stands(box, False), 10)
            if not collecting:
                await box.start("collector", prefix=enter)
            for one in list(field.sessions):
                assert await field.hang_up(one)
            await field.settled(journals=disk)
            assert not radius.ended.is_set()
            await until("a status that tells of it", lambda: _status_tells(disk), 10)


@pytest.mark.namespaces
async def test_a_journal_that_cannot_be_trimmed_says_so_and_no_longer_than_that(
    tmp_path: Path, nursery: Nursery
) -> None:
    """Nobody reports while the disk is full, but what the collector has taken over should be deleted."""
    async with (
        open_box(tmp_path, nursery, workers=1) as box,
        open_field(box, 6, 2, seed=8, timeout_s=0.25) as field,
    ):
        with _tiny_disk(box.journal.parent) as (enter, disk):
            await box.start("radius", prefix=enter)
            for one in await _dial_some(field, 6):
                assert await field.report(one)
            stranger = _fill(disk)
            await box.start("collector", prefix=enter)
            await until("a health issue", lambda: _issue_stands(box, True), 10)
            stranger.unlink()
            for one in list(field.sessions):
                assert await field.hang_up(one)
            await until("the issue closed", lambda: _issue_stands(box, False), 10)
            await field.settled(journals=disk)


@pytest.mark.namespaces
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_radius_that_starts_on_a_full_disk_answers_sign_ins(
    tmp_path: Path, nursery: Nursery, end: signal.Signals
) -> None:
    """It was killed, or updated, at the worst moment: subscribers must be able to sign in all the same."""
    async with (
        open_box(tmp_path, nursery, workers=1) as box,
        open_field(box, 9, 2, seed=9, timeout_s=0.25) as field,
    ):
        with _tiny_disk(box.journal.parent) as (enter, disk):
            radius = await box.start("radius", prefix=enter)
            await _dial_some(field, 3)
            stranger = _fill(disk)
            await _report_until_refused(field)
            await radius.send(end)
            _fill(disk)
            radius = await box.start("radius", prefix=enter)
            for one in await _dial_some(field, 3):
                assert not await field.report(one), "acknowledged, and where is it?"
            await until("a health issue", lambda: _issue_stands(box, True), 10)
            stranger.unlink()
            await field.resend_all(15)
            await until("the issue closed", lambda: _issue_stands(box, False), 10)
            await box.start("collector", prefix=enter)
            for one in list(field.sessions):
                assert await field.hang_up(one)
            await field.settled(journals=disk)
            assert not radius.ended.is_set()
