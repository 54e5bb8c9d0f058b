"""Reading ahead changes no answer: operations over mapped files whose pages are not in memory give the same bits."""

import os
from pathlib import Path

import numpy as np
import pytest

from jcb_engine import IndexWriter
from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels import Lists
from jcb_engine.kernels.cpu import CpuBackend
from jcb_engine.search.stored_vectors import load_codec, segment_arrays
from jcb_engine.storage import Snapshot
from tests.conftest import random_embeddings

DOCUMENTS, DIM = 900, 32


def drop_pages(folder: Path) -> None:
    """As far as the file system honours it; the answers must be the same anyway."""
    for path in folder.rglob("*.bin"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def answers(index: Path, damaged: bool = False) -> list[np.ndarray]:
    """What each operation gives over candidates from all over the store, the pages dropped before each."""
    backend, random = CpuBackend(), np.random.default_rng(4)
    queries, offsets = random.standard_normal((9, DIM)).astype(np.float32), np.array([0, 4, 9])
    documents = random.permutation(DOCUMENTS)[:300].astype(np.uint32)
    documents[-1] = DOCUMENTS + 7 if damaged else documents[0]
    lists = Lists(documents, np.array([0, 120, 300]))
    probes = np.sort(random.integers(0, 16, (9, 4)))
    probe_scores = np.sort(random.random((9, 4)).astype(np.float32))[:, ::-1].copy()
    found: list[np.ndarray] = []
    with Snapshot.open(index) as snapshot:
        codec = load_codec(snapshot).arrays
        for operation in ("postings", "centroids", "quantized"):
            drop_pages(index)
            store = backend.prepare(codec, [segment_arrays(segment) for segment in snapshot.segments])
            table = backend.centroid_scores(store, queries)
            if operation == "postings":
                pool, scores = backend.accumulate_postings(
                    store, probes, probe_scores, np.zeros(9, np.float32), offsets, 200
                )
                found += [pool.documents, pool.list_offsets, scores]
            elif operation == "quantized":
                found.append(backend.maxsim_quantized(store, queries, offsets, lists, "fast", table))
            elif codec.nbits != 16:
                found.append(backend.maxsim_centroids(store, table, offsets, lists))
    return found


@pytest.mark.parametrize("nbits", [2, 16])
def test_answers_are_the_same_with_reading_ahead_and_without(
    tmp_path: Path, nbits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, offsets = random_embeddings(DOCUMENTS, DIM)
    with IndexWriter.create(tmp_path / "index", nbits=nbits, centroids=16) as writer:
        writer.add_vectors([str(number) for number in range(DOCUMENTS)], values, offsets)
    found = {}
    for mode in ("off", "on"):
        monkeypatch.setenv("JCB_READ_AHEAD", mode)
        found[mode] = answers(tmp_path / "index")
        with pytest.raises(CorruptIndexError, match="document 907 was asked for; the store has 900"):
            answers(tmp_path / "index", damaged=True)
    for without, reading_ahead in zip(found["off"], found["on"], strict=True):
        np.testing.assert_array_equal(without, reading_ahead)


def test_a_setting_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JCB_READ_AHEAD", "yes")
    with pytest.raises(InputError, match='JCB_READ_AHEAD is "yes"; allowed are on and off'):
        CpuBackend()
