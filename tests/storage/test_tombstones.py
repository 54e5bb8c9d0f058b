"""Deleted rows come back bit by bit, and a bitmap that does not fit its segment is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bitarray import bitarray
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.errors import CorruptIndexError
from jcb_engine.storage import Snapshot, verify
from jcb_engine.storage.arrays import write_array
from jcb_engine.storage.files import LocalFiles
from jcb_engine.storage.layout import manifest_name
from jcb_engine.storage.manifest import Manifest, TombstonesRecord
from jcb_engine.storage.tombstones import read_tombstones, write_tombstones
from jcb_engine.storage.versions import read_manifest

from .sample_index import commit_sample

_SEGMENT = "0" * 32


@settings(max_examples=50, deadline=None)
@given(bits=st.lists(st.booleans(), max_size=40), endian=st.sampled_from(["little", "big"]))
def test_bits_come_back(tmp_path_factory: pytest.TempPathFactory, bits: list[bool], endian: str) -> None:
    root = tmp_path_factory.mktemp("index")
    (root / "tombstones").mkdir()
    record = write_tombstones(LocalFiles(root), "tombstones", _SEGMENT, 3, bitarray(bits, endian=endian))
    assert record.name == f"{_SEGMENT}.3.bin"
    assert read_tombstones(LocalFiles(root), record, len(bits)).tolist() == [int(bit) for bit in bits]


@pytest.mark.parametrize("values", [np.array([0, 0], np.uint8), np.array([0], np.uint16), np.array([0x20], np.uint8)])
def test_another_length_dtype_or_a_bit_beyond_the_end_is_damage(tmp_path: Path, values: np.ndarray) -> None:
    (tmp_path / "tombstones").mkdir()
    file = write_array(LocalFiles(tmp_path), f"tombstones/{_SEGMENT}.0.bin", values)
    with pytest.raises(CorruptIndexError, match="tombstones"):
        read_tombstones(LocalFiles(tmp_path), TombstonesRecord(f"{_SEGMENT}.0.bin", file), 5)


def _delete_row_zero(index: Path) -> Manifest:
    """What a commit that deletes will do: a new bitmap and a new manifest over the same segment."""
    files = LocalFiles(index)
    manifest = read_manifest(files, 1)
    (segment,) = manifest.segments
    (index / "tombstones").mkdir()
    deleted = bitarray(segment.documents)
    deleted[0] = 1
    record = write_tombstones(files, "tombstones", segment.id, 2, deleted)
    fields = {name: getattr(segment, name) for name in segment.__slots__}
    changed = Manifest(
        version=2,
        created=manifest.created,
        writer=manifest.writer,
        encoder=None,
        settings={},
        codecs=manifest.codecs,
        segments=(type(segment)(**{**fields, "tombstones": record}),),
    )
    (index / manifest_name(2)).write_bytes(changed.to_bytes())
    return changed


def test_a_snapshot_gives_the_deleted_rows_and_collection_keeps_their_file(tmp_path: Path) -> None:
    index = tmp_path / "index"
    commit_sample(index, 1)
    _delete_row_zero(index)
    with Snapshot.open(index) as snapshot:
        (segment,) = snapshot.segments
        assert segment.tombstones is not None
        assert segment.tombstones.to01() == "100"
        assert segment.file_sizes()["tombstones"] == 128
    assert verify(index).problems == []
    commit_sample(index, 2)
    with Snapshot.open(index, version=2) as snapshot:
        assert snapshot.segments[0].tombstones is not None
    commit_sample(index, 3)
    assert list((index / "tombstones").iterdir()) == []
