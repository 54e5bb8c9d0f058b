"""The one door to the file system: every durable byte of an index passes through `Files`.

Paths are relative to the index folder, parts joined by '/'; "" is the folder itself. Methods raise OSError as the
system does; failures.py turns that into errors for people. The door is narrow so that tests can stand in it: one
implementation there loses power at every operation, another fails every operation in turn.

Reading never follows a symbolic link below the index folder: a shared index must not name files of its reader.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from jcb_engine.errors import InputError

CHUNK_BYTES = 1 << 20

# A name that hard links cannot give on this file system (FAT, some FUSE and network mounts).
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


class WritableFile(Protocol):
    """A new file, written once from its first byte to its last."""

    def write(self, data: memoryview) -> None:
        """Write all of `data`."""
        ...

    def fsync(self) -> None: ...
    def close(self) -> None: ...


class Files(Protocol):
    """What storage asks of a file system."""

    def make_root(self) -> None:
        """Make the index folder and its missing parents, durably. Does nothing when it is there."""
        ...

    def create(self, path: str) -> WritableFile:
        """Make a new file; FileExistsError when the name is taken."""
        ...

    def fsync(self, path: str) -> None:
        """Make the contents of a finished file durable."""
        ...

    def fsync_directory(self, path: str) -> None:
        """Make the names in a folder durable."""
        ...

    def publish(self, source: str, target: str) -> None:
        """Give the file `source` the name `target` at once and whole; FileExistsError when that name is taken.

        The old name may stay.
        """
        ...

    def rename(self, source: str, target: str) -> None:
        """Move a folder to a name that is free."""
        ...

    def make_directory(self, path: str) -> None: ...
    def remove_file(self, path: str) -> None: ...
    def remove_directory(self, path: str) -> None:
        """Remove an empty folder."""
        ...

    def list(self, path: str) -> list[str]:
        """Names in a folder, sorted; FileNotFoundError when there is none."""
        ...

    def is_directory(self, path: str) -> bool: ...
    def size(self, path: str) -> int:
        """Bytes of a regular file."""
        ...

    def chunks(self, path: str) -> Iterator[bytes]:
        """Contents of a regular file, a piece at a time."""
        ...

    def map(self, path: str) -> memoryview:
        """Contents of a regular file that is not empty, mapped read-only. Outlives the file's name."""
        ...

    def free_bytes(self) -> int:
        """Room left on the disk for this user."""
        ...

    def real_path(self, path: str) -> Path:
        """A path for SQLite, for scratch files (which need no durability) and for messages."""
        ...


class LocalFile:
    """WritableFile on a file descriptor."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)

    def write(self, data: memoryview) -> None:
        rest = data
        while len(rest):
            rest = rest[os.write(self._descriptor, rest) :]

    def fsync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class LocalFiles:
    """Files in a folder of a POSIX file system."""

    def __init__(self, root: str | Path) -> None:
        if not os.fspath(root):
            raise InputError("the path of the index is empty; give the folder of the index")
        if "\0" in os.fspath(root):
            raise InputError(f"the path {os.fspath(root)!r} has a NUL character in it, which no file system can hold")
        self.root = Path(os.path.abspath(root))  # SQLite and mappings must not depend on the working directory

    def make_root(self) -> None:
        """Make the index folder and its missing parents, durably."""
        missing = [folder for folder in (self.root, *self.root.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            _fsync_folder(folder.parent)

    def create(self, path: str) -> LocalFile:
        return LocalFile(self.root / path)

    def fsync(self, path: str) -> None:
        descriptor = self._open(path)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def fsync_directory(self, path: str) -> None:
        _fsync_folder(self.root / path)

    def publish(self, source: str, target: str) -> None:
        try:
            os.link(self.root / source, self.root / target)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            # Without hard links: look, then rename. Only the holder of the writer lock comes here.
            if os.path.lexists(self.root / target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
            os.rename(self.root / source, self.root / target)

    def rename(self, source: str, target: str) -> None:
        os.rename(self.root / source, self.root / target)

    def make_directory(self, path: str) -> None:
        os.mkdir(self.root / path)

    def remove_file(self, path: str) -> None:
        os.unlink(self.root / path)

    def remove_directory(self, path: str) -> None:
        os.rmdir(self.root / path)

    def list(self, path: str) -> list[str]:
        return sorted(os.listdir(self.root / path))

    def is_directory(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(self.root / path).st_mode)
        except FileNotFoundError:
            return False

    def size(self, path: str) -> int:
        self._check_folders(path)
        status = os.lstat(self.root / path)
        _check_regular(status, path)
        return status.st_size

    def chunks(self, path: str) -> Iterator[bytes]:
        descriptor = self._open(path)
        try:
            while chunk := os.read(descriptor, CHUNK_BYTES):
                yield chunk
        finally:
            os.close(descriptor)

    def map(self, path: str) -> memoryview:
        descriptor = self._open(path)
        try:
            if os.fstat(descriptor).st_size == 0:
                raise OSError(errno.EINVAL, "empty file", path)
            return memoryview(_map(descriptor))
        finally:
            os.close(descriptor)

    def free_bytes(self) -> int:
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize

    def real_path(self, path: str) -> Path:
        return self.root / path

    def _open(self, path: str) -> int:
        self._check_folders(path)
        # O_NONBLOCK: a named pipe in place of a file must not stop the reader.
        descriptor = os.open(self.root / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            _check_regular(os.fstat(descriptor), path)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _check_folders(self, path: str) -> None:
        """Raise unless every folder on the way is a folder, not a link to one."""
        parts = path.split("/")
        for count in range(1, len(parts)):
            folder = "/".join(parts[:count])
            if not stat.S_ISDIR(os.lstat(self.root / folder).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)


def _map(descriptor: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ, trackfd=False)  # one descriptor less per array
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _check_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
