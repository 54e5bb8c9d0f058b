"""The thread pool: the same bits on any number of threads, many callers at once, errors carried, forks survived."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels import CentroidLists, Lists, Ranges, SegmentArrays
from jcb_engine.kernels.cpu import CpuBackend
from tests.kernels.stores import random_store

DIM, DOCUMENTS = 48, 260


@cache
def sample_store(nbits: int) -> tuple[object, list[SegmentArrays], np.ndarray, np.ndarray]:
    return random_store(dim=DIM, nbits=nbits, segment_documents=(200, 60), centroids=300)


def every_result(backend: CpuBackend) -> list[np.ndarray]:
    """One call of every operation, on the same input each time."""
    random = np.random.default_rng(1)
    results = []
    query_offsets = np.array([0, 32, 32, 52], np.int64)
    queries = random.standard_normal((52, DIM)).astype(np.float32)
    ranges = Ranges(np.array([0]), np.array([DOCUMENTS]))
    for nbits in (1, 2, 4, 16):
        codec, segments, decoded, offsets = sample_store(nbits)
        store = backend.prepare(codec, segments)
        results.append(backend.maxsim_quantized(store, queries, query_offsets, ranges, "fast"))
        results.append(backend.maxsim_quantized(store, queries, query_offsets, ranges, "exact"))
        table = backend.centroid_scores(store, queries)
        results += [table.to_array(), *backend.best_centroids(store, table, 3)]
        rough = backend.centroid_scores(store, queries, "fast")
        results += [rough.to_array(), *backend.best_centroids(store, rough, 3)]
        results.append(backend.inner_products(decoded[:300], queries))
        ids, scores = backend.nearest_centroids(queries, codec.centroids, 5)
        frontier = scores[:, -1].copy()
        lists, found = backend.accumulate_postings(store, ids, scores, frontier, query_offsets, 40)
        results += [ids, scores, lists.documents, lists.list_offsets, found]
        if nbits == 16:
            continue
        results.append(backend.maxsim_centroids(store, table, query_offsets, lists))
        results.append(backend.maxsim_centroids(store, rough, query_offsets, lists))
        results.append(backend.maxsim_quantized(store, queries, query_offsets, ranges, "fast", rough))
        tokens = random.standard_normal((3000, DIM)).astype(np.float32)
        token_ids = backend.nearest_centroids(tokens, codec.centroids, 1)[0][:, 0].astype(np.uint32)
        parted = CentroidLists(
            codec.centroids, np.arange(len(codec.centroids), dtype=np.uint32), np.array([0, 4, len(codec.centroids)])
        )
        results.append(backend.nearest_in_lists(tokens, parted, np.arange(len(tokens))[:, None] % 2))
        coded = backend.quantize(tokens, token_ids, codec)
        results += [*coded, backend.dequantize(token_ids, *coded, codec)]
        scores, argmax = backend.maxsim_argmax(queries, query_offsets, decoded, offsets)
        results += [scores, argmax]
        results += backend.maxsim_backward(scores.clip(-9), queries, query_offsets, decoded, offsets, argmax)
    return results


@cache
def expected_results() -> list[np.ndarray]:
    return every_result(CpuBackend(threads=1))


def assert_same_bits(results: list[np.ndarray]) -> None:
    for result, expected in zip(results, expected_results(), strict=True):
        assert result.dtype == expected.dtype
        assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_results_have_the_same_bits_on_any_number_of_threads(threads: int) -> None:
    assert_same_bits(every_result(CpuBackend(threads=threads)))


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("tokens", [5, 20, 40])
def test_the_tables_of_one_query_are_the_same_by_one_thread_or_several(nbits: int, tokens: int) -> None:
    """Of 2,600 centroids, which are several blocks of a table."""
    codec, segments, _, _ = random_store(dim=DIM, nbits=nbits, segment_documents=(200, 60), centroids=2_600)
    queries = np.random.default_rng(tokens).standard_normal((tokens, DIM)).astype(np.float32)
    query_offsets = np.array([0, tokens])
    lists = Lists(np.arange(0, DOCUMENTS, 2, dtype=np.uint32), np.array([0, DOCUMENTS // 2]))
    results = []
    for threads in (1, 3):
        backend = CpuBackend(threads=threads)
        store = backend.prepare(codec, segments)
        table = backend.centroid_scores(store, queries)
        results.append(
            [
                table.to_array(),
                *backend.best_centroids(store, table, 17),
                backend.maxsim_quantized(store, queries, query_offsets, lists, "fast", table),
                backend.score_error_bound(store, queries, query_offsets),
            ]
        )
        rough = backend.centroid_scores(store, queries, "fast")
        results[-1] += [rough.to_array(), *backend.best_centroids(store, rough, 17)]
        results[-1].append(backend.maxsim_quantized(store, queries, query_offsets, lists, "fast", rough))
    exact = CpuBackend(threads=1).maxsim_quantized(store, queries, query_offsets, lists, "exact", table)
    filled = exact > -np.inf
    assert np.abs(results[0][3][filled] - exact[filled]).max() <= results[0][4][0]
    for one, several in zip(*results, strict=True):
        assert one.tobytes() == several.tobytes()


def test_many_callers_share_one_backend() -> None:
    backend = CpuBackend(threads=3)
    with ThreadPoolExecutor(6) as callers:
        for results in callers.map(lambda _: every_result(backend), range(12)):
            assert_same_bits(results)


def test_an_error_on_a_worker_reaches_the_caller_and_the_pool_goes_on() -> None:
    backend = CpuBackend(threads=3)
    codec, segments, _, _ = sample_store(2)
    store = backend.prepare(codec, segments)
    queries, query_offsets = np.ones((4, DIM), np.float32), np.array([0, 4], np.int64)
    documents = np.arange(DOCUMENTS, dtype=np.uint32)
    documents[200] = DOCUMENTS
    lists = Lists(documents, np.array([0, DOCUMENTS], np.int64))
    for _ in range(20):
        with pytest.raises(CorruptIndexError):
            backend.maxsim_quantized(store, queries, query_offsets, lists)
    assert_same_bits(every_result(backend))


FORKING_PROGRAM = """
import os, sys
import numpy as np
from jcb_engine.kernels.cpu import CpuBackend

