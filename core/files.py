"""Files that must be whole or absent after a pulled plug.

What root makes in a folder that belongs to another user is given to that user, or the roles could not open
it afterwards.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from io import FileIO
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
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    if isinstance(made, int):
        os.fchown(made, owner.st_uid, owner.st_gid)
    else:  # the folder's owner could have put a link there, to have somebody else's file given to him
        os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=False)


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock on the file (flock(2)). Raises ``OSError`` when it cannot be opened."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_durably(path: Path, content: bytes, mode: int) -> None:
    """Write ``path`` whole, on the disk when this returns; until then the old content stands."""
    temporary = _write_beside(path, content, mode)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def rewrite_durably(path: Path, content: bytes, like: Path, *, has_copy: bool) -> None:
    """As ``write_durably``, with owner and mode of ``like``; in place where only the file may be written.

    In place a power cut could tear it, so that is done only to what ``has_copy`` elsewhere.
    """
    model = like.stat()
    try:
        temporary = _write_beside(path, content, stat.S_IMODE(model.st_mode), model)
        try:
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as trouble:
        if trouble.errno not in _ONLY_THE_FILE or not has_copy or not path.exists():
            raise
        _write_in_place(path, content)
        return
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


_ONLY_THE_FILE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY}  # the last: a mount of its own


def _write_in_place(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        old = file.read()
        try:
            os.posix_fallocate(descriptor, 0, max(len(content), 1))  # or a full disk would tear it
            _overwrite(file, content)
        except OSError:
            _overwrite(file, old)
            raise


def _overwrite(file: FileIO, content: bytes) -> None:
    file.seek(0)
    left = content
    while left:
        left = left[file.write(left) :]
    file.truncate()
    os.fsync(file.fileno())


def _write_beside(path: Path, content: bytes, mode: int, model: os.stat_result | None = None) -> Path:
    make_folder(path.parent)
    forget_unfinished(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if model is None:
                give_to_owner_of(path.parent, file.fileno())
            elif (model.st_uid, model.st_gid) != _owner(file.fileno()):
                os.fchown(file.fileno(), model.st_uid, model.st_gid)
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _owner(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_uid, found.st_gid


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
