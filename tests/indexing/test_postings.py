"""Postings name, for every centroid, exactly the documents that have one of its tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.indexing import postings
from jcb_engine.indexing.postings import count_postings, fill_postings


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 12), max_size=30),
    centroids=st.integers(1, 9),
    chunk=st.integers(1, 40),
    seed=st.integers(0, 999),
)
def test_lists_are_complete_ascending_and_unique(lengths: list[int], centroids: int, chunk: int, seed: int) -> None:
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    ids = np.random.default_rng(seed).integers(0, centroids, offsets[-1]).astype(np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "_CHUNK_TOKENS", chunk)
        list_offsets = count_postings(ids, offsets, centroids)
        documents = np.full(list_offsets[-1], 10**9, dtype=np.uint32)
        fill_postings(ids, offsets, list_offsets, documents)
    for centroid in range(centroids):
        expected = [d for d in range(len(lengths)) if centroid in ids[offsets[d] : offsets[d + 1]]]
        assert documents[list_offsets[centroid] : list_offsets[centroid + 1]].tolist() == expected