backend = CpuBackend(threads=3)
random = np.random.default_rng(0)
vectors = random.standard_normal((3000, 32), dtype=np.float32)
centroids = random.standard_normal((500, 32), dtype=np.float32)
before = backend.nearest_centroids(vectors, centroids, 3)
for generation in range(2):
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.exit(status)
    after = backend.nearest_centroids(vectors, centroids, 3)
    if not all((a == b).all() for a, b in zip(before, after)):
        sys.exit(7)
sys.exit(0)
"""


def test_a_forked_child_computes_with_threads_of_its_own() -> None:
    # In a process of its own: here, torch has threads that a fork would not survive.
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKING_PROGRAM], timeout=60, check=False)
    assert run.returncode == 0


def test_the_environment_gives_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JCB_THREADS", "5")
    assert CpuBackend().threads == 5
    assert CpuBackend(threads=2).threads == 2


def test_by_default_there_is_a_thread_per_usable_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JCB_THREADS", raising=False)
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    program += "from jcb_engine.kernels.cpu import CpuBackend; print(CpuBackend().threads)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "1"


@pytest.mark.parametrize("text", ["0", "-1", "two", "3x", "1025", "99999999999999999999"])
def test_a_number_of_threads_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("JCB_THREADS", text)
    with pytest.raises(InputError, match=f'JCB_THREADS is "{text}"; allowed is a number from 1 to 1024'):
        CpuBackend()


@pytest.mark.parametrize("threads", [0, -3, 1025])
def test_threads_asked_for_are_checked_too(threads: int) -> None:
    with pytest.raises(InputError, match=f"threads is {threads}; allowed is a number from 1 to 1024"):
        CpuBackend(threads=threads)
