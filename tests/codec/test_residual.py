"""The codec keeps norms, never exceeds its bytes, and comes back from storage as it went in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.codec import ResidualCodec, train_codec
from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels.reference import ReferenceBackend, pack_codes, unpack_codes

BACKEND = ReferenceBackend()


def vectors(count: int, dim: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    topics = random.standard_normal((20, dim))
    rows = topics[random.integers(0, 20, count)] + 0.5 * random.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def decoded(codec: ResidualCodec, rows: np.ndarray) -> np.ndarray:
    """Through the codec and back into the original basis."""
    tokens = codec.encode(rows, BACKEND)
    if codec.is_raw:
        return tokens.codes.astype(np.float32) * codec.arrays.norm_scale
    rotated = BACKEND.dequantize(tokens.centroid_ids, tokens.codes, tokens.sigmas, tokens.norms, codec.arrays)
    return rotated @ codec.rotation.T


@pytest.mark.parametrize("dim", [48, 64, 96, 128, 384])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8, 16])
def test_vector_bytes_per_token_stay_within_the_bound(dim: int, nbits: int) -> None:
    codec = train_codec(vectors(500, dim), nbits, 32, 0, BACKEND)
    tokens = codec.encode(vectors(100, dim, 1), BACKEND)
    stored = tokens.codes.nbytes + tokens.sigmas.nbytes + tokens.norms.nbytes
    stored += 0 if codec.is_raw else 4 * 100  # ids at their widest
    assert stored / 100 <= np.ceil(dim * nbits / 8) + 8


# Shares of the residual's energy: those of the level tables, .1175, .0095 and .00004 at 2, 4 and 8 bits, less where
# several sizes are tried; at 1 bit 1 / (2 / pi) - 1 = .57, since the projection of the interface lengthens the code,
# less what restoring the norm gains.
@pytest.mark.parametrize(("nbits", "most"), [(1, 0.5), (2, 0.1175), (4, 0.0083), (8, 4e-5)])
def test_the_error_falls_with_the_bits_as_the_level_tables_promise(nbits: int, most: float) -> None:
    rows = vectors(2_000, 64)
    codec = train_codec(rows.copy(), nbits, 20, 0, BACKEND)
    distances = (((rows @ codec.rotation)[:, None] - codec.arrays.centroids[None]) ** 2).sum(axis=2)
    error = ((rows - decoded(codec, rows)) ** 2).sum(axis=1).mean()
    assert error <= most * distances.min(axis=1).mean()


@settings(max_examples=30, deadline=None)
@given(
    nbits=st.sampled_from([1, 2, 4, 8]),
    dim=st.integers(1, 70),
    scale=st.floats(-12, 12).map(lambda power: 10.0**power),
    seed=st.integers(0, 1000),
)
def test_a_decoded_vector_keeps_its_norm_whatever_it_is(nbits: int, dim: int, scale: float, seed: int) -> None:
    rows = vectors(60, dim, seed) * np.float32(scale)
    codec = train_codec(rows.copy(), nbits, 8, seed, BACKEND)
    back = decoded(codec, rows)
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), np.linalg.norm(rows, axis=1), rtol=2e-3)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_zero_vectors_and_zero_residuals_decode_without_nan(nbits: int) -> None:
    rows = vectors(50, 16)
    codec = train_codec(
        rows.copy(), nbits, 50, 0, ReferenceBackend()
    )  # a centroid for every vector: residuals are zero
    exactly_on = (codec.arrays.centroids @ codec.rotation.T).astype(np.float32)
    back = decoded(codec, np.concatenate([exactly_on, np.zeros((1, 16), np.float32)]))
    assert np.isfinite(back).all()
    np.testing.assert_allclose(back[:-1], exactly_on, atol=2e-3)
    np.testing.assert_array_equal(back[-1], 0)


def test_a_residual_of_exactly_zero_has_sigma_zero() -> None:
    codec = train_codec(vectors(50, 16), 2, 4, 0, BACKEND)
    # In the rotated basis and of unit norm, a vector equal to its centroid has no residual at all.
    centroid = codec.arrays.centroids[:1] / np.linalg.norm(codec.arrays.centroids[:1])
    arrays = codec.arrays.__class__(16, 2, centroid.astype(np.float32), codec.arrays.cutoffs, codec.arrays.levels)
    _, sigmas, norms = BACKEND.quantize(arrays.centroids, np.zeros(1, np.uint32), arrays)
    assert sigmas[0] <= 1e-7
    assert np.isfinite(norms).all()


@pytest.mark.parametrize("nbits", [2, 16])
def test_a_norm_far_beyond_the_others_is_refused(nbits: int) -> None:
    codec = train_codec(vectors(200, 32), nbits, 8, 0, BACKEND)
    with pytest.raises(InputError, match="normalise the vectors first"):
        codec.encode(vectors(2, 32) * np.float32(1e6), BACKEND)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    codec = train_codec(vectors(100, 8), 2, 4, 0, BACKEND)
    rows = vectors(5, 8)
    rows[3, 2] = bad
    with pytest.raises(InputError, match="token vector 3 holds NaN or infinity"):
        codec.encode(rows, BACKEND)


def test_raw_codecs_return_fp16_input_bit_for_bit() -> None:
    rows = (vectors(100, 24) * 7).astype(np.float16)
    codec = train_codec(rows.astype(np.float32), 16, 8, 0, BACKEND)
    np.testing.assert_array_equal(decoded(codec, rows.astype(np.float32)), rows.astype(np.float32))


@pytest.mark.parametrize("nbits", [1, 4, 16])
def test_a_codec_comes_back_from_storage_as_it_was(nbits: int) -> None:
    codec = train_codec(vectors(100, 20), nbits, 8, 7, BACKEND)
    again = ResidualCodec.from_stored(*codec.to_stored())
    rows = vectors(30, 20, 2)
    np.testing.assert_array_equal(decoded(again, rows), decoded(codec, rows))


@pytest.mark.parametrize(
    ("name", "value"),
    [("dim", "12"), ("dim", 0), ("nbits", 3), ("norm_scale", -1.0), ("rotation", "spiral"), ("seed", None)],
)
def test_properties_that_cannot_be_are_corrupt(name: str, value: object) -> None:
    arrays, properties = train_codec(vectors(100, 12), 2, 8, 0, BACKEND).to_stored()
    with pytest.raises(CorruptIndexError):
        ResidualCodec.from_stored(arrays, {**properties, name: value})


@pytest.mark.parametrize("name", ["centroids", "cutoffs", "levels", "rotation"])
def test_arrays_that_do_not_fit_are_corrupt(name: str) -> None:
    arrays, properties = train_codec(vectors(100, 12), 2, 8, 0, BACKEND).to_stored()
    for wrong in (arrays[name].astype(np.float64), arrays[name][..., :-1]):
        with pytest.raises(CorruptIndexError, match=name):
            ResidualCodec.from_stored({**arrays, name: wrong}, properties)


@settings(max_examples=40, deadline=None)
@given(nbits=st.sampled_from([1, 2, 4, 8]), dim=st.integers(1, 40), rows=st.integers(0, 5), seed=st.integers(0, 99))
def test_packing_puts_the_first_dimension_in_the_low_bits(nbits: int, dim: int, rows: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**nbits, (rows, dim)).astype(np.uint8)
    packed = pack_codes(codes, nbits)
    assert packed.shape == (rows, (dim * nbits + 7) // 8)
    np.testing.assert_array_equal(unpack_codes(packed, dim, nbits), codes)
    for row in range(rows):
        whole = sum(int(code) << (nbits * place) for place, code in enumerate(codes[row]))
        assert int.from_bytes(packed[row].tobytes(), "little") == whole
