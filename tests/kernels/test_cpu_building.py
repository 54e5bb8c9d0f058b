"""Nearest centroids, quantising and decoding of the native kernels, against numpy in double and the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.codec.levels import gaussian_levels
from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels import CentroidLists, CodecArrays
from jcb_engine.kernels.cpu import CpuBackend
from jcb_engine.kernels.interface import SIGMA_FACTORS
from jcb_engine.kernels.reference import ReferenceBackend, pack_codes, unpack_codes
from tests.kernels.cpu_backends import DIMENSIONS, every_backend

WIDTHS = (1, 2, 4, 8)


def gaussian(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def codec_of(dim: int, nbits: int, centroids: int = 9, norm_scale: float = 1.0) -> CodecArrays:
    rows = gaussian(centroids, dim, seed=99)
    rows *= 0.9 / np.linalg.norm(rows, axis=1, keepdims=True)
    return CodecArrays(dim, nbits, rows, *gaussian_levels(nbits), norm_scale)


# -- nearest centroids -----------------------------------------------------------------------------------------------
@every_backend
@pytest.mark.parametrize("dim", DIMENSIONS)
@pytest.mark.parametrize("count", [1, 3, 37])
def test_nearest_centroids_are_those_of_a_full_sort(backend: CpuBackend, dim: int, count: int) -> None:
    vectors, centroids = gaussian(101, dim), gaussian(1100, dim, seed=1)[: 37 if count == 37 else 1100]
    ids, scores = backend.nearest_centroids(vectors, centroids, count)
    products = vectors.astype(np.float64) @ centroids.T.astype(np.float64)
    expected = -np.sort(-products, axis=1)[:, :count]
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(products, ids, axis=1), scores, rtol=1e-5, atol=1e-4)
    assert all(len(set(row)) == count for row in ids.tolist())


@every_backend
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_nearest_in_lists_is_the_best_of_those_probed_the_lower_id_first(
    backend: CpuBackend, data: st.DataObject
) -> None:
    dim, rows, lists = (data.draw(st.integers(1, limit)) for limit in (5, 9, 40))
    probes_of_each = data.draw(st.integers(1, lists))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    sizes = random.integers(1, data.draw(st.sampled_from([3, 40, 700])), lists)
    # Small integers: products are exact, and many are equal.
    vectors = random.integers(-2, 3, (rows, dim)).astype(np.float32)
    centroids = random.integers(-2, 3, (sizes.sum(), dim)).astype(np.float32)
    ids = random.permutation(len(centroids)).astype(np.uint32)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    probes = np.stack([random.permutation(lists)[:probes_of_each] for _ in range(rows)]).astype(np.int64)
    found = backend.nearest_in_lists(vectors, CentroidLists(centroids, ids, offsets), probes)
    for row in range(rows):
        members = np.concatenate([np.arange(offsets[p], offsets[p + 1]) for p in probes[row]])
        scores = centroids[members] @ vectors[row]
        assert found[row] == ids[members[scores == scores.max()]].min()


def test_nearest_in_lists_of_thousands_of_vectors_is_that_of_the_reference() -> None:
    vectors, centroids = gaussian(5_000, 24), gaussian(900, 24, seed=1)
    random = np.random.default_rng(0)
    lists = CentroidLists(centroids, random.permutation(900).astype(np.uint32), np.arange(0, 901, 30, dtype=np.int64))
    probes = random.integers(0, 30, (5_000, 4))
    found = CpuBackend(threads=2).nearest_in_lists(vectors, lists, probes)
    expected = ReferenceBackend().nearest_in_lists(vectors, lists, probes)
    assert np.mean(found == expected) > 0.999  # sums are rounded otherwise
    assert (CpuBackend(threads=1).nearest_in_lists(vectors, lists, probes) == found).all()


@pytest.mark.parametrize(
    ("offsets", "probes", "message"),
    [
        ([0, 3, 5], [[2]], "probes must be at least one number of 0:2"),
        ([0, 3, 5], [[-1]], "probes must be at least one number of 0:2"),
        ([0, 5, 5], [[0]], "a list of centroids is empty"),
        ([0, 3, 4], [[0]], "offsets must rise from 0 to 5"),
    ],
)
def test_lists_and_probes_that_do_not_fit_are_refused(
    offsets: list[int], probes: list[list[int]], message: str
) -> None:
    lists = CentroidLists(gaussian(5, 4), np.arange(5, dtype=np.uint32), np.array(offsets))
    with pytest.raises(InputError, match=message):
        CpuBackend().nearest_in_lists(gaussian(1, 4), lists, np.array(probes))


@every_backend
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_lower_centroid_wins_every_tie(backend: CpuBackend, data: st.DataObject) -> None:
    dim, rows, columns = (data.draw(st.integers(1, limit)) for limit in (5, 9, 600))
    count = data.draw(st.integers(1, min(columns, 12)))
    seed = data.draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    # Small integers: products are exact, and many are equal.
    vectors = random.integers(-2, 3, (rows, dim)).astype(np.float32)
    centroids = random.integers(-2, 3, (columns, dim)).astype(np.float32)
    ids, scores = backend.nearest_centroids(vectors, centroids, count)
    products = vectors @ centroids.T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(products, expected, axis=1))


@every_backend
@pytest.mark.parametrize("tokens", [0, 1, 15, 16, 17, 40])
@pytest.mark.parametrize(("centroids", "count"), [(1, 1), (5, 5), (700, 1), (700, 33), (700, 257), (700, 700)])
def test_the_best_of_a_table_are_those_of_a_stable_sort(
    backend: CpuBackend, tokens: int, centroids: int, count: int
) -> None:
    # Small integers: products are exact, and many are equal.
    random = np.random.default_rng(tokens)
    rows = random.integers(-2, 3, (centroids, 3)).astype(np.float32)
    queries = random.integers(-2, 3, (tokens, 3)).astype(np.float32)
    store = backend.prepare(CodecArrays(3, 2, rows, *gaussian_levels(2)), [])
    ids, scores = backend.best_centroids(store, backend.centroid_scores(store, queries), count)
    products = queries @ rows.T
    expected = np.argsort(-products, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(scores, np.take_along_axis(products, expected, axis=1))


@every_backend
@pytest.mark.parametrize("dim", DIMENSIONS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (23, 128), (100, 7), (97, 8), (200, 9), (5, 24), (0, 3), (3, 0)])
def test_inner_products_are_those_of_float64(backend: CpuBackend, dim: int, rows: int, columns: int) -> None:
    left, right = gaussian(rows, dim), gaussian(columns, dim, seed=2)
    products = backend.inner_products(left, right)
    np.testing.assert_allclose(products, left.astype(np.float64) @ right.T.astype(np.float64), rtol=1e-5, atol=1e-4)


@every_backend
def test_products_that_are_not_numbers_come_last(backend: CpuBackend) -> None:
    centroids = np.array([[np.nan], [1.0], [2.0]], np.float32)
    ids, scores = backend.nearest_centroids(np.ones((1, 1), np.float32), centroids, 3)
    np.testing.assert_array_equal(ids, [[2, 1, 0]])
    np.testing.assert_array_equal(scores, [[2.0, 1.0, -np.inf]])
    for any_backend in (backend, ReferenceBackend()):
        store = any_backend.prepare(CodecArrays(1, 2, centroids, *gaussian_levels(2)), [])
        table = any_backend.centroid_scores(store, np.ones((1, 1), np.float32))
        picked = any_backend.best_centroids(store, table, 3)
        np.testing.assert_array_equal(picked[0], ids)
        np.testing.assert_array_equal(picked[1], scores)


@pytest.mark.parametrize("count", [0, -1, 6])
def test_more_of_a_table_than_there_is_are_refused(count: int) -> None:
    backend = CpuBackend()
    store = backend.prepare(CodecArrays(4, 2, gaussian(5, 4), *gaussian_levels(2)), [])
    with pytest.raises(InputError, match=f"count is {count}; allowed is 1 to the number of centroids, 5"):
        backend.best_centroids(store, backend.centroid_scores(store, gaussian(2, 4)), count)


def test_vectors_of_another_dimension_have_no_products() -> None:
    with pytest.raises(InputError, match=r"columns is float32 \[5, 3\]; expected float32 \[any, 4\]"):
        CpuBackend().inner_products(gaussian(2, 4), gaussian(5, 3))


@pytest.mark.parametrize("count", [0, -1, 6])
def test_more_neighbours_than_centroids_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"count is {count}; allowed is 1 to the number of centroids, 5"):
        CpuBackend().nearest_centroids(gaussian(2, 4), gaussian(5, 4), count)


def test_no_vectors_have_no_neighbours() -> None:
    ids, scores = CpuBackend().nearest_centroids(np.zeros((0, 4), np.float32), gaussian(5, 4), 2)
    assert ids.shape == scores.shape == (0, 2)


# -- codes -----------------------------------------------------------------------------------------------------------
@every_backend
@pytest.mark.parametrize("dim", [*DIMENSIONS, 1, 7])
@pytest.mark.parametrize("nbits", WIDTHS)
def test_codes_and_scalars_are_those_of_the_reference(backend: CpuBackend, dim: int, nbits: int) -> None:
    codec = codec_of(dim, nbits, norm_scale=4.0)
    vectors = gaussian(200, dim) * np.exp(gaussian(200, 1, seed=2))
    ids = np.random.default_rng(3).integers(0, 9, 200).astype(np.uint32)
    codes, sigmas, norms = backend.quantize(vectors, ids, codec)
    expected_codes, expected_sigmas, expected_norms = ReferenceBackend().quantize(vectors, ids, codec)
    # Halves may round to a neighbour where sums differ in the last place; a value on a cutoff then falls beside it.
    np.testing.assert_allclose(sigmas.astype(np.float32), expected_sigmas.astype(np.float32), rtol=2**-10)
    np.testing.assert_allclose(norms.astype(np.float32), expected_norms.astype(np.float32), rtol=2**-9)
    # One step of a half is 2^-11, which moves 8-bit cutoffs over a few values; wider cells hardly notice.
    differ = unpack_codes(codes, dim, nbits) != unpack_codes(expected_codes, dim, nbits)
    assert differ.mean() <= (0.02 if nbits == 8 else 0.002)
    assert differ[sigmas == expected_sigmas].sum() <= 2 or nbits == 1


@every_backend
def test_a_code_of_one_bit_is_the_sign_where_there_is_no_centroid(backend: CpuBackend) -> None:
    dim = 64
    codec = codec_of(dim, 1)
    codec = CodecArrays(dim, 1, np.zeros((1, dim), np.float32), codec.cutoffs, codec.levels)
    vectors = gaussian(50, dim, seed=4)
    codes, _, _ = backend.quantize(vectors, np.zeros(50, np.uint32), codec)
    np.testing.assert_array_equal(unpack_codes(codes, dim, 1), vectors > 0)


@every_backend
@pytest.mark.parametrize("dim", [16, 100, 128])
@pytest.mark.parametrize("nbits", [4, 8])
def test_codes_are_those_of_the_size_that_fits_best(backend: CpuBackend, nbits: int, dim: int) -> None:
    codec = codec_of(dim, nbits)
    vectors, ids = gaussian(50, dim, seed=4), np.random.default_rng(3).integers(0, 9, 50).astype(np.uint32)
    codes, sigmas, _ = backend.quantize(vectors, ids, codec)
    units = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    residuals = units - codec.centroids[ids]
    own = np.float16(np.linalg.norm(residuals, axis=1) / np.sqrt(dim)).astype(np.float64)
    tried = []
    for factor in SIGMA_FACTORS[nbits]:
        scaled = residuals / (factor * own)[:, None]
        levels = codec.levels[np.searchsorted(codec.cutoffs, scaled)].astype(np.float64)
        fit = (residuals * levels).sum(axis=1) / np.square(levels).sum(axis=1)
        tried.append(np.linalg.norm(residuals - fit[:, None] * levels, axis=1))
    stored = sigmas.astype(np.float64)[:, None] * codec.levels[unpack_codes(codes, dim, nbits)]
    errors = np.linalg.norm(residuals - stored, axis=1)
    rounding = 2.0**-11 * np.linalg.norm(residuals, axis=1)  # of sigma to fp16
    assert (errors <= np.min(tried, axis=0) + rounding).all()


@every_backend
@pytest.mark.parametrize("dim", [16, 100, 128])
def test_signs_are_nearer_in_angle_than_those_of_the_residual(backend: CpuBackend, dim: int) -> None:
    codec = codec_of(dim, 1)
    ids = np.random.default_rng(3).integers(0, 9, 500).astype(np.uint32)
    vectors = codec.centroids[ids] + 0.5 * gaussian(500, dim, seed=4) / np.float32(np.sqrt(dim))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    residuals = units - codec.centroids[ids]
    signs = np.where(residuals > 0, codec.levels[1], codec.levels[0])
    sizes = np.square(residuals).sum(axis=1) / (residuals * signs).sum(axis=1)
    plain = codec.centroids[ids] + sizes[:, None] * signs
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    decoded = backend.dequantize(ids, *backend.quantize(units, ids, codec), codec)
    assert np.square(units - decoded).sum() <= 0.95 * np.square(units - plain).sum()


@every_backend
@pytest.mark.parametrize("dim", [16, 20, 48, 64, 96, 100, 128, 384, 1000, 1024])
@pytest.mark.parametrize("nbits", WIDTHS)
def test_a_token_on_its_centroid_and_a_zero_vector_are_stored_as_such(
    backend: CpuBackend, nbits: int, dim: int
) -> None:
    codec = codec_of(dim, nbits)
    units = codec.centroids / np.linalg.norm(codec.centroids, axis=1, keepdims=True)
    codec = CodecArrays(dim, nbits, units, codec.cutoffs, codec.levels)
    lengths = np.array([[1.0], [3.0], [0.0]], np.float32)
    vectors = units[:3] * lengths
    # A unit vector divided by its length may move by one rounding: a centroid of one axis cannot.
    axis = np.zeros((1, dim), np.float32)
    axis[0, 5] = 1.0
    codec.centroids[:1] = axis
    vectors[0] = axis[0] * 7
    codes, sigmas, norms = backend.quantize(vectors, np.arange(3, dtype=np.uint32), codec)
    assert sigmas[0] == 0
    assert norms[0] == 7
    assert not codes[0].any()
    assert norms[2] == 0
    decoded = backend.dequantize(np.arange(3, dtype=np.uint32), codes, sigmas, norms, codec)
    np.testing.assert_array_equal(decoded[0], vectors[0])
    np.testing.assert_array_equal(decoded[2], np.zeros(dim, np.float32))
    np.testing.assert_allclose(decoded[1], vectors[1], atol=1e-3)


@every_backend
@pytest.mark.parametrize("nbits", WIDTHS)
@pytest.mark.parametrize("scale", [1e-30, 1e-4, 1.0, 1e4, 1e30])
def test_a_decoded_vector_keeps_its_norm(backend: CpuBackend, nbits: int, scale: float) -> None:
    codec = codec_of(32, nbits, norm_scale=2.0 ** round(np.log2(scale)))
    vectors = gaussian(40, 32) * np.float32(scale)
    ids = np.random.default_rng(3).integers(0, 9, 40).astype(np.uint32)
    decoded = backend.dequantize(ids, *backend.quantize(vectors, ids, codec), codec)
    expected = np.linalg.norm(vectors.astype(np.float64), axis=1)
    np.testing.assert_allclose(np.linalg.norm(decoded.astype(np.float64), axis=1), expected, rtol=1e-3)


@every_backend
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_decoding_follows_the_formula(backend: CpuBackend, data: st.DataObject) -> None:
    nbits = data.draw(st.sampled_from(WIDTHS))
    dim, tokens = data.draw(st.integers(1, 70)), data.draw(st.integers(0, 20))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    codec = codec_of(dim, nbits, norm_scale=0.5)
    ids = random.integers(0, 9, tokens).astype(np.uint32)
    indices = random.integers(0, 2**nbits, (tokens, dim)).astype(np.uint8)
    sigmas, norms = random.random((2, tokens)).astype(np.float16)
    decoded = backend.dequantize(ids, pack_codes(indices, nbits), sigmas, norms, codec)
    scale = 0.5 * norms.astype(np.float64)[:, None]
    expected = scale * (codec.centroids[ids] + sigmas.astype(np.float64)[:, None] * codec.levels[indices])
    np.testing.assert_allclose(decoded, expected, rtol=1e-6, atol=1e-7)


@every_backend
def test_halves_round_to_the_nearest_even(backend: CpuBackend) -> None:
    # norm = |v| when the decoded vector has length 1: a centroid on the vector's own axis.
    codec = CodecArrays(1, 2, np.ones((1, 1), np.float32), *gaussian_levels(2))
    random = np.random.default_rng(8)
    edges = [0.0, 2**-25, np.nextafter(np.float32(2**-25), np.float32(1)), 2**-24, 2**-14, 65504, 65519.996, 65520, 1e9]
    ties = (np.arange(2000) + 0.5) * 2.0**-24
    lengths = np.concatenate([edges, ties, np.exp(random.uniform(-18, 12, 5000))]).astype(np.float32)
    _, _, norms = backend.quantize(lengths[:, None], np.zeros(len(lengths), np.uint32), codec)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(norms, lengths.astype(np.float16))


@every_backend
def test_a_centroid_that_does_not_exist_is_a_corrupt_index(backend: CpuBackend) -> None:
    codec = codec_of(8, 2)
    with pytest.raises(CorruptIndexError, match="a token names centroid 9 of a codec that has 9"):
        backend.quantize(gaussian(1, 8), np.array([9], np.uint32), codec)
    halves = np.ones(1, np.float16)
    with pytest.raises(CorruptIndexError, match="a token names centroid 4294967295 of a codec that has 9"):
        backend.dequantize(np.array([2**32 - 1], np.uint32), np.zeros((1, 2), np.uint8), halves, halves, codec)


def test_a_raw_codec_has_no_codes() -> None:
    nothing = np.zeros(0, np.float32)
    codec = CodecArrays(8, 16, gaussian(3, 8), nothing, nothing)
    with pytest.raises(InputError, match="coded with 1, 2, 4 or 8 bits; this codec has 16"):
        CpuBackend().quantize(gaussian(1, 8), np.zeros(1, np.uint32), codec)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((3, 7), np.float32), r"vectors is float32 \[3, 7\]; expected float32 \[any, 8\]"),
        (np.zeros((3, 8), np.float64), r"vectors is float64 \[3, 8\]; expected float32 \[any, 8\]"),
        (np.zeros(8, np.float32), r"vectors is float32 \[8\]; expected float32 \[any, 8\]"),
        (np.zeros((8, 3), np.float32).T, "vectors is not C-contiguous and aligned"),
    ],
)
def test_arrays_of_another_form_are_named_with_what_is_allowed(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CpuBackend().quantize(vectors, np.zeros(3, np.uint32), codec_of(8, 2))
