"""Scratch files of a build: arrays too large for memory, gone when the build ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jcb_engine.storage.failures import write_error
from jcb_engine.types import AnyArray

_ROWS_AT_ONCE = 65_536


class ScratchFile:
    """Rows appended one after the other. A full disk is a StorageError that says what was needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _writing(path, 0):
            self._file = path.open("xb")

    def append(self, rows: AnyArray) -> None:
        """In blocks, so that a large map is not copied into memory whole."""
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            block = np.ascontiguousarray(rows[start : start + _ROWS_AT_ONCE])
            with _writing(self.path, block.nbytes):
                self._file.write(block.tobytes())

    def flush(self) -> None:
        with _writing(self.path, 0):
            self._file.flush()

    def close(self) -> None:
        with _writing(self.path, 0):
            self._file.close()

    def abandon(self) -> None:
        """Close the file without finishing it: what a full disk has refused is refused again when it is flushed."""
        with suppress(OSError):
            self._file.close()


def map_scratch(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...], *, writable: bool = False) -> AnyArray:
    """The array in a scratch file, mapped: its pages are the file's and count as cache, not as memory of ours."""
    if 0 in shape:  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r+" if writable else "r", shape=shape)


def allocate_scratch(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> AnyArray:
    """A new scratch array to write to. Its room is taken at once: writing to a map on a full disk would be a crash."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size:
        with _writing(path, size), path.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    return map_scratch(path, dtype, shape, writable=True)


@contextmanager
def _writing(path: Path, needed_bytes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise write_error(str(path), needed_bytes, lambda: shutil.disk_usage(path.parent).free, error) from error
