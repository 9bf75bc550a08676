"""The image, built once for all tests of this folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import package_debian
import pytest

_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mksquashfs": "squashfs-tools",
    "sfdisk": "fdisk",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "grub-mkimage": "grub-common",
    "zstd": "zstd",
}


@dataclass(frozen=True)
class Image:
    """What `./dev image` made."""

    folder: Path

    @property
    def disk(self) -> Path:
        """The disk itself."""
        return next(self.folder.glob("hilltop-*-amd64.img"))

    @property
    def tree(self) -> Path:
        """The root as files."""
        return self.folder / "tree"

    @property
    def kernel(self) -> Path:
        """The kernel it boots."""
        return (self.tree / "boot/vmlinuz").resolve()

    @property
    def manifest(self) -> dict[str, Any]:
        """What is in it."""
        told: dict[str, Any] = json.loads(next(self.folder.glob("*.manifest.json")).read_text())
        return told


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "building an image needs root"
    places = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool, path=places) is None})
    return f"not installed (Debian): {', '.join(absent)}" if absent else None


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image of this tree, or the one already built in the folder that HILLTOP_IMAGE names, or by ``prepare``."""
    given = os.environ.get("HILLTOP_IMAGE") or package_debian.prepared("image")
    if given:
        yield Image(Path(given))
        return
    reason = _missing()
    if reason:
        pytest.skip(f"no image can be built here: {reason}")
    folder = tmp_path_factory.mktemp("image")
    building = subprocess.Popen(
        ["env", "HILLTOP_PACKAGE_LEVEL=1", str(package_debian.ROOT / "dev"), "image", "--output", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    failed = package_debian.ended(building, 900)
    assert failed is None, failed
    yield Image(folder)
    shutil.rmtree(folder, ignore_errors=True)
