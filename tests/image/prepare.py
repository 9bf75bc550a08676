"""Builds what the tests of this folder need into FOLDER, while other tests run: see ``dev``.

    FOLDER/packages     the packages of both releases, which share one wheel
    FOLDER/bookworm     a bare Debian 12
    FOLDER/image        the image with that package of Debian 13

What cannot be built here is not there at the end, and a test that needs it builds it itself, or says why it cannot.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

import package_debian
from package_debian import ROOT

_PATIENCE_S = 1200
_running: list[subprocess.Popen[str]] = []


def _to_the_end(process: subprocess.Popen[str], what: str) -> bool:
    _running.append(process)
    failed = package_debian.ended(process, _PATIENCE_S)
    print(f"{what}: {failed or 'made'}", flush=True)
    return failed is None


def prepare(folder: Path) -> bool:
    """Make them one after the other, the bare Debian beside; whether all of them are there."""
    reason = package_debian.missing()
    if reason:
        print(reason)
        return False
    half = folder / "half-made"
    half.mkdir()
    bare = package_debian.start_tree("bookworm", half / "bookworm")
    _running.append(bare)
    packages, image = folder / "packages", half / "image"
    made = _to_the_end(package_debian.start_package("all", packages), "packages")
    made = _to_the_end(bare, "bookworm") and made
    if (half / "bookworm/bin").exists() and bare.returncode == 0:
        (half / "bookworm").rename(folder / "bookworm")
    for package in packages.glob("hilltop_*+deb13_amd64.deb"):
        building = subprocess.Popen(
            [str(ROOT / "dev"), "image", "--output", str(image), "--package", str(package)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if _to_the_end(building, "image"):
            image.rename(folder / "image")
        else:
            made = False
    return made


def _leave_nothing(_number: int, _frame: FrameType | None) -> None:
    for process in _running:
        process.terminate()
    for process in _running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    os.setpgrp()  # what was begun ends with it
    signal.signal(signal.SIGTERM, _leave_nothing)
    sys.exit(0 if prepare(Path(sys.argv[1])) else 1)
