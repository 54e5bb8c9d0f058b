"""The coarse search over all centroids finds what FAISS's flat index finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jcb_engine import Searcher
from jcb_engine.kernels import select
from jcb_engine.search.candidates.coarse import FaissSearch, FlatSearch, coarse_search
from jcb_engine.search.stored_vectors import load_codec, segment_arrays
from jcb_engine.storage import Snapshot
from tests.search.conftest import query_vectors


@pytest.mark.parametrize("backend_name", ["cpu", "reference"])
@pytest.mark.parametrize("count", [1, 33, 256])
def test_flat_finds_what_the_flat_index_of_faiss_finds(index_path: Path, backend_name: str, count: int) -> None:
    backend = select(backend_name)
    with Snapshot.open(index_path) as snapshot:
        arrays = load_codec(snapshot).arrays
        store = backend.prepare(arrays, [segment_arrays(segment) for segment in snapshot.segments])
        queries = query_vectors(50, seed=4)
        table = backend.centroid_scores(store, queries)
        own = coarse_search("Flat", backend, store, arrays.centroids)
        assert isinstance(own, FlatSearch)
        ids, scores = own.best(queries, table, count)
        faiss_ids, faiss_scores = FaissSearch(arrays.centroids, "Flat").best(queries, table, 256)
    np.testing.assert_allclose(scores, faiss_scores[:, :count], atol=1e-5)
    # Products are rounded otherwise there: neighbours whose scores are that close may change places.
    gaps = np.pad(-np.diff(faiss_scores.astype(np.float64), axis=1), ((0, 0), (1, 1)), constant_values=1) > 1e-5
    clear = (gaps[:, 1:] & gaps[:, :-1])[:, :count]
    np.testing.assert_array_equal(ids[clear], faiss_ids[:, :count][clear])
    assert clear.mean() > 0.9


def test_searching_with_all_centroids_compared_needs_no_faiss(index_path: Path) -> None:
    code = (
        "import sys, numpy as np; from jcb_engine import Searcher; "
        f"s = Searcher.open({str(index_path)!r}); assert len(s.search(np.ones((3, 32), np.float32), k=5)) == 5; "
        "assert 'faiss' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with Searcher.open(index_path) as searcher:
        assert searcher.info().faiss_factory == "Flat"
