"""Centroids: bounded, seeded, never fewer points than the sample allows."""

import numpy as np
import pytest

from jcb_engine.codec import CentroidAssigner, assignment, centroids, default_centroid_count, train_centroids
from jcb_engine.codec.candidate_index import centroid_index, check_factory
from jcb_engine.codec.kmeans import kmeans
from jcb_engine.codec.rotation import random_rotation
from jcb_engine.errors import InputError
from jcb_engine.kernels import select
from jcb_engine.kernels.reference import ReferenceBackend

BACKEND = ReferenceBackend()


def points(count: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_default_count_grows_with_the_root_of_the_corpus() -> None:
    assert [default_centroid_count(tokens) for tokens in (0, 1, 1_000, 1_240_000, 597_000_000)] == [
        1,
        8,
        128,
        8_192,
        131_072,
    ]


def test_training_is_deterministic_for_a_seed() -> None:
    sample = points(2_000)
    first, second, other = (train_centroids(sample, 50, seed, BACKEND) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_there_are_never_more_centroids_than_sampled_vectors() -> None:
    assert len(train_centroids(points(7), 100, 0, BACKEND)) == 7


def test_no_vectors_is_an_error_that_says_so() -> None:
    with pytest.raises(InputError, match="every document is empty"):
        train_centroids(np.zeros((0, 8), np.float32), 4, 0, BACKEND)


def test_equal_vectors_do_not_break_training() -> None:
    trained = train_centroids(np.ones((100, 8), np.float32), 10, 0, BACKEND)
    assert trained.shape == (10, 8)
    assert np.isfinite(trained).all()


def test_assignment_is_to_the_nearest_centroid() -> None:
    vectors, trained = points(500), points(40, seed=1)
    distances = ((vectors[:, None] - trained[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(
        CentroidAssigner(trained).assign(vectors, ReferenceBackend()), distances.argmin(axis=1)
    )


def squared_distances(sample: np.ndarray, trained: np.ndarray) -> np.ndarray:
    return ((sample[:, None] - trained[None]) ** 2).sum(axis=2)


def test_two_levels_give_the_asked_number_and_are_as_near_as_flat_k_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centroids, "TWO_LEVEL_ABOVE", 64)
    sample = points(4_000, dim=8)
    trained, again = (train_centroids(sample, 256, 0, BACKEND) for _ in range(2))
    assert trained.shape == (256, 8)
    np.testing.assert_array_equal(trained, again)
    others = points(1_000, dim=8, seed=5)
    error = squared_distances(others, trained).min(axis=1).mean()
    flat_error = squared_distances(others, kmeans(sample, 256, 0)).min(axis=1).mean()
    assert error < 1.02 * flat_error


def test_of_many_centroids_nearly_always_the_nearest_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "COMPARE_ALL_UP_TO", 64)
    sample, trained = points(3_000, dim=8), points(512, dim=8, seed=1) * np.float32(0.9)
    distances = squared_distances(sample, trained)
    found = CentroidAssigner(trained).assign(sample, BACKEND)
    assert np.mean(found == distances.argmin(axis=1)) > 0.98
    chosen = distances[np.arange(len(sample)), found]
    assert chosen.mean() < 1.005 * distances.min(axis=1).mean()


def test_assignment_does_not_depend_on_the_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "COMPARE_ALL_UP_TO", 64)
    sample, assigner = points(5_000), CentroidAssigner(points(300, seed=1))
    together = assigner.assign(sample, select("cpu"))
    alone = [assigner.assign(sample[i : i + 1], select("cpu"))[0] for i in range(0, len(sample), 97)]
    np.testing.assert_array_equal(together[::97], alone)


def test_rotation_is_orthonormal_and_seeded() -> None:
    rotation = random_rotation(96, 5)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(96), atol=1e-5)
    np.testing.assert_array_equal(rotation, random_rotation(96, 5))
    assert not np.array_equal(rotation, random_rotation(96, 6))


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "HNSW16", "SQ8", "PQ4x4"])
def test_any_factory_string_gives_an_index_over_the_centroids(factory: str) -> None:
    trained = points(64)
    index = centroid_index(trained, factory)
    assert index.ntotal == 64
    scores, ids = index.search(trained[:1], 1)
    assert ids.shape == (1, 1)
    assert scores[0, 0] > 0


def test_a_factory_string_that_faiss_does_not_know_is_named() -> None:
    with pytest.raises(InputError, match="'Flatt' is not a factory string of FAISS"):
        check_factory("Flatt", 16)
    with pytest.raises(InputError, match="'PQ8' is not a factory string of FAISS for 20 dimensions"):
        check_factory("PQ8", 20)
    check_factory("PQ5x4", 20)


def test_a_factory_too_large_for_the_centroids_says_so() -> None:
    with pytest.raises(InputError, match="over 4 centroids"):
        centroid_index(points(4), "IVF64,Flat")
