"""Files whose k-th operation fails: what a full disk, a dying one or a wrong permission does, at every place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from jcb_engine.storage.files import Files, WritableFile

_Result = TypeVar("_Result")


class FaultFile:
    def __init__(self, files: FaultFiles, inner: WritableFile, path: str) -> None:
        self._files, self._inner, self._path = files, inner, path

    def write(self, data: memoryview) -> None:
        self._files.step("write", self._path, lambda: self._inner.write(data))

    def fsync(self) -> None:
        self._files.step("fsync", self._path, self._inner.fsync)

    def close(self) -> None:
        self._inner.close()


class FaultFiles:
    """Passes everything to `inner`, but operation number `fail_at` raises; with `for_ever` all later ones too."""

    def __init__(self, inner: Files, fail_at: int, errno: int, *, for_ever: bool = False) -> None:
        self._inner = inner
        self._fail_at, self._errno, self._for_ever = fail_at, errno, for_ever
        self.operations: list[tuple[str, str]] = []
        self.failed: list[tuple[str, str]] = []

    def step(self, operation: str, path: str, action: Callable[[], _Result]) -> _Result:
        number = len(self.operations)
        self.operations.append((operation, path))
        if number == self._fail_at or (self._for_ever and number > self._fail_at):
            self.failed.append((operation, path))
            raise OSError(self._errno, os.strerror(self._errno), path)
        return action()

    def make_root(self) -> None:
        self.step("make root", "", self._inner.make_root)

    def create(self, path: str) -> WritableFile:
        return FaultFile(self, self.step("create", path, lambda: self._inner.create(path)), path)

    def fsync(self, path: str) -> None:
        self.step("fsync", path, lambda: self._inner.fsync(path))

    def fsync_directory(self, path: str) -> None:
        self.step("fsync folder", path, lambda: self._inner.fsync_directory(path))

    def publish(self, source: str, target: str) -> None:
        self.step("publish", target, lambda: self._inner.publish(source, target))

    def rename(self, source: str, target: str) -> None:
        self.step("rename", target, lambda: self._inner.rename(source, target))

    def make_directory(self, path: str) -> None:
        self.step("make folder", path, lambda: self._inner.make_directory(path))

    def remove_file(self, path: str) -> None:
        self.step("remove", path, lambda: self._inner.remove_file(path))

    def remove_directory(self, path: str) -> None:
        self.step("remove folder", path, lambda: self._inner.remove_directory(path))

    def list(self, path: str) -> list[str]:
        return self.step("list", path, lambda: self._inner.list(path))

    def is_directory(self, path: str) -> bool:
        return self.step("look", path, lambda: self._inner.is_directory(path))

    def size(self, path: str) -> int:
        return self.step("size", path, lambda: self._inner.size(path))

    def chunks(self, path: str) -> Iterator[bytes]:
        return self.step("read", path, lambda: self._inner.chunks(path))

    def map(self, path: str) -> memoryview:
        return self.step("map", path, lambda: self._inner.map(path))

    def free_bytes(self) -> int:
        return self._inner.free_bytes()

    def real_path(self, path: str) -> Path:
        return self._inner.real_path(path)
