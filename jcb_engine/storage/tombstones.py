"""Deleted rows of a segment: one bit per document, set where the document is deleted.

The file is an array file (arrays.py): uint8 [ceil(documents / 8)], row 0 in the low bit of byte 0, unused bits 0. A
commit that deletes writes a new file, tombstones/<segment-id>.<n>.bin; the segment itself never changes.
"""

from __future__ import annotations

import numpy as np
from bitarray import bitarray

from jcb_engine.errors import CorruptIndexError
from jcb_engine.storage.arrays import map_array, write_array
from jcb_engine.storage.files import Files
from jcb_engine.storage.layout import TOMBSTONE_FOLDER
from jcb_engine.storage.manifest import TombstonesRecord


def tombstones_path(name: str) -> str:
    return f"{TOMBSTONE_FOLDER}/{name}"


def write_tombstones(files: Files, folder: str, segment_id: str, number: int, deleted: bitarray) -> TombstonesRecord:
    """Write the bitmap of a segment as a new file in `folder` (tombstones/ or a staging folder)."""
    name = f"{segment_id}.{number}.bin"
    packed = bitarray(deleted, endian="little").tobytes()
    record = write_array(files, f"{folder}/{name}", np.frombuffer(packed, dtype=np.uint8))
    return TombstonesRecord(name, record)


def read_tombstones(files: Files, record: TombstonesRecord, documents: int) -> bitarray:
    """Deleted rows, `documents` bits. CorruptIndexError unless the file holds just these."""
    path = tombstones_path(record.name)
    packed = map_array(files, path, record.file.size)
    name = files.real_path(path)
    if packed.dtype != np.uint8 or packed.shape != ((documents + 7) // 8,):
        raise CorruptIndexError(
            f"{name} holds {list(packed.shape)} {packed.dtype.name}; expected [{(documents + 7) // 8}] uint8"
        )
    deleted = bitarray(endian="little")
    deleted.frombytes(packed.tobytes())
    if deleted[documents:].any():
        raise CorruptIndexError(f"{name} deletes rows beyond the {documents} of its segment")
    return deleted[:documents]
