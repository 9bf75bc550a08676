"""A file that is written anew is whole, the old one or the new one, also where only the file may be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from core import files
from core.files import give_to_owner_of, rewrite_durably

NOBODY = 65534


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is a mount of its own: nothing can be put in its place."""

    def busy(*_given: object) -> None:
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(Path, "replace", busy)
    file = tmp_path / "hilltop.toml"
    file.write_bytes(b"old" * 100)
    return file


@pytest.mark.parametrize("content", [b"", b"new", b"new" * 5000])
def test_in_place_it_is_the_new_one(mounted: Path, content: bytes) -> None:
    rewrite_durably(mounted, content, mounted, has_copy=True)
    assert mounted.read_bytes() == content and [path.name for path in mounted.parent.iterdir()] == [
        mounted.name
    ]


def test_without_a_copy_nothing_is_written_in_place(mounted: Path) -> None:
    with pytest.raises(OSError, match="busy"):
        rewrite_durably(mounted, b"new", mounted, has_copy=False)
    assert mounted.read_bytes() == b"old" * 100


@pytest.mark.parametrize("content", [b"new", b"new" * 5000])
def test_a_disk_that_is_full_leaves_the_old_one(
    mounted: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="full"):
            rewrite_durably(mounted, content, mounted, has_copy=True)
    assert mounted.read_bytes() == b"old" * 100

    overwrite = files._overwrite

    def torn(file: object, octets: bytes) -> None:
        overwrite(file, octets[:7])  # type: ignore[arg-type]
        if octets == content:
            raise OSError(errno.EIO, "torn")
        overwrite(file, octets)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "_overwrite", torn)
    with pytest.raises(OSError, match="torn"):
        rewrite_durably(mounted, content, mounted, has_copy=True)
    assert mounted.read_bytes() == b"old" * 100


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_link_in_somebody_elses_folder_gives_nothing_away(tmp_path: Path) -> None:
    folder, own = tmp_path / "folder", tmp_path / "roots-own"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    own.write_text("")
    link = folder / "made"
    link.symlink_to(own)
    give_to_owner_of(folder, link)
    assert own.stat().st_uid == 0 and link.lstat().st_uid == NOBODY
    made = folder / "file"
    with made.open("w") as opened:
        give_to_owner_of(folder, opened.fileno())
    assert made.stat().st_uid == NOBODY
