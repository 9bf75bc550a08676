"""Hilltop as its packages ship it: the modules on the way of a request compiled (``pyproject.toml``).

What is compiled is kept in ``build/compiled`` by what it was made from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_KEPT = ROOT / "build" / "compiled"
_PACKAGES = ("core", "aaa", "radius", "snmp", "provisioning", "billing", "ui", "appliance", "lab")


def cannot_compile() -> str | None:
    """Why nothing can be compiled here, and the remedy; None when it can."""
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        return "no C compiler: apt-get install gcc"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "no header files of Python: apt-get install python3-dev"
    return None


def compiled() -> Path:
    """A folder with all packages, compiled; to be put first in ``PYTHONPATH``.

    Raises ``RuntimeError`` with the compiler's words.
    """
    folder = _KEPT / _made_from()
    if folder.is_dir():
        return folder
    _KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_KEPT) as work:
        source = Path(work) / "source"  # what is compiled is left beside its source, where it would be run
        for name in (*_PACKAGES, "pyproject.toml", "README.md"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            source.mkdir(exist_ok=True)
            copy(ROOT / name, source / name)
        built = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", work],
            cwd=source, capture_output=True, text=True, check=False,
            env={**os.environ, "HATCH_BUILD_HOOK_ENABLE_MYPYC": "1", "PYTHONPATH": ""},
        )  # fmt: skip
        if built.returncode:
            raise RuntimeError(f"the compiler failed: {(built.stdout + built.stderr)[-3000:]}")
        (wheel,) = Path(work).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(Path(work) / "packages")
        (Path(work) / "packages").replace(folder)
    return folder


def _made_from() -> str:
    digest = hashlib.sha256(sys.version.encode() + (ROOT / "pyproject.toml").read_bytes())
    for package in _PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:20]
