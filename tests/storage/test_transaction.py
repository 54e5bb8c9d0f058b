"""A transaction publishes what was staged as one version, or leaves no trace; equal input gives equal bytes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from jcb_engine.errors import IndexExistsError, InputError, NotAnIndexError
from jcb_engine.storage import Snapshot, Transaction, verify
from jcb_engine.types import Document

from .sample_index import arrays_of, codec_of, commit_sample, documents_of, files_of, marker_of, write_sample


def test_versions_count_from_one_and_the_last_two_stay_readable(tmp_path: Path) -> None:
    index = tmp_path / "deep" / "index"
    for version, marker in enumerate([5, 6, 7], start=1):
        assert commit_sample(index, marker) == version
    for version, marker in [(2, 6), (3, 7)]:
        with Snapshot.open(index, version=version) as snapshot:
            assert (snapshot.version, marker_of(snapshot)) == (version, marker)
    assert sorted(os.listdir(index)) == [
        "LOCK",
        "codec",
        "manifest.00000000000000000002",
        "manifest.00000000000000000003",
        "segments",
        "staging",
    ]
    assert len(os.listdir(index / "segments")) == len(os.listdir(index / "codec")) == 2
    assert os.listdir(index / "staging") == []


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767323045")
    commit_sample(tmp_path / "a", 1)
    commit_sample(tmp_path / "b", 1)
    files = files_of(tmp_path / "a")
    assert len(files) == 13
    assert files == files_of(tmp_path / "b")


def test_the_same_content_again_reuses_its_folders(tmp_path: Path) -> None:
    index = tmp_path / "index"
    commit_sample(index, 1)
    before = {path: path.stat().st_ino for path in index.glob("segments/*/*")}
    assert commit_sample(index, 1) == 2
    assert {path: path.stat().st_ino for path in index.glob("segments/*/*")} == before


def test_a_damaged_orphan_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    index = tmp_path / "index"
    commit_sample(index, 1)
    for path in index.glob("manifest.*"):
        path.unlink()  # the folders are now what an interrupted commit leaves
    (codes,) = index.glob("segments/*/codes.bin")
    codes.write_bytes(b"x" + codes.read_bytes()[1:])
    (centroids,) = index.glob("codec/*/centroids.bin")
    centroids.unlink()
    assert commit_sample(index, 1, overwrite=False) == 1
    with Snapshot.open(index) as snapshot:
        assert marker_of(snapshot) == 1
    assert verify(index).problems == []
    assert os.listdir(index / "staging") == []


def test_several_segments_and_codecs_are_one_version(tmp_path: Path) -> None:
    with Transaction.begin(tmp_path) as transaction:
        for marker in (1, 2, 3):
            write_sample(transaction, marker)
        transaction.commit(encoder=None, settings={})
    with Snapshot.open(tmp_path) as snapshot:
        assert [segment.statistics["marker"] for segment in snapshot.segments] == [1, 2, 3]
        assert [segment.documents.get([0])[0].id for segment in snapshot.segments] == ["1-0", "2-0", "3-0"]
        assert len({segment.codec_id for segment in snapshot.segments}) == 3
    assert verify(tmp_path).problems == []


def test_leaving_without_a_commit_leaves_no_trace(tmp_path: Path) -> None:
    index = tmp_path / "index"
    commit_sample(index, 1)
    before = files_of(index)
    with Transaction.begin(index, overwrite=True) as transaction:
        write_sample(transaction, 2)
        transaction.scratch_path("spool").write_bytes(b"x" * 1000)
        unfinished = transaction.new_segment()
        unfinished.array("codes", np.uint8, 4).append(np.zeros((2, 4), np.uint8))
        unfinished.documents.add(Document(id="a", text=""))
    assert files_of(index) == before
    with pytest.raises(InputError, match="over"):
        transaction.new_segment()

    def fail_halfway() -> None:
        with Transaction.begin(index, overwrite=True) as transaction:
            write_sample(transaction, 2)
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert files_of(index) == before


def test_an_index_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    commit_sample(tmp_path, 1)
    with pytest.raises(IndexExistsError, match=str(tmp_path)):
        Transaction.begin(tmp_path)
    commit_sample(tmp_path, 2, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(NotAnIndexError, match=r"thesis\.tex"):
        Transaction.begin(tmp_path, overwrite=overwrite)
    assert os.listdir(tmp_path) == ["thesis.tex"]
    with pytest.raises(NotAnIndexError, match="is a file"):
        Transaction.begin(tmp_path / "thesis.tex", overwrite=overwrite)


def test_collection_removes_only_what_writers_make(tmp_path: Path) -> None:
    commit_sample(tmp_path, 1)
    others = ["README.md", "segments/notes", "codec/old.txt", "staging/mine", "manifest.bak"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "segments" / ("f" * 32)).mkdir()
    (tmp_path / "segments" / ("f" * 32) / "outside").symlink_to(tmp_path / "README.md")
    (tmp_path / "staging" / ("0" * 16)).mkdir()
    commit_sample(tmp_path, 2)
    assert all((tmp_path / name).read_text() == "mine" for name in others)
    assert not (tmp_path / "segments" / ("f" * 32)).exists()
    assert os.listdir(tmp_path / "staging") == ["mine"]


def test_a_kept_manifest_that_cannot_be_read_stops_the_collection_and_not_the_commit(tmp_path: Path) -> None:
    commit_sample(tmp_path, 1)
    commit_sample(tmp_path, 2)
    (tmp_path / "manifest.00000000000000000002").write_bytes(b"damaged")
    assert commit_sample(tmp_path, 3) == 3
    assert len(os.listdir(tmp_path / "segments")) == 3
    assert commit_sample(tmp_path, 4) == 4
    assert len(os.listdir(tmp_path / "segments")) == 2


def test_the_id_of_a_codec_follows_from_arrays_and_properties(tmp_path: Path) -> None:
    with Transaction.begin(tmp_path) as transaction:
        ids = [
            transaction.write_codec(codec_of(marker), {"seed": seed})
            for marker, seed in [(1, 0), (1, 0), (1, 1), (2, 0)]
        ]
        assert ids[0] == ids[1]
        assert len(set(ids)) == 3
        transaction.commit(encoder=None, settings={})
    with Snapshot.open(tmp_path) as snapshot:
        assert snapshot.codec(ids[2]).properties == {"seed": 1}
        np.testing.assert_array_equal(snapshot.codec(ids[3]).array("centroids"), codec_of(2)["centroids"])
        with pytest.raises(InputError, match="not in version 1"):
            snapshot.codec("x")


def _stage(transaction: Transaction, changes: dict[str, np.ndarray]) -> None:
    codec_id = transaction.write_codec(codec_of(1), {})
    segment = transaction.new_segment()
    for document in documents_of(1):
        segment.documents.add(document)
    for name, values in {**arrays_of(1), **changes}.items():
        with segment.array(name, values.dtype, values.shape[1] if values.ndim == 2 else None) as writer:
            writer.append(values)
    segment.seal(codec_id, token_count=2 * len(documents_of(1)), statistics={})


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("doc_offsets", np.zeros(2, np.int64), "doc_offsets has 2 rows; expected 4"),
        ("doc_offsets", np.zeros(4, np.uint32), "doc_offsets has dtype uint32; expected int64"),
        ("codes", np.zeros((5, 1), np.uint8), "codes has 5 rows; expected 6"),
        ("codes", np.zeros(6, np.uint8), "expected 2 dimension"),
        ("sigmas", np.zeros(5, np.float16), "sigmas has 5 rows; expected 6 or 0"),
        ("posting_offsets", np.zeros(9, np.int64), "posting_offsets has 9 rows; expected 4"),
        ("parents", np.zeros(2, np.uint32), "parents has 2 rows; expected 3"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_when_a_segment_is_sealed(
    tmp_path: Path, name: str, values: np.ndarray, reason: str
) -> None:
    with Transaction.begin(tmp_path) as transaction, pytest.raises(InputError, match=reason):
        _stage(transaction, {name: values})


def test_misuse_is_told_before_anything_is_published(tmp_path: Path) -> None:
    with Transaction.begin(tmp_path) as transaction:
        segment = transaction.new_segment()
        for name in ("../x", "A", "", "a.b", "x" * 65):
            with pytest.raises(InputError, match="array name"):
                segment.array(name, np.uint8)
            with pytest.raises(InputError, match="codec array name"):
                transaction.write_codec({name: np.zeros(1, np.uint8)}, {})
        with pytest.raises(InputError, match="plain file name"):
            transaction.scratch_path("../outside")
        with pytest.raises(InputError, match="cannot be stored as JSON"):
            transaction.write_codec({}, {"x": np.float32(1)})  # type: ignore[dict-item]
        with pytest.raises(InputError, match="rotation has shape"):
            transaction.write_codec({"rotation": np.zeros((2, 3), np.float32)}, {})
        writer = segment.array("doc_offsets", np.int64)
        with pytest.raises(InputError, match="write and close it first"):
            segment.map("doc_offsets")
        with pytest.raises(InputError, match="started before"):
            segment.array("doc_offsets", np.int64)
        with pytest.raises(InputError, match="close the arrays doc_offsets"):
            segment.seal("f" * 32, token_count=0, statistics={})
        writer.append(np.zeros(1, np.int64))
        writer.close()
        with pytest.raises(InputError, match="not written in this transaction"):
            segment.seal("f" * 32, token_count=0, statistics={})
        with pytest.raises(InputError, match="not sealed"):
            transaction.commit(encoder=None, settings={})
        segment.seal(transaction.write_codec({}, {}), token_count=0, statistics={})
        with pytest.raises(InputError, match="is sealed"):
            segment.array("more", np.uint8)
        with pytest.raises(InputError, match="cannot be stored as JSON"):
            transaction.commit(encoder=None, settings={"x": float("nan")})
        assert transaction.commit(encoder=None, settings={}) == 1
    with Snapshot.open(tmp_path) as snapshot:
        assert len(snapshot.segments[0].documents) == 0
        assert list(snapshot.segments[0].documents.iterate()) == []
    assert verify(tmp_path).problems == []


def test_a_segment_with_more_documents_than_postings_can_number_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jcb_engine.storage.segment_writer.MAX_DOCUMENTS", 2)
    with Transaction.begin(tmp_path) as transaction, pytest.raises(InputError, match="at most 2: start another"):
        write_sample(transaction, 1)


def test_two_equal_segments_are_refused(tmp_path: Path) -> None:
    with Transaction.begin(tmp_path) as transaction:
        write_sample(transaction, 1)
        write_sample(transaction, 1)
        with pytest.raises(InputError, match="ids must be unique"):
            transaction.commit(encoder=None, settings={})


def test_an_index_that_is_copied_elsewhere_is_the_same_index(tmp_path: Path) -> None:
    commit_sample(tmp_path / "index", 3)
    shutil.copytree(tmp_path / "index", tmp_path / "ünïcode and % ? # folder")
    with Snapshot.open(tmp_path / "ünïcode and % ? # folder") as snapshot:
        assert marker_of(snapshot) == 3
