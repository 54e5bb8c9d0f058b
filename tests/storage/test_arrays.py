"""Arrays come back bit by bit, mapped and aligned; a footer that does not fit its file is refused."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.storage.arrays import DTYPE_CODES, ArrayWriter, map_array, write_array
from jcb_engine.storage.checksum import hash_file
from jcb_engine.storage.files import LocalFiles
from jcb_engine.types import AnyArray

from .sample_index import UnsyncedFiles

_SHAPES = st.one_of(st.tuples(st.integers(0, 70)), st.tuples(st.integers(0, 20), st.integers(1, 9)))
_ARRAYS = st.sampled_from(sorted(DTYPE_CODES.values())).flatmap(lambda dtype: hnp.arrays(dtype, _SHAPES))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arrays")


@settings(max_examples=60, deadline=None)
@given(values=_ARRAYS, pieces=st.integers(1, 4))
def test_what_is_written_in_pieces_is_mapped_bit_by_bit(folder: Path, values: AnyArray, pieces: int) -> None:
    files = UnsyncedFiles(folder)
    (folder / "a.bin").unlink(missing_ok=True)
    with ArrayWriter(files, "a.bin", values.dtype, values.shape[1] if values.ndim == 2 else None) as writer:
        for piece in np.array_split(values, pieces):
            writer.append(piece)
    assert writer.length == len(values)
    assert writer.record == hash_file(files, "a.bin")
    mapped = map_array(files, "a.bin", writer.record.size)
    assert (mapped.dtype, mapped.shape) == (values.dtype, values.shape)
    assert mapped.tobytes() == values.tobytes()
    assert mapped.ctypes.data % 64 == 0
    assert writer.record.size % 64 == 0
    assert not mapped.flags.writeable


def test_the_bytes_of_the_format_are_these(tmp_path: Path) -> None:
    write_array(LocalFiles(tmp_path), "a.bin", np.array([[1, 2], [3, 4], [5, 6]], dtype=np.uint16))
    expected = bytes([1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]) + bytes(52)
    expected += b"JCBARRAY" + bytes([0, 0, 2, 2, 0, 0, 0, 0]) + bytes([3] + [0] * 7 + [2] + [0] * 7 + [12] + [0] * 7)
    assert (tmp_path / "a.bin").read_bytes() == expected + bytes(24)


def test_a_big_array_is_streamed_in_bounded_memory(tmp_path: Path) -> None:
    block = np.zeros((4096, 64), dtype=np.float32)  # 1 MiB
    tracemalloc.start()
    with ArrayWriter(LocalFiles(tmp_path), "a.bin", np.float32, 64) as writer:
        for _ in range(24):
            writer.append(block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert writer.length == 24 * 4096
    assert peak < 5 << 20


def test_rows_of_another_dtype_or_shape_are_refused_not_converted(tmp_path: Path) -> None:
    with ArrayWriter(LocalFiles(tmp_path), "a.bin", np.float16, 4) as writer:
        for rows in (np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float16), np.zeros(4, np.float16)):
            with pytest.raises(InputError, match=r"expected \[rows, 4\] float16"):
                writer.append(rows)
        writer.append(np.zeros((2, 4), np.float16))
    with pytest.raises(InputError, match="closed"):
        writer.append(np.zeros((1, 4), np.float16))


def test_a_view_that_is_not_contiguous_is_written_in_row_order(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.int64).reshape(3, 4)[:, ::2]
    write_array(LocalFiles(tmp_path), "a.bin", values)
    np.testing.assert_array_equal(map_array(LocalFiles(tmp_path), "a.bin"), values)


@pytest.mark.parametrize("dtype", [np.complex64, np.float64, object, np.bool_])
def test_a_dtype_without_a_code_is_refused(tmp_path: Path, dtype: type) -> None:
    with pytest.raises(InputError, match="use one of uint8"):
        ArrayWriter(LocalFiles(tmp_path), "a.bin", dtype, None)


def test_a_mapping_outlives_the_name_of_its_file(tmp_path: Path) -> None:
    values = np.arange(1000, dtype=np.int64)
    write_array(LocalFiles(tmp_path), "a.bin", values)
    mapped = map_array(LocalFiles(tmp_path), "a.bin")
    (tmp_path / "a.bin").unlink()
    np.testing.assert_array_equal(mapped, values)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_of_a_footer_reaches_beyond_the_file(folder: Path, data: st.DataObject) -> None:
    path = folder / "hostile.bin"
    path.unlink(missing_ok=True)
    record = write_array(UnsyncedFiles(folder), "hostile.bin", np.arange(40, dtype=np.uint32).reshape(10, 4))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(len(content) - 64, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        mapped = map_array(LocalFiles(folder), "hostile.bin", record.size)
    except CorruptIndexError:
        return
    assert mapped.nbytes == 160
    mapped.tobytes()


@pytest.mark.parametrize("length", [0, 1, 63, 64, 127])
def test_a_file_that_is_too_short_is_refused(tmp_path: Path, length: int) -> None:
    write_array(LocalFiles(tmp_path), "a.bin", np.arange(4, dtype=np.int64))
    content = (tmp_path / "a.bin").read_bytes()
    (tmp_path / "a.bin").write_bytes(content[:length])
    with pytest.raises(CorruptIndexError, match=r"a\.bin"):
        map_array(LocalFiles(tmp_path), "a.bin")
