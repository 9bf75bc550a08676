"""Files that must be whole or absent after a pulled plug.

What root makes in a folder that belongs to another user is given to that user, or the roles could not open
it afterwards.
"""

from __future__ import annotations

import os
from pathlib import Path


def make_folder(path: Path, mode: int = 0o750) -> None:
    """The folder and those above it; what root makes belongs to the owner of the folder around it."""
    if path.is_dir():
        return
    make_folder(path.parent, mode)
    try:
        path.mkdir(mode)
    except FileExistsError:
        return
    give_to_owner_of(path.parent, path)


def give_to_owner_of(folder: Path, made: Path | int) -> None:
    """What root made (a path or an open file) goes to the owner of ``folder``."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.chown(made, owner.st_uid, owner.st_gid)


def write_durably(path: Path, content: bytes, mode: int) -> None:
    """Write ``path`` whole, on the disk when this returns; until then the old content stands."""
    temporary = _write_beside(path, content, mode)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def write_first_durably(path: Path, content: bytes, mode: int) -> None:
    """As ``write_durably``, but what is there already stays: of two processes the first one wins."""
    temporary = _write_beside(path, content, mode)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    _flush_folder(path.parent)


def forget_unfinished(path: Path) -> None:
    """Remove what writers of ``path`` left beside it when they were killed."""
    for left in path.parent.glob(f".{path.name}.*.new"):
        writer = left.name.split(".")[-2]
        if writer == str(os.getpid()) or not Path("/proc", writer).exists():
            left.unlink(missing_ok=True)


def _write_beside(path: Path, content: bytes, mode: int) -> Path:
    make_folder(path.parent)
    forget_unfinished(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            give_to_owner_of(path.parent, file.fileno())
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
