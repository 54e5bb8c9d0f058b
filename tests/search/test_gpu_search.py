"""Searching on a GPU gives the answers of the processor: Triton in its interpreter, the CUDA kernels emulated."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jcb_engine import IndexWriter, Searcher
from jcb_engine.errors import BackendUnavailableError
from jcb_engine.kernels import Backend, ProbingBackend, selection
from jcb_engine.search import plan
from tests.conftest import random_embeddings
from tests.kernels.gpu_backends import GPU_BACKENDS, gpu_backend
from tests.search.conftest import query_vectors

DOCUMENTS, DIM = 40, 32


@pytest.fixture(scope="module", params=[2])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 documents, some without a vector."""
    folder = tmp_path_factory.mktemp("index") / "index"
    values, offsets = random_embeddings(DOCUMENTS, DIM, seed=3)
    with IndexWriter.create(folder, dim=DIM, nbits=request.param, centroids=32) as writer:
        writer.add_vectors([f"d{number:02}" for number in range(DOCUMENTS)], values, offsets)
    return folder


@pytest.fixture(params=GPU_BACKENDS)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A backend that stands for the device cuda."""
    backend = gpu_backend(request.param)

    def chosen(threads: int | None, device: str) -> Backend:
        assert device == "cuda"
        return backend

    monkeypatch.setattr(selection, f"_{request.param}", chosen)
    # Warming has tests of its own, and in an interpreter it takes longer than a search.
    monkeypatch.setattr(type(backend), "warm", lambda self, store: None)
    return str(request.param)


@pytest.fixture
def both(path: Path, name: str) -> Iterator[tuple[Searcher, Searcher]]:
    with Searcher.open(path) as cpu, Searcher.open(path, backend=name, device="cuda") as gpu:
        yield cpu, gpu


def test_opening_warms_the_backend(path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    warmed = []
    kind = type(gpu_backend(name))
    monkeypatch.setattr(kind, "warm", lambda self, store: warmed.append(store.documents))
    Searcher.open(path, backend=name, device="cuda").close()
    assert warmed == [DOCUMENTS]


def check_same(found: object, expected: object) -> None:
    assert [hit.id for hit in found] == [hit.id for hit in expected]
    np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in expected], rtol=1e-5)


def test_an_exact_search_gives_the_hits_of_the_processor(both: tuple[Searcher, Searcher]) -> None:
    cpu, gpu = both
    assert gpu.backend in ("triton/interpreter", "cuda/emulated")
    for tokens in (1, 8, 33):
        found = gpu.search(query_vectors(tokens), k=10, exact=True)
        assert found.exact
        assert found.backend == gpu.backend
        check_same(found, cpu.search(query_vectors(tokens), k=10, exact=True))


def test_a_search_through_candidates_gives_the_hits_of_the_processor(both: tuple[Searcher, Searcher]) -> None:
    cpu, gpu = both
    for seed in range(3):
        query = query_vectors(8, seed)
        wide = {"probes": 32, "candidates": 35}
        check_same(gpu.search(query, k=5, **wide), cpu.search(query, k=5, **wide))


def test_a_small_index_is_searched_exactly_and_says_so(both: tuple[Searcher, Searcher]) -> None:
    cpu, gpu = both
    queries = [query_vectors(tokens, tokens) for tokens in (3, 8, 40)]
    for found, query in zip(gpu.search_batch(queries, k=5), queries, strict=True):
        assert found.exact
        check_same(found, cpu.search(query, k=5, exact=True))


def test_whoever_says_how_many_candidates_gets_as_many(both: tuple[Searcher, Searcher]) -> None:
    _, gpu = both
    assert not gpu.search(query_vectors(), k=3, candidates=10).exact
    assert not gpu.search(query_vectors(), k=3, probes=2, candidates=10).exact


def test_an_index_that_a_scan_takes_longer_for_is_searched_through_candidates(
    both: tuple[Searcher, Searcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, gpu = both
    monkeypatch.setattr(type(gpu._backend), "scan_is_cheap", lambda self, store: False)
    monkeypatch.setattr(plan, "DEFAULT_CANDIDATES", 20)
    monkeypatch.setattr(plan, "CANDIDATES_PER_HIT", 1)
    found = gpu.search(query_vectors(), k=5)
    assert not found.exact
    check_same(found, cpu.search(query_vectors(), k=5))


def test_what_a_gpu_cannot_probe_is_searched_in_another_way(
    both: tuple[Searcher, Searcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, gpu = both
    if not isinstance(gpu._backend, ProbingBackend):
        pytest.skip("this backend leaves candidates to the processor")
    settings = {"probes": 2, "candidates": 12}
    found = gpu.search(query_vectors(), k=5, **settings)
    asked = []
    monkeypatch.setattr(type(gpu._backend), "best_among_probed", lambda self, *arguments: asked.append(1))
    check_same(gpu.search(query_vectors(), k=5, **settings), found)
    assert asked


def test_what_a_scan_has_no_room_for_is_searched_in_another_way(
    both: tuple[Searcher, Searcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, gpu = both
    monkeypatch.setattr(type(gpu._backend), "best_of_all", lambda self, *arguments: None)
    found = gpu.search(query_vectors(), k=5, exact=True)
    assert found.exact
    check_same(found, cpu.search(query_vectors(), k=5, exact=True))


def test_a_scan_leaves_out_what_is_not_in_the_subset(both: tuple[Searcher, Searcher]) -> None:
    cpu, gpu = both
    best = gpu.search(query_vectors(), k=3)
    others = [f"d{number:02}" for number in range(DOCUMENTS) if f"d{number:02}" not in (best[0].id, best[2].id)]
    found = gpu.search(query_vectors(), k=3, subset=gpu.subset(others))
    assert found.exact
    assert found[0].id == best[1].id
    check_same(found, cpu.search(query_vectors(), k=3, exact=True, subset=cpu.subset(others)))


def test_tuning_measures_candidates_although_a_scan_would_cost_less(path: Path, name: str, tmp_path: Path) -> None:
    copy = tmp_path / "index"
    shutil.copytree(path, copy)
    with Searcher.open(copy, backend=name, device="cuda") as gpu:
        curve = gpu.tune([query_vectors(8, seed) for seed in range(6)], k=2, recall=0.9)
        assert not curve.points[0].is_exact
        assert gpu.search(query_vectors(), k=2, recall=0.9).exact


def test_a_batch_gives_the_hits_of_its_queries(both: tuple[Searcher, Searcher]) -> None:
    _, gpu = both
    queries = [query_vectors(tokens, tokens) for tokens in (3, 8, 40)]
    for found, query in zip(gpu.search_batch(queries, k=4, exact=True), queries, strict=True):
        check_same(found, gpu.search(query, k=4, exact=True))


def test_a_subset_is_searched_within(both: tuple[Searcher, Searcher]) -> None:
    cpu, gpu = both
    ids = [f"d{number:02}" for number in range(0, DOCUMENTS, 3)]
    expected = cpu.search(query_vectors(), k=5, subset=cpu.subset(ids))
    check_same(gpu.search(query_vectors(), k=5, subset=gpu.subset(ids)), expected)


def test_a_hit_is_explained(both: tuple[Searcher, Searcher]) -> None:
    _, gpu = both
    hit = gpu.search(query_vectors(), k=1)[0]
    assert gpu.explain(query_vectors(), hit.id).score == pytest.approx(hit.score, rel=1e-4)


@pytest.mark.parametrize("nbits", [8, 16])
def test_an_index_of_many_bits_is_searched(tmp_path: Path, name: str, nbits: int) -> None:
    if nbits == 16 and name == "triton":
        pytest.skip("the next test")
    values, offsets = random_embeddings(DOCUMENTS, DIM, seed=4)
    with IndexWriter.create(tmp_path / "index", dim=DIM, nbits=nbits, centroids=32) as writer:
        writer.add_vectors([f"d{number:02}" for number in range(DOCUMENTS)], values, offsets)
    with (
        Searcher.open(tmp_path / "index") as cpu,
        Searcher.open(tmp_path / "index", backend=name, device="cuda") as gpu,
    ):
        query = query_vectors(8)
        for given in ({"exact": True}, {"probes": 32, "candidates": 35}):
            check_same(gpu.search(query, k=5, **given), cpu.search(query, k=5, **given))
        batch = [query_vectors(tokens, tokens) for tokens in (3, 8, 40, 2)]
        for found, own in zip(gpu.search_batch(batch, k=4, exact=True), batch, strict=True):
            check_same(found, cpu.search(own, k=4, exact=True))
        hit = gpu.search(query, k=1)[0]
        assert gpu.explain(query, hit.id).score == pytest.approx(hit.score, rel=1e-4)


def test_an_index_of_raw_vectors_gives_the_hits_of_the_processor(tmp_path: Path, name: str) -> None:
    values, offsets = random_embeddings(20, DIM, seed=1)
    with IndexWriter.create(tmp_path / "raw", dim=DIM, nbits=16) as writer:
        writer.add_vectors([str(number) for number in range(20)], values, offsets)
    with Searcher.open(tmp_path / "raw") as cpu, Searcher.open(tmp_path / "raw", backend=name, device="cuda") as gpu:
        for settings in ({"exact": True}, {"probes": 3, "candidates": 15}):
            check_same(gpu.search(query_vectors(), k=4, **settings), cpu.search(query_vectors(), k=4, **settings))


def test_a_gpu_that_is_not_here_is_an_error(path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(BackendUnavailableError, match="no GPU can be used"):
        Searcher.open(path, device="cuda")
