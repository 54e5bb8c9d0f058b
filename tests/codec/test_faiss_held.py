"""FAISS on a GPU trains centroids where a backend runs on one and cannot: a faiss-gpu that is faiss-cpu underneath."""

from __future__ import annotations

from types import SimpleNamespace

import faiss
import numpy as np
import pytest

from jcb_engine.codec import centroids, faiss_held, train_centroids
from jcb_engine.codec.faiss_held import FaissVectors, faiss_sees
from jcb_engine.codec.held_kmeans import kmeans_of_held
from jcb_engine.kernels import AssigningBackend, Backend, GpuBackend
from jcb_engine.kernels.reference import ReferenceBackend
from tests.codec.test_held_kmeans import Held, error, points
from tests.kernels.gpu_backends import GPU_BACKENDS, gpu_backend


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two GPUs; which of them an index was made on."""
    made: list[int] = []

    def index(resources: object, dim: int, config: SimpleNamespace) -> faiss.IndexFlatL2:
        assert resources == "resources"
        made.append(config.device)
        return faiss.IndexFlatL2(dim)

    fake = SimpleNamespace(
        get_num_gpus=lambda: 2,
        StandardGpuResources=lambda: "resources",
        GpuIndexFlatConfig=SimpleNamespace,
        GpuIndexFlatL2=index,
    )
    monkeypatch.setattr(faiss_held, "import_faiss", lambda: fake)
    return made


class OnGpu(ReferenceBackend):
    def __init__(self, gpu: int) -> None:
        self.gpu = gpu


def test_the_installed_faiss_says_which_gpus_it_has(used: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert [faiss_sees(gpu) for gpu in range(3)] == [True, True, False]
    monkeypatch.undo()
    if faiss.get_num_gpus() == 0:
        assert not faiss_sees(0)


def test_its_means_and_distances_are_numpys(used: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_held, "_ROWS_AT_ONCE", 128)
    sample = points(500)
    held, expected = FaissVectors(sample, 1), Held(sample)
    for number in range(2):  # the second set of centroids replaces the first
        given = points(30 + number, seed=number + 1)
        (means, ids), (wanted, wanted_ids) = held.means(given), expected.means(given)
        np.testing.assert_array_equal(ids, wanted_ids)
        assert (means.dtype, ids.dtype) == (np.float32, np.uint32)
        np.testing.assert_allclose(means, wanted, atol=1e-6)
        np.testing.assert_allclose(held.squared_distances(given), expected.squared_distances(given), atol=1e-5)
    assert used == [1]


def test_a_backend_on_a_gpu_that_cannot_compare_has_faiss_do_it_there(used: list[int]) -> None:
    sample = points(2_000, dim=8)
    found = train_centroids(sample, 64, 3, OnGpu(1))
    assert used == [1]
    np.testing.assert_array_equal(found, train_centroids(sample, 64, 3, OnGpu(0)))
    assert error(sample, found) < 1.01 * error(sample, kmeans_of_held(Held(sample), sample, 64, 3))


@pytest.mark.parametrize("backend", [OnGpu(2), ReferenceBackend()])
def test_without_such_a_gpu_the_processor_trains(used: list[int], backend: Backend) -> None:
    sample = points(600, dim=8)
    expected = centroids.kmeans(sample, 20, 0)
    np.testing.assert_array_equal(train_centroids(sample, 20, 0, backend), expected)
    assert used == []


@pytest.mark.parametrize("name", GPU_BACKENDS)
def test_who_compares_by_itself_needs_no_faiss(name: str, used: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    backend = gpu_backend(name)
    if not isinstance(backend, AssigningBackend):
        assert isinstance(backend, GpuBackend)
        train_centroids(points(100), 5, 0, backend)
        assert used == [backend.gpu]
        return

    def none() -> object:
        raise AssertionError("FAISS was asked for")

    for module in (faiss_held, centroids):
        monkeypatch.setattr(module, "import_faiss" if module is faiss_held else "kmeans", none)
    sample = points(200)
    found = train_centroids(sample, 12, 0, backend)
    np.testing.assert_array_equal(found, train_centroids(sample, 12, 0, backend))
    assert not np.array_equal(found, train_centroids(sample, 12, 1, backend))
    assert error(sample, found) < 1.01 * error(sample, kmeans_of_held(Held(sample), sample, 12, 0))
