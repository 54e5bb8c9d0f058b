"""Vectors that a device holds: their means and distances are numpy's, in the same bits however they are parted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jcb_engine.errors import InputError
from jcb_engine.kernels import AssigningBackend, triton_sample
from jcb_engine.kernels.triton_sample import DeviceVectors
from tests.kernels.gpu_backends import triton_interpreted

pytestmark = pytest.mark.triton


@pytest.fixture
def backend() -> AssigningBackend:
    made = triton_interpreted()
    assert isinstance(made, AssigningBackend)
    return made


def vectors_and_centroids(rows: int, count: int, dim: int = 24) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([rows, count, dim])
    vectors = random.standard_normal((rows, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, np.float32(0.9) * vectors[random.choice(rows, count, replace=False)]


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (300, 7), (500, 130)])
def test_means_and_distances_are_those_of_the_nearest_centroids(
    backend: AssigningBackend, rows: int, count: int
) -> None:
    vectors, centroids = vectors_and_centroids(rows, count)
    held = backend.hold(vectors)
    means, ids = held.means(centroids)
    np.testing.assert_array_equal(ids, backend.nearest(vectors, centroids))
    assert (means.dtype, ids.dtype, means.shape) == (np.float32, np.uint32, centroids.shape)
    for number in range(count):
        own = vectors[ids == number].astype(np.float64)
        expected = own.mean(axis=0) if len(own) else np.zeros(24)
        np.testing.assert_allclose(means[number], expected, rtol=1e-6, atol=1e-9)
    distances = np.square(vectors.astype(np.float64) - centroids[ids]).sum(axis=1)
    np.testing.assert_allclose(held.squared_distances(centroids), distances, rtol=1e-5, atol=1e-9)


def test_means_are_exact_sums_rounded_once(backend: AssigningBackend) -> None:
    """Rounding of each addition in fp32 would lose what small values add to large ones."""
    vectors = np.full((4_096, 16), 2.0**-20, np.float32)
    vectors[::2, 0] = 1
    means, _ = backend.hold(vectors).means(np.full((1, 16), 0.1, np.float32))
    assert means[0, 0] == np.float32((2_048 + 2_048 * 2.0**-20) / 4_096)
    assert (means[0, 1:] == np.float32(2.0**-20)).all()


def test_bits_depend_neither_on_parts_nor_on_where_the_vectors_lie(
    backend: AssigningBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vectors, centroids = vectors_and_centroids(300, 20)
    vectors.tofile(tmp_path / "sample")
    mapped = np.memmap(tmp_path / "sample", dtype=np.float32, mode="r", shape=vectors.shape)
    whole = backend.hold(vectors)
    expected = (*whole.means(centroids), whole.squared_distances(centroids))
    for at_once in (300, 77):
        monkeypatch.setattr(triton_sample, "ROWS_AT_ONCE", at_once)
        for room, given in ((None, vectors), (0, vectors), (vectors.nbytes - 1, mapped), (vectors.nbytes, mapped)):
            held = triton_interpreted().hold(given, room)
            assert held.lies_on_device == (room is None or room >= vectors.nbytes)
            for array, wanted in zip(
                (*held.means(centroids), held.squared_distances(centroids)), expected, strict=True
            ):
                np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0])
def test_sums_have_room_whatever_the_length_of_vectors(backend: AssigningBackend, size: float) -> None:
    vectors, centroids = vectors_and_centroids(400, 3)
    vectors, centroids = np.float32(size) * vectors, np.float32(size) * centroids
    means, ids = backend.hold(vectors).means(centroids)
    for number in range(3):
        expected = vectors[ids == number].mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(means[number], expected, rtol=1e-6, atol=1e-9 * size)


def test_what_cannot_be_held_is_refused(backend: AssigningBackend) -> None:
    vectors, centroids = vectors_and_centroids(10, 2)
    with pytest.raises(InputError, match="nothing to hold"):
        backend.hold(vectors[:0])
    with pytest.raises(InputError, match="vectors is float64"):
        backend.hold(vectors.astype(np.float64))
    with pytest.raises(InputError, match="centroids is float32"):
        backend.hold(vectors).means(centroids[:, :5])
    for wrong in (np.nan, np.inf):
        vectors[7, 3] = wrong
        for room in (None, 0):
            with pytest.raises(InputError, match="NaN or infinity"):
                DeviceVectors(vectors, triton_interpreted()._device, room)
