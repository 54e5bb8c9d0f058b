"""What the Triton programs are to score, as it lies on the device: of lists made there as of those of the host."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jcb_engine.errors import InputError
from jcb_engine.kernels import Lists
from tests.kernels.cpu_backends import whole
from tests.kernels.gpu_backends import triton_interpreted
from tests.kernels.stores import random_store

pytestmark = pytest.mark.triton
DEVICE = torch.device("cpu")
OFFSETS = np.array([0, 3, 3, 70, 102], np.int64)  # 1, 1, 3 and 1 pieces
DOCUMENTS = np.array([[4, 0, 4], [2, 1, 0], [6, 6, 5], [3, 4, 2]])


@pytest.fixture
def store() -> object:
    codec, segments, _, _ = random_store(dim=16, nbits=2, segment_documents=(4, 3), longest=9)
    return triton_interpreted().prepare(codec, segments)


def test_lists_made_on_the_device_are_laid_out_as_those_of_the_host(store: object) -> None:
    from jcb_engine.kernels.triton_work import QueryLayout, plan

    lists = Lists(DOCUMENTS.ravel().astype(np.uint32), np.arange(5, dtype=np.int64) * 3)
    expected = plan(store, OFFSETS, lists, DEVICE)  # type: ignore[arg-type]
    layout = QueryLayout(OFFSETS, [3, 5], DEVICE)
    everyone = torch.ones((4, 3), dtype=torch.bool)
    work = layout.work(store, torch.from_numpy(DOCUMENTS), everyone)  # type: ignore[arg-type]
    for name in ("pieces", "first_tokens", "token_counts", "tokens"):
        one, other = getattr(work, name), getattr(expected, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, err_msg=name)
    assert (work.items, work.outputs) == (expected.items, expected.outputs) == (3, 18)


def test_a_document_that_does_not_count_has_no_tokens(store: object) -> None:
    from jcb_engine.kernels.triton_work import QueryLayout

    counts = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (4, 3)) == 1)
    work = QueryLayout(OFFSETS, [3], DEVICE).work(store, torch.from_numpy(DOCUMENTS), counts)  # type: ignore[arg-type]
    lengths = np.diff(store.doc_offsets)[DOCUMENTS]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(work.token_counts.view(4, 3), np.where(counts, lengths, 0))


def test_scores_of_pieces_are_added_by_query_to_the_same_bits(store: object) -> None:
    from jcb_engine.kernels.triton_work import QueryLayout, added, plan

    lists = Lists(DOCUMENTS.ravel().astype(np.uint32), np.arange(5, dtype=np.int64) * 3)
    partial = torch.from_numpy(np.random.default_rng(0).standard_normal(18).astype(np.float32))
    partial[4] = -torch.inf
    expected = added(partial, plan(store, OFFSETS, lists, DEVICE))  # type: ignore[arg-type]
    np.testing.assert_array_equal(QueryLayout(OFFSETS, [3], DEVICE).added(partial, 3), expected.view(4, 3))


def test_the_largest_value_of_each_query_is_found() -> None:
    from jcb_engine.kernels.triton_work import QueryLayout

    values = np.random.default_rng(0).random(102).astype(np.float32)
    expected = [values[:3].max(), 0, values[3:70].max(), values[70:].max()]
    np.testing.assert_array_equal(QueryLayout(OFFSETS, [1], DEVICE).largest(torch.from_numpy(values)), expected)


def test_where_everything_is_scored_documents_are_not_sent_again(store: object) -> None:
    from jcb_engine.kernels.triton_work import plan

    work = plan(store, OFFSETS, whole(7), DEVICE)  # type: ignore[arg-type]
    assert work.first_tokens.data_ptr() == store.first_tokens.data_ptr()  # type: ignore[attr-defined]
    assert work.token_counts.data_ptr() == store.token_counts.data_ptr()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(work.first_tokens, store.doc_offsets[:-1])  # type: ignore[attr-defined]
    np.testing.assert_array_equal(work.token_counts, np.diff(store.doc_offsets))  # type: ignore[attr-defined]


def test_more_pieces_than_a_launch_takes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    triton_interpreted()
    from jcb_engine.kernels import triton_work

    monkeypatch.setattr(triton_work, "_MOST_PIECES", 5)
    with pytest.raises(InputError, match="6 pieces of 32 query tokens in one call; at most 5"):
        triton_work.QueryLayout(OFFSETS, [1], DEVICE)
