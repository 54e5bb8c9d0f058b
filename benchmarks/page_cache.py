"""The system's cache of file pages: dropping the pages of a folder's files, and looking whether they are gone."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import numpy as np

_PAGE = mmap.PAGESIZE
_GONE = 0.01  # share of pages that may be left after dropping


def drop(folder: Path) -> float:
    """Drop the cached pages of all files below; returns the share that is still there.

    Pages that a process has mapped stay: close every searcher first. SystemExit where the file system does not honour
    the request (tmpfs has no other place for its pages).
    """
    for path in _files(folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # a page that is not written back cannot be dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    left = resident_share(folder)
    if left > _GONE:
        raise SystemExit(
            f"{left:.0%} of the pages stay in memory: the file system does not drop them, or a process has them "
            "mapped; put the index on a disk"
        )
    return left


def resident_share(folder: Path) -> float:
    """Share of the pages of all files below that are in memory."""
    resident = total = 0
    for path in _files(folder):
        found = _resident_pages(path)
        resident += int(found.sum())
        total += len(found)
    return resident / max(1, total)


def _resident_pages(path: Path) -> np.ndarray:
    """[pages] 1 for those in memory, by mincore."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
            bytes_of_file = np.frombuffer(mapped, dtype=np.uint8)
            pages = np.zeros(-(-size // _PAGE), dtype=np.uint8)
            libc = ctypes.CDLL(None, use_errno=True)
            address = ctypes.c_void_p(bytes_of_file.ctypes.data)
            failed = libc.mincore(address, ctypes.c_size_t(size), ctypes.c_void_p(pages.ctypes.data))
            del bytes_of_file  # the map cannot be closed while it is looked at
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return pages & 1


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 0)
