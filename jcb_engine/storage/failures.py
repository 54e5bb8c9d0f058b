"""From OSError to errors for people: what failed, on which file, what it needed, what to do."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jcb_engine.errors import CorruptIndexError, InputError, StorageError
from jcb_engine.storage.files import Files

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # full, over a quota, over a file's largest size
# What a file of ours cannot be: missing, a link, a folder, a device, behind a link.
_WRONG_KIND = {
    errno.ENOENT: "is missing",
    errno.ELOOP: "is a symbolic link; an index holds regular files only",
    errno.ENOTDIR: "is not in a real folder; an index holds regular files and folders only",
    errno.EISDIR: "is a folder; expected a regular file",
    errno.EINVAL: "is empty or not a regular file",
    errno.ENXIO: "is not a regular file",
}


def storage_error(code: int | None, message: str) -> StorageError:
    """A StorageError with an errno whose text is the message alone (OSError would put the number before it)."""
    error = StorageError(message)
    error.errno = code
    return error


@contextmanager
def writing(files: Files, path: str, needed_bytes: int = 0) -> Iterator[None]:
    """Turn an OSError inside into a StorageError that names `path`; for a full disk also what was needed."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise write_error(str(files.real_path(path)), needed_bytes, files.free_bytes, error) from error


@contextmanager
def reading(files: Files, path: str) -> Iterator[None]:
    """Turn an OSError inside into CorruptIndexError (missing, wrong kind) or StorageError (refused, I/O error)."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        name = files.real_path(path)
        if error.errno in _WRONG_KIND:
            raise CorruptIndexError(
                f"{name} {_WRONG_KIND[error.errno]}; restore the index from a copy or build it again"
            ) from error
        raise storage_error(
            error.errno, f"{name} cannot be read: {error.strerror}; check its permissions and disk"
        ) from error


@contextmanager
def scratch(files: Files, path: str) -> Iterator[None]:
    """Turn a failure of SQLite on a scratch database into a StorageError."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        raise InputError(f"{files.real_path(path)} is sealed or closed; nothing can be added") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_FULL:
            full = OSError(errno.ENOSPC, "No space left on device")
            raise write_error(str(files.real_path(path)), 0, files.free_bytes, full) from error
        raise storage_error(
            errno.EIO, f"{files.real_path(path)} cannot be written: {error}; nothing was published"
        ) from error


def write_error(name: str, needed_bytes: int, free_bytes: Callable[[], int], error: OSError) -> StorageError:
    """What a failed write means. needed_bytes: of this write, 0 where unknown; free_bytes: asked where it matters."""
    if error.errno not in _DISK_FULL:
        reason = f"{name} cannot be written: {error.strerror}; nothing was published, check the folder and its disk"
        return storage_error(error.errno, reason)
    needed = f"{needed_bytes:,} more bytes were needed" if needed_bytes else "more room was needed"
    return storage_error(
        error.errno,
        f"the disk is full: {name} cannot be written ({needed}, {_shown(free_bytes)} free); nothing was published, "
        "free some room or choose another disk and run again",
    )


def _shown(free_bytes: Callable[[], int]) -> str:
    try:
        return f"{free_bytes():,} bytes"
    except OSError:
        return "an unknown amount"
