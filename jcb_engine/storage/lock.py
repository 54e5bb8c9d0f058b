"""The writer lock: one writer per index, readers take none.

LOCK is held by flock, which the system frees when its holder and the children it forked have ended, however they end.
The file's text (JSON: pid, host, since) serves messages only. The file stays when the lock is free: removing it would
let two writers hold two LOCKs. flock does not work across machines on every network file system: write from one
machine.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from jcb_engine.errors import IndexLockedError
from jcb_engine.storage.failures import storage_error

_MAX_TEXT_BYTES = 4096


class WriterLock:
    """Held from `acquire` until `release`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @staticmethod
    def acquire(path: Path) -> WriterLock:
        """Take the lock at once. IndexLockedError names the holder; StorageError when the file cannot be locked."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise storage_error(error.errno, f"{path} cannot be opened to lock the index: {error.strerror}") from error
        try:
            _lock(descriptor, path)
            _write_holder(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return WriterLock(descriptor)

    def release(self) -> None:
        """Free the lock. A second call does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise IndexLockedError(
                f"{path.parent} is being written by {_holder(descriptor)}; wait until it is done, or end it"
            ) from error
        raise storage_error(
            error.errno, f"{path} cannot be locked: {error.strerror}; use a disk that has flock"
        ) from error


def _write_holder(descriptor: int) -> None:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    except OSError:
        return  # the disk is full: the lock holds without its text, and the first real write reports the disk


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, _MAX_TEXT_BYTES, 0))
        return f"process {int(holder['pid'])} on {holder['host']!s:.100} since {holder['since']!s:.40}"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return "another process (LOCK does not say which)"
