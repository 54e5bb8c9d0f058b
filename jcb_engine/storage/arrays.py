"""Arrays on disk: one array per file, raw and mappable, described by a footer.

File, all numbers little-endian:

    0            data, row by row (C order), from the first byte: a mapping is aligned to a page, so to 64 bytes
    data end     zero bytes up to a multiple of 64
    size - 64    footer of 64 bytes

Footer:

    0   8  magic          b"JCBARRAY"
    8   2  footer version 0
    10  1  dtype code     see DTYPE_CODES
    11  1  dimensions     1 or 2
    12  4  reserved       0
    16  8  rows
    24  8  columns        0 when there is one dimension
    32  8  data bytes     rows * columns * bytes per item
    40  24 reserved       0

A footer, not a header, so that data start at 0 and a file can be written in one pass before its length is known.
History: 0, the first.
"""

from __future__ import annotations

import math
import struct
from types import TracebackType

import numpy as np
import numpy.typing as npt

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.storage.checksum import FileRecord, HashedFile
from jcb_engine.storage.failures import reading
from jcb_engine.storage.files import Files
from jcb_engine.types import AnyArray

MAGIC = b"JCBARRAY"
FOOTER_VERSION = 0
ALIGNMENT = 64
DTYPE_CODES = {1: "<u1", 2: "<u2", 3: "<u4", 4: "<i8", 5: "<f2", 6: "<f4"}
_FOOTER = struct.Struct("<8sHBBIQQQ24s")
_CODE_OF = {np.dtype(name): code for code, name in DTYPE_CODES.items()}
_RESERVED = bytes(24)


class ArrayWriter:
    """Streams rows into a new file. Memory is bounded by one chunk, whatever the length."""

    def __init__(self, files: Files, path: str, dtype: npt.DTypeLike, columns: int | None) -> None:
        self.dtype = np.dtype(dtype).newbyteorder("<")
        if self.dtype not in _CODE_OF:
            allowed = ", ".join(known.name for known in _CODE_OF)
            raise InputError(f"array {path} of dtype {self.dtype.name} cannot be stored; use one of {allowed}")
        if columns is not None and columns < 1:
            raise InputError(f"array {path} with {columns} columns; give at least 1, or None for one dimension")
        self.columns = columns
        self.length = 0
        self.record: FileRecord | None = None
        self._path = path
        self._file = HashedFile(files, path)

    def append(self, rows: AnyArray) -> None:
        """Add rows: [any] or [any, columns] of the array's own dtype. InputError otherwise: nothing is converted."""
        if self.record is not None:
            raise InputError(f"array {self._path} is closed; append before close()")
        expected = "[rows]" if self.columns is None else f"[rows, {self.columns}]"
        fits = rows.ndim == 1 if self.columns is None else rows.ndim == 2 and rows.shape[1] == self.columns
        if not fits or rows.dtype != self.dtype:
            raise InputError(
                f"rows of shape {list(rows.shape)} and dtype {rows.dtype.name} appended to array {self._path}; "
                f"expected {expected} {self.dtype.name}"
            )
        if len(rows):
            self._file.write(np.ascontiguousarray(rows).view(np.uint8).data)
            self.length += len(rows)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,) if self.columns is None else (self.length, self.columns)

    def close(self) -> None:
        """Write padding and footer, and make the file durable. A second call does nothing."""
        if self.record is not None:
            return
        data_bytes = self._file.size
        self._file.write(bytes(-data_bytes % ALIGNMENT))
        self._file.write(_pack_footer(self.dtype, self.shape, data_bytes))
        self.record = self._file.finish()

    def abandon(self) -> None:
        """Close the file without finishing it."""
        self._file.abandon()

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def write_array(files: Files, path: str, values: AnyArray) -> FileRecord:
    """Write a whole array of one or two dimensions."""
    if values.ndim not in (1, 2):
        raise InputError(f"array {path} has {values.ndim} dimensions; 1 or 2 can be stored")
    writer = ArrayWriter(files, path, values.dtype, values.shape[1] if values.ndim == 2 else None)
    with writer:
        writer.append(values.astype(writer.dtype, copy=False))
    assert writer.record is not None
    return writer.record


def map_array(files: Files, path: str, expected_size: int | None = None) -> AnyArray:
    """Map an array read-only, after its size and footer were checked. Contents are not read.

    The array stays valid for as long as it is referenced, even when the file's name goes.
    """
    with reading(files, path):
        mapped = files.map(path)
    name = str(files.real_path(path))
    if expected_size is not None and len(mapped) != expected_size:
        raise _damaged(f"{name} has {len(mapped):,} bytes; the manifest says {expected_size:,}")
    dtype, shape = _read_footer(mapped, name)
    return np.ndarray(shape, dtype=dtype, buffer=mapped)


def _pack_footer(dtype: np.dtype[np.generic], shape: tuple[int, ...], data_bytes: int) -> bytes:
    columns = shape[1] if len(shape) == 2 else 0
    return _FOOTER.pack(MAGIC, FOOTER_VERSION, _CODE_OF[dtype], len(shape), 0, shape[0], columns, data_bytes, _RESERVED)


def _read_footer(mapped: memoryview, name: str) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    """Dtype and shape, checked against each other and against the file's size. All sums are unbounded integers."""
    if len(mapped) < _FOOTER.size:
        raise _damaged(f"{name} has {len(mapped)} bytes; an array file has at least {_FOOTER.size}")
    fields = _FOOTER.unpack(mapped[-_FOOTER.size :])
    magic, version, dtype_code, dimensions, reserved, rows, columns, data_bytes, reserved_end = fields
    if magic != MAGIC:
        raise _damaged(f"{name}: footer magic is {magic!r}; expected {MAGIC!r}")
    if version != FOOTER_VERSION:
        raise _damaged(f"{name}: footer version is {version}; expected {FOOTER_VERSION}")
    if dtype_code not in DTYPE_CODES:
        raise _damaged(f"{name}: footer dtype code is {dtype_code}; expected 1 to {max(DTYPE_CODES)}")
    if dimensions not in (1, 2) or (columns == 0) != (dimensions == 1) or reserved or reserved_end != _RESERVED:
        raise _damaged(f"{name}: footer has {dimensions} dimensions, {columns} columns or reserved bytes set")
    dtype = np.dtype(DTYPE_CODES[dtype_code])
    shape = (rows,) if dimensions == 1 else (rows, columns)
    padded = data_bytes + -data_bytes % ALIGNMENT
    if math.prod(shape) * dtype.itemsize != data_bytes or padded + _FOOTER.size != len(mapped):
        raise _damaged(
            f"{name}: footer says {list(shape)} {dtype.name} in {data_bytes:,} bytes; "
            f"that does not fit a file of {len(mapped):,} bytes"
        )
    return dtype, shape


def _damaged(what: str) -> CorruptIndexError:
    return CorruptIndexError(f"{what}: the file is damaged; restore the index from a copy or build it again")
