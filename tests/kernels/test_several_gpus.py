"""Several GPUs give the answers of one: two interpreters, two emulations, or two of the reference, side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels import Backend, Lists, ProbingBackend, Ranges, ScanningBackend, selection, several_gpus
from jcb_engine.kernels.cpu import CpuBackend
from jcb_engine.kernels.reference import ReferenceBackend
from jcb_engine.kernels.several_gpus import SeveralGpus
from tests.kernels.cpu_backends import queries_of, whole
from tests.kernels.gpu_backends import GPU_BACKENDS, gpu_backend
from tests.kernels.stores import random_store

REFERENCE = ReferenceBackend()


@pytest.fixture(params=[*GPU_BACKENDS, "cpu"])
def one(request: pytest.FixtureRequest) -> Backend:
    return CpuBackend(threads=1) if request.param == "cpu" else gpu_backend(request.param)


@pytest.fixture(autouse=True)
def one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the interpreter nor the emulation can be in two threads at once."""
    monkeypatch.setattr(several_gpus, "ThreadPoolExecutor", lambda count, **names: ThreadPoolExecutor(1, **names))


def test_scores_are_those_of_one(one: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(21, 0, 18), longest=9)
    several = SeveralGpus(CpuBackend(threads=1), [one] * 3)
    queries, offsets = queries_of((5, 0, 33), 32)
    alone, store = one.prepare(codec, segments), several.prepare(codec, segments)
    assert store.documents == 39
    assert all(part.documents > 0 for part in store.parts)
    assert sum(part.tokens for part in store.parts) == store.tokens == alone.tokens
    listed = Lists(np.array([38, 0, 15, 16, 0, 17, 23, 24], np.uint32), np.array([0, 3, 3, 8]))
    ranges = Ranges(np.array([30, 2, 5]), np.array([37, 4, 25]))
    table = several.centroid_scores(store, queries)
    for candidates in (whole(39), listed, ranges):
        for precision in ("fast", "exact"):
            expected = one.maxsim_quantized(alone, queries, offsets, candidates, precision)
            found = several.maxsim_quantized(store, queries, offsets, candidates, precision, table)
            if precision == "exact":
                np.testing.assert_array_equal(found, expected)
            else:
                exact = REFERENCE.maxsim_quantized(REFERENCE.prepare(codec, segments), queries, offsets, candidates)
                bounds = several.score_error_bound(store, queries, offsets)
                each = bounds[:, None] if isinstance(candidates, Ranges) else np.repeat(bounds, [3, 0, 5])
                there = np.isfinite(exact)
                assert (np.isfinite(found) == there).all()
                assert (np.abs(np.where(there, found, 0) - np.where(there, exact, 0)) <= each + 1e-5).all()
        by_centroids = one.maxsim_centroids(alone, one.centroid_scores(alone, queries), offsets, candidates)
        np.testing.assert_allclose(
            several.maxsim_centroids(store, table, offsets, candidates), by_centroids, rtol=1e-5, atol=1e-5
        )
    ids, scores = several.best_centroids(store, table, 3)
    np.testing.assert_array_equal(ids, one.best_centroids(alone, one.centroid_scores(alone, queries), 3)[0])
    np.testing.assert_allclose(table.to_array()[ids[0], 0], scores[0])


@pytest.mark.parametrize("name", GPU_BACKENDS)
def test_the_best_of_all_are_those_of_the_parts(name: str) -> None:
    one = gpu_backend(name)
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(30, 11), longest=9)
    several = SeveralGpus(CpuBackend(threads=1), [one, one])
    assert isinstance(several, ScanningBackend)
    store = several.prepare(codec, segments)
    assert several.scan_is_cheap(store)
    queries, offsets = queries_of((5, 33), 32)
    exact = several.maxsim_quantized(store, queries, offsets, whole(41), "exact")
    for mask in (None, np.array([0b01110110, 0xFF, 0x5A, 0xF0, 0x0F, 1], np.uint8)):
        allowed = np.ones(41, bool) if mask is None else np.unpackbits(mask, count=41, bitorder="little") == 1
        answers = several.best_of_all(store, queries, offsets, 4, mask)
        assert answers is not None
        for (documents, scores), own in zip(answers, exact, strict=True):
            best = np.argsort(-np.where(allowed, own, -np.inf), kind="stable")[:4]
            assert set(best.tolist()) <= set(documents.tolist())
            assert allowed[documents].all()
            np.testing.assert_array_equal(scores, own[documents])


def test_candidates_are_found_by_the_host_and_building_is_its_work(one: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(20,))
    host = CpuBackend(threads=1)
    several = SeveralGpus(host, [one, one])
    queries, offsets = queries_of((4,), 32)
    store, alone = several.prepare(codec, segments), host.prepare(codec, segments)
    probes, scores = several.best_centroids(store, several.centroid_scores(store, queries), 5)
    arguments = (probes, scores, scores[:, -1].copy(), offsets, 7)
    found, expected = several.accumulate_postings(store, *arguments), host.accumulate_postings(alone, *arguments)
    np.testing.assert_array_equal(found[0].documents, expected[0].documents)
    assert several.threads == 1
    assert not isinstance(several, ProbingBackend)  # not even where each of them is: parts have no postings


def test_what_does_not_fit_is_refused(one: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(20,))
    several = SeveralGpus(CpuBackend(threads=1), [one, one])
    store = several.prepare(codec, segments)
    queries, offsets = queries_of((4,), 32)
    with pytest.raises(CorruptIndexError, match="document 20 is not in the store, which has 20"):
        several.maxsim_quantized(store, queries, offsets, Lists(np.array([20], np.uint32), np.array([0, 1])))
    with pytest.raises(InputError, match="prepare it with this backend"):
        several.maxsim_quantized(one.prepare(codec, segments), queries, offsets, whole(20))
    other = several.prepare(codec, segments)
    with pytest.raises(InputError, match="not one of this store"):
        several.best_centroids(store, several.centroid_scores(other, queries), 2)
    with pytest.raises(InputError, match="no GPU was named"):
        SeveralGpus(one, [])


def test_fewer_documents_than_gpus_leave_some_with_none(one: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(2,))
    several = SeveralGpus(CpuBackend(threads=1), [one] * 3)
    queries, offsets = queries_of((4,), 32)
    expected = one.maxsim_quantized(one.prepare(codec, segments), queries, offsets, whole(2), "exact")
    found = several.maxsim_quantized(several.prepare(codec, segments), queries, offsets, whole(2), "exact")
    np.testing.assert_array_equal(found, expected)


def test_a_device_may_name_several_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"cuda:0": CpuBackend(threads=1), "cuda:1": CpuBackend(threads=1)}
    monkeypatch.setattr(selection, "_triton", lambda threads, device: made[device])
    assert isinstance(selection.select(device="cuda:0,cuda:1"), SeveralGpus)
    assert selection.select(device="cuda:1") is made["cuda:1"]
    with pytest.raises(InputError, match="a GPU was named twice"):
        selection.select(device="cuda:0,cuda:0")
    with pytest.raises(InputError, match="device 'cuda:0,cpu' is unknown"):
        selection.select(device="cuda:0,cpu")
