"""K-means over vectors that a backend holds, with numpy as the backend: seeded, as near as any, never out of points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.codec import held_kmeans
from jcb_engine.codec.centroids import train_centroids
from jcb_engine.codec.held_kmeans import fill_empty, kmeans_of_held
from jcb_engine.codec.kmeans import kmeans
from jcb_engine.kernels.reference import ReferenceBackend


def points(count: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Held:
    """In numpy, and in float64."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors.astype(np.float64)

    def distances(self, centroids: np.ndarray) -> np.ndarray:
        products = self._vectors @ centroids.T.astype(np.float64)
        squares = np.square(self._vectors).sum(axis=1)[:, None] + np.square(centroids.astype(np.float64)).sum(axis=1)
        return np.maximum(squares - 2 * products, 0)

    def means(self, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ids = self.distances(centroids).argmin(axis=1)
        means = np.zeros_like(centroids)
        for number in np.unique(ids):
            means[number] = self._vectors[ids == number].mean(axis=0)
        return means, ids.astype(np.uint32)

    def squared_distances(self, centroids: np.ndarray) -> np.ndarray:
        return self.distances(centroids).min(axis=1).astype(np.float32)


def trained(vectors: np.ndarray, count: int, seed: int = 0, **options: int) -> np.ndarray:
    return kmeans_of_held(Held(vectors), vectors, count, seed, **options)


def error(vectors: np.ndarray, centroids: np.ndarray) -> float:
    return float(Held(vectors).squared_distances(centroids).mean())


def test_training_is_deterministic_for_a_seed() -> None:
    sample = points(2_000)
    np.testing.assert_array_equal(trained(sample, 50, seed=3), trained(sample, 50, seed=3))
    assert not np.array_equal(trained(sample, 50, seed=3), trained(sample, 50, seed=4))


def test_it_is_as_near_to_other_vectors_as_flat_k_means_and_two_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    from jcb_engine.codec import centroids

    sample, others = points(6_000, dim=8), points(3_000, dim=8, seed=5)
    ours = error(others, trained(sample, 256))
    assert ours < 1.02 * error(others, kmeans(sample, 256, 0))
    monkeypatch.setattr(centroids, "TWO_LEVEL_ABOVE", 64)
    assert ours < 1.02 * error(others, train_centroids(sample, 256, 0, ReferenceBackend()))


def test_groups_that_chance_would_miss_are_found() -> None:
    """Of 10,000 vectors 10 are elsewhere, in 5 places: of 20 drawn at random none would be expected among them."""
    random = np.random.default_rng(0)
    places = np.eye(16, dtype=np.float32)[:6]
    sample = np.repeat(places, [9_990, 2, 2, 2, 2, 2], axis=0) + 1e-3 * points(10_000)
    sample = random.permutation(sample).astype(np.float32)
    found = Held(places).distances(trained(sample, 20)).min(axis=1)
    assert (found < 1e-4).all()
    assert (Held(places).distances(trained(sample, 20, rounds=1, iterations=0)).min(axis=1) > 1e-4).any()


def test_without_iterations_it_is_vectors_of_the_sample_none_of_them_twice() -> None:
    sample = points(500)
    for count in (1, 2, 3, 4, 5, 130, 499, 500):
        drawn = trained(sample, count, iterations=0)
        rows = [int(np.flatnonzero((sample == row).all(axis=1))[0]) for row in drawn]
        assert len(set(rows)) == count


@pytest.mark.parametrize("count", [1, 3, 60])
def test_iterations_are_those_of_lloyd(count: int) -> None:
    sample = points(600)
    expected = trained(sample, count, iterations=0)
    for _ in range(3):
        nearest = np.linalg.norm(sample[:, None] - expected[None], axis=2).argmin(axis=1)
        assert len(np.unique(nearest)) == count
        expected = np.stack([sample[nearest == number].mean(axis=0) for number in range(count)])
    np.testing.assert_allclose(trained(sample, count, iterations=3), expected, atol=1e-5)


def test_as_many_centroids_as_vectors_are_the_vectors() -> None:
    sample = points(40)
    np.testing.assert_allclose(np.sort(trained(sample, 40), axis=0), np.sort(sample, axis=0), atol=1e-6)


def test_equal_vectors_do_not_break_training() -> None:
    sample = np.concatenate([np.ones((100, 8), np.float32), points(3, dim=8)])
    found = trained(sample, 10)
    assert np.isfinite(found).all()
    assert error(sample, found) < 1e-10


def test_vectors_are_drawn_in_proportion_to_their_squared_distance() -> None:
    distances = np.array([0, 1, 2, 4, 8, 5], np.float32)
    random, counts, draws = np.random.default_rng(0), np.zeros(6), 20_000
    for _ in range(draws):
        counts[held_kmeans._farther_likelier(distances, np.array([5]), 1, random)] += 1
    np.testing.assert_allclose(counts / draws, [0, 1 / 15, 2 / 15, 4 / 15, 8 / 15, 0], atol=0.015)
    assert held_kmeans._farther_likelier(distances, np.array([5, 0]), 4, random).tolist() == [1, 2, 3, 4]
    zeros = np.zeros(6, np.float32)
    assert held_kmeans._farther_likelier(zeros, np.array([1, 3]), 4, random).tolist() == [0, 2, 4, 5]


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5), min_size=2, max_size=20).filter(lambda sizes: sum(sizes) > 0),
    seed=st.integers(0, 9),
)
def test_an_empty_centroid_moves_onto_a_vector_of_a_large_cluster(sizes: list[int], seed: int) -> None:
    ids = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.uint32)
    sample = points(len(ids), seed=seed)
    means = np.full((len(sizes), 16), 7, np.float32)
    fill_empty(means, sample, ids, np.array(sizes))
    moved = [cluster for cluster in range(len(sizes)) if means[cluster, 0] != 7]
    assert all(sizes[cluster] == 0 for cluster in moved)
    wanted = min(sizes.count(0), len(sizes) - sizes.count(0))
    assert len(moved) == wanted
    owners = [int(ids[(sample == means[cluster]).all(axis=1).argmax()]) for cluster in moved]
    assert len(set(owners)) == len(owners)
    assert sorted((sizes[owner] for owner in owners), reverse=True) == sorted(sizes, reverse=True)[:wanted]
