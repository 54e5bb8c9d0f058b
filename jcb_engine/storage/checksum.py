"""xxh3-128 of files and of names: finds damage, is no signature. Hashes are taken while writing, never afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import xxhash

from jcb_engine.errors import InputError
from jcb_engine.storage.failures import reading, writing
from jcb_engine.storage.files import CHUNK_BYTES, Files
from jcb_engine.types import JsonValue


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What the manifest knows of a file: its bytes and the xxh3-128 of them, 32 hex digits."""

    size: int
    xxh3_128: str


class HashedFile:
    """A new file that is hashed while it is written; memory is bounded by one chunk."""

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path
        self._hash = xxhash.xxh3_128()
        self._buffer = bytearray()
        with writing(files, path):
            self._file = files.create(path)
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes; small pieces are gathered."""
        view = memoryview(data).cast("B")
        self.size += len(view)
        if len(self._buffer) + len(view) < CHUNK_BYTES:
            self._buffer += view
            return
        self._flush()
        if len(view) < CHUNK_BYTES:
            self._buffer += view
            return
        for start in range(0, len(view), CHUNK_BYTES):
            self._write_through(view[start : start + CHUNK_BYTES])

    def finish(self) -> FileRecord:
        """Write what is left, make it durable and close. A failure leaves the file to be thrown away: an fsync is
        never tried twice, because the kernel may have dropped the pages that the first one could not write."""
        self._flush()
        with writing(self._files, self._path, self.size):
            self._file.fsync()
            self._file.close()
        return FileRecord(self.size, self._hash.hexdigest())

    def abandon(self) -> None:
        """Close without promising anything."""
        with writing(self._files, self._path):
            self._file.close()

    def _flush(self) -> None:
        if self._buffer:
            data, self._buffer = self._buffer, bytearray()
            self._write_through(memoryview(data))

    def _write_through(self, data: memoryview) -> None:
        self._hash.update(data)
        with writing(self._files, self._path, len(data)):
            self._file.write(data)


def hash_bytes(data: bytes) -> str:
    """xxh3-128 as 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(data)


def hash_file(files: Files, path: str) -> FileRecord:
    """Read a whole file. CorruptIndexError when it is missing or no regular file."""
    digest = xxhash.xxh3_128()
    size = 0
    with reading(files, path):
        for chunk in files.chunks(path):
            digest.update(chunk)
            size += len(chunk)
    return FileRecord(size, digest.hexdigest())


def canonical_json(value: JsonValue) -> bytes:
    """The one way to write a value: sorted keys, no blanks, ASCII. InputError when it is not JSON."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{value!r:.200} cannot be stored as JSON: {error}") from error


def content_id(files: Mapping[str, FileRecord], properties: JsonValue = None) -> str:
    """Id of a set of files and the properties that go with them."""
    hashes = {name: record.xxh3_128 for name, record in files.items()}
    return hash_bytes(canonical_json({"files": hashes, "properties": properties}))
