"""A file system in memory that can lose power after any operation.

POSIX and no more: contents are durable after an fsync of the file, names after an fsync of their folder. Everything
else may or may not have reached the disk, each name operation for itself (real systems keep more order than that).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

DataMode: TypeAlias = Literal["durable", "full", "torn", "zero tail"]
DATA_MODES: tuple[DataMode, ...] = ("durable", "full", "torn", "zero tail")
Image: TypeAlias = "dict[str, bytes | None]"  # path -> contents, None for a folder


@dataclass(eq=False)
class _File:
    contents: bytes = b""
    durable: bytes = b""


@dataclass(eq=False)
class _Folder:
    names: dict[str, _Node] = field(default_factory=dict)
    durable: dict[str, _Node] = field(default_factory=dict)


_Node: TypeAlias = "_File | _Folder"


@dataclass
class _NameOperation:
    folder: _Folder
    name: str
    node: _Node | None  # None: the name is removed

    def apply(self, names: dict[str, _Node]) -> None:
        if self.node is None:
            names.pop(self.name, None)
        else:
            names[self.name] = self.node


class SimulatedFile:
    def __init__(self, files: SimulatedFiles, path: str, node: _File) -> None:
        self._files, self._path, self._node = files, path, node

    def write(self, data: memoryview) -> None:
        # In two pieces: a power loss may come between.
        half = len(data) // 2
        for piece in (data[:half], data[half:]):
            self._node.contents += bytes(piece)
            self._files.operated("write", self._path)

    def fsync(self) -> None:
        self._files.make_data_durable(self._path, self._node)
        self._files.operated("fsync", self._path)

    def close(self) -> None:
        return


class SimulatedFiles:
    """Files in memory. `after_operation` is called at every operation boundary."""

    def __init__(self, scratch_root: Path) -> None:
        self._scratch_root = scratch_root
        self._root = _Folder()
        self._pending: list[_NameOperation] = []
        self.operations: list[tuple[str, str]] = []
        self.after_operation: Callable[[], None] = lambda: None

    def load(self, image: Image) -> None:
        """Start from what a disk holds after a power loss: all of it durable."""
        for path, contents in image.items():
            self._add(path, _Folder() if contents is None else _File(contents, contents))
        for operation in self._pending:
            operation.apply(operation.folder.durable)
        self._pending = []

    def operated(self, operation: str, path: str) -> None:
        self.operations.append((operation, path))
        self.after_operation()

    def make_data_durable(self, path: str, node: _File) -> None:
        node.durable = node.contents

    # -- Files -------------------------------------------------------------------------------------------------------
    def make_root(self) -> None:
        return

    def create(self, path: str) -> SimulatedFile:
        node = _File()
        self._add(path, node)
        self.operated("create", path)
        return SimulatedFile(self, path, node)

    def fsync(self, path: str) -> None:
        self.make_data_durable(path, self._file(path))
        self.operated("fsync", path)

    def fsync_directory(self, path: str) -> None:
        folder = self._folder(path)
        for operation in self._pending:
            if operation.folder is folder:
                operation.apply(folder.durable)
        self._pending = [operation for operation in self._pending if operation.folder is not folder]
        self.operated("fsync folder", path)

    def publish(self, source: str, target: str) -> None:
        self._add(target, self._file(source))
        self.operated("publish", target)

    def rename(self, source: str, target: str) -> None:
        node = self._node(source)
        self._remove(source)
        self._add(target, node)
        self.operated("rename", target)

    def make_directory(self, path: str) -> None:
        self._add(path, _Folder())
        self.operated("make folder", path)

    def remove_file(self, path: str) -> None:
        self._file(path)
        self._remove(path)
        self.operated("remove", path)

    def remove_directory(self, path: str) -> None:
        if self._folder(path).names:
            raise OSError(39, "Directory not empty", path)
        self._remove(path)
        self.operated("remove folder", path)

    def list(self, path: str) -> list[str]:
        return sorted(self._folder(path).names)

    def is_directory(self, path: str) -> bool:
        try:
            return isinstance(self._node(path), _Folder)
        except FileNotFoundError:
            return False

    def size(self, path: str) -> int:
        return len(self._file(path).contents)

    def chunks(self, path: str) -> Iterator[bytes]:
        yield self._file(path).contents

    def map(self, path: str) -> memoryview:
        return memoryview(self._file(path).contents)

    def free_bytes(self) -> int:
        return 1 << 30

    def real_path(self, path: str) -> Path:
        real = self._scratch_root / path
        real.parent.mkdir(parents=True, exist_ok=True)
        return real

    # -- power loss --------------------------------------------------------------------------------------------------
    def crash_images(self, generator: random.Random, random_subsets: int = 6) -> Iterator[Image]:
        """What the disk may hold if the power went now: subsets of the pending names, times the fate of the data."""
        pending = self._pending
        subsets = [[], pending, *(pending[:count] for count in range(max(0, len(pending) - 3), len(pending)))]
        subsets += [[op for op in pending if generator.random() < 0.5] for _ in range(random_subsets)]
        for subset in subsets:
            changed: dict[_Folder, dict[str, _Node]] = {}
            for operation in subset:
                names = changed.setdefault(operation.folder, dict(operation.folder.durable))
                operation.apply(names)
            for mode in DATA_MODES:
                image: Image = {}
                _fill(image, "", self._root, changed, mode, generator)
                yield image

    # -- names -------------------------------------------------------------------------------------------------------
    def _node(self, path: str) -> _Node:
        node: _Node = self._root
        for part in path.split("/") if path else []:
            if not isinstance(node, _Folder) or part not in node.names:
                raise FileNotFoundError(2, "No such file or directory", path)
            node = node.names[part]
        return node

    def _file(self, path: str) -> _File:
        node = self._node(path)
        assert isinstance(node, _File), path
        return node

    def _folder(self, path: str) -> _Folder:
        node = self._node(path)
        assert isinstance(node, _Folder), path
        return node

    def _add(self, path: str, node: _Node) -> None:
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        if name in folder.names:
            raise FileExistsError(17, "File exists", path)
        folder.names[name] = node
        self._pending.append(_NameOperation(folder, name, node))

    def _remove(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        del folder.names[name]
        self._pending.append(_NameOperation(folder, name, None))


def _fill(
    image: Image,
    path: str,
    folder: _Folder,
    changed: dict[_Folder, dict[str, _Node]],
    mode: DataMode,
    generator: random.Random,
) -> None:
    for name, node in changed.get(folder, folder.durable).items():
        child = f"{path}/{name}" if path else name
        if isinstance(node, _File):
            image[child] = _surviving(node, mode, generator)
        else:
            image[child] = None
            _fill(image, child, node, changed, mode, generator)


def _surviving(node: _File, mode: DataMode, generator: random.Random) -> bytes:
    contents, durable = node.contents, node.durable
    if mode == "durable" or contents == durable:
        return durable
    if mode == "full":
        return contents
    kept = generator.randrange(len(durable), len(contents) + 1)
    return contents[:kept] if mode == "torn" else contents[:kept] + bytes(len(contents) - kept)


def write_image(image: Image, root: Path) -> None:
    """Put an image on a real disk, without what lies in staging: nobody reads that."""
    root.mkdir(parents=True)
    for path, contents in image.items():
        if path.split("/")[0] == "staging":
            continue
        if contents is None:
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(contents)
