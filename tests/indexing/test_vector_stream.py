"""Vectors that can be read again give the index that spooled ones give, and no copy of them is put on disk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jcb_engine import Document, IndexWriter, Searcher
from jcb_engine.errors import InputError
from jcb_engine.indexing import spool
from jcb_engine.indexing.vector_stream import VectorBatch
from jcb_engine.storage import Snapshot, verify
from tests.conftest import random_embeddings

DOCUMENTS, DIM, PER_BATCH = 230, 16, 40


class Batches:
    """All documents in batches, each time; counts its readings and notes what lies in a folder meanwhile."""

    def __init__(self, dtype: type = np.float16, watched: Path | None = None) -> None:
        values, self.offsets = random_embeddings(DOCUMENTS, DIM)
        self.values = values.astype(dtype)
        self.readings, self.largest_file, self._watched = 0, 0, watched

    def batch(self, first: int, last: int) -> VectorBatch:
        tokens = slice(self.offsets[first], self.offsets[last])
        ids = [f"d{number}" for number in range(first, last)]
        return ids, self.values[tokens], self.offsets[first : last + 1] - self.offsets[first]

    def __iter__(self) -> Iterator[VectorBatch]:
        self.readings += 1
        for first in range(0, DOCUMENTS, PER_BATCH):
            if self._watched is not None:
                sizes = [file.stat().st_size for file in self._watched.rglob("*") if file.is_file()]
                self.largest_file = max(self.largest_file, *sizes)
            yield self.batch(first, min(DOCUMENTS, first + PER_BATCH))


def segment_id(path: Path) -> str:
    with Snapshot.open(path) as snapshot:
        return snapshot.segments[0].id


@pytest.mark.parametrize("nbits", [2, 16])
def test_the_index_is_the_one_that_spooled_vectors_give(
    tmp_path: Path, nbits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "WINDOW_TOKENS", 90)  # batches are cut into several windows
    batches = Batches()
    with IndexWriter.create(tmp_path / "streamed", nbits=nbits) as writer:
        writer.add_vectors_from(batches)
    with IndexWriter.create(tmp_path / "spooled", nbits=nbits) as writer:
        writer.add_vectors(*batches.batch(0, DOCUMENTS))
    assert segment_id(tmp_path / "streamed") == segment_id(tmp_path / "spooled")  # an id derives from the contents
    assert verify(tmp_path / "streamed").problems == []
    assert batches.readings == 3


def test_no_copy_of_the_vectors_is_put_on_disk(tmp_path: Path) -> None:
    batches = Batches(np.float32, watched=tmp_path)
    with IndexWriter.create(tmp_path / "index", dim=DIM, nbits=1, centroids=1) as writer:  # a sample of 64 documents
        writer.add_vectors_from(batches)
    sample = batches.offsets[-1] / DOCUMENTS * 64 * DIM * 4
    assert batches.largest_file < max(1.5 * sample, 130_000)  # an empty document store has some 100 KB
    assert batches.largest_file < batches.values.nbytes


def test_documents_keep_what_comes_with_their_ids(tmp_path: Path) -> None:
    values, offsets = random_embeddings(3, 8, seed=2)
    with IndexWriter.create(tmp_path / "index") as writer:
        writer.add_vectors_from([([Document(id="x", text="kept"), "y", "z"], values, offsets)])
    with Searcher.open(tmp_path / "index") as searcher:
        assert {hit.id: hit.text for hit in searcher.search(values[:2], k=3)}["x"] == "kept"


def test_what_can_be_read_only_once_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a generator, which can be read once; they are read three times: pass a list"):
        with IndexWriter.create(tmp_path / "index") as writer:
            writer.add_vectors_from(batch for batch in Batches())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batches: batches[:-1], "230 documents at first, 200 then"),
        (lambda batches: [*batches, batches[0]], "documents 230 to 269 do not have the numbers of tokens"),
        (lambda batches: batches[1:], "documents 0 to 39 do not have the numbers of tokens they had"),
    ],
)
def test_vectors_that_change_between_readings_end_the_build(tmp_path: Path, change: object, message: str) -> None:
    class Changing(Batches):
        def __iter__(self) -> Iterator[VectorBatch]:
            batches = list(super().__iter__())
            return iter(batches if self.readings == 1 else change(batches))  # type: ignore[operator]

    with pytest.raises(InputError, match=message):
        with IndexWriter.create(tmp_path / "index") as writer:
            writer.add_vectors_from(Changing())
    assert not list(tmp_path.glob("index/manifest.*"))


def test_wrong_values_and_mixed_ways_are_refused(tmp_path: Path) -> None:
    batches = Batches(np.float32)
    batches.values[7, 3] = np.nan
    with pytest.raises(InputError, match="token vector 7 of these holds NaN"):
        with IndexWriter.create(tmp_path / "a") as writer:
            writer.add_vectors_from(batches)
    with pytest.raises(InputError, match="16 dimensions; this index was created with dim=8"):
        with IndexWriter.create(tmp_path / "b", dim=8) as writer:
            writer.add_vectors_from(Batches())
    for first, second in (("spool", "stream"), ("stream", "stream"), ("stream", "spool")):
        with pytest.raises(InputError, match="chain"):
            with IndexWriter.create(tmp_path / "c") as writer:
                for way in (first, second):
                    if way == "stream":
                        writer.add_vectors_from(Batches())
                    else:
                        writer.add_vectors(*Batches().batch(0, 5))
