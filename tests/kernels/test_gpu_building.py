"""Compressing on a GPU gives what the processor does: Triton in its interpreter, against the reference and numpy."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jcb_engine import IndexWriter, Searcher
from jcb_engine.codec import train_centroids, train_codec
from jcb_engine.codec.assignment import CentroidAssigner
from jcb_engine.codec.levels import gaussian_levels
from jcb_engine.errors import CorruptIndexError, InputError
from jcb_engine.kernels import RAW_BITS, AssigningBackend, Backend, CodecArrays, selection
from jcb_engine.kernels.reference import ReferenceBackend
from jcb_engine.kernels.triton_building import KeptOnDevice
from jcb_engine.kernels.triton_gpu import TritonBackend
from tests.conftest import brute_force, random_embeddings
from tests.kernels.code_cases import check_codes, coded_tokens
from tests.kernels.gpu_backends import triton_interpreted

pytestmark = pytest.mark.triton


@pytest.fixture
def backend() -> Backend:
    return triton_interpreted()


def units(count: int, dim: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng([seed, count, dim]).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("dim", [1, 16, 40, 64, 100, 128, 200])
@pytest.mark.parametrize(("rows", "count"), [(1, 1), (130, 70), (200, 5)])
def test_the_nearest_centroid_is_found(backend: Backend, dim: int, rows: int, count: int) -> None:
    assert isinstance(backend, AssigningBackend)
    vectors, centroids = units(rows, dim), 0.8 * units(count, dim, seed=1)
    ids = backend.nearest(vectors, centroids)
    assert ids.dtype == np.uint32
    distances = np.linalg.norm(vectors[:, None].astype(np.float64) - centroids[None], axis=2)
    assert (distances[np.arange(rows), ids] <= distances.min(axis=1) + 2e-3).all()
    if dim >= 16:
        assert (ids == distances.argmin(axis=1)).mean() >= 0.99


def test_centroids_of_other_lengths_are_compared_by_distance_and_the_lower_wins_a_tie(backend: Backend) -> None:
    assert isinstance(backend, AssigningBackend)
    vector = np.eye(16, dtype=np.float32)[:1]
    centroids = np.concatenate([3 * vector, 0.9 * vector, 0.9 * vector, np.zeros_like(vector)])
    assert backend.nearest(vector, centroids).tolist() == [1]
    many = np.repeat(vector, 300, axis=0)
    assert set(backend.nearest(many, np.repeat(centroids, 50, axis=0)).tolist()) == {50}


def test_the_assigner_compares_with_all_centroids_where_the_backend_is_made_for_it(backend: Backend) -> None:
    vectors, centroids = units(300, 32), 0.9 * units(1_500, 32, seed=2)
    ids = CentroidAssigner(centroids).assign(vectors, backend)
    nearest = np.linalg.norm(vectors[:, None] - centroids[None], axis=2).argmin(axis=1)
    assert (ids == nearest).mean() >= 0.99
    assert len(CentroidAssigner(centroids).assign(vectors[:0], backend)) == 0


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", [1, 5, 32, 100])
def test_codes_are_the_references(backend: Backend, nbits: int, dim: int) -> None:
    cutoffs, levels = gaussian_levels(nbits)
    centroids = 0.9 * units(7, dim, seed=3)
    codec = CodecArrays(dim, nbits, centroids, cutoffs, levels, norm_scale=4.0)
    ids = np.random.default_rng(4).integers(7, size=40).astype(np.uint32)
    vectors = 3 * units(40, dim, seed=5)
    vectors[3] = 0
    vectors[5] = centroids[ids[5]] / np.linalg.norm(centroids[ids[5]])
    for ours, expected in zip(
        backend.quantize(vectors, ids, codec), ReferenceBackend().quantize(vectors, ids, codec), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize(("tokens", "dim"), [(70, 16), (130, 24), (90, 96), (17, 300), (9, 768), (5, 1024)])
def test_codes_of_any_number_of_vectors_and_dimensions_are_the_references_but_for_ties(
    backend: Backend, nbits: int, tokens: int, dim: int
) -> None:
    check_codes(backend, *coded_tokens(tokens, dim, nbits))
    check_codes(backend, *coded_tokens(0, dim, nbits))


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
def test_any_table_of_cutoffs_that_rises_is_searched(backend: Backend, nbits: int) -> None:
    vectors, ids, codec = coded_tokens(40, 32, nbits)
    random = np.random.default_rng(nbits)
    cutoffs = np.sort(random.standard_normal(2**nbits - 1).astype(np.float32))
    cutoffs[len(cutoffs) // 2 :] = np.maximum(cutoffs[len(cutoffs) // 2], cutoffs[len(cutoffs) // 2 :].round(1))  # ties
    levels = np.sort(random.standard_normal(2**nbits).astype(np.float32))
    check_codes(backend, vectors, ids, replace(codec, cutoffs=cutoffs, levels=levels))
    check_codes(backend, vectors, ids, replace(codec, levels=-np.abs(levels)))  # products that are not positive
    check_codes(backend, vectors, ids, replace(codec, levels=np.zeros_like(levels)))


def test_encoding_is_the_nearest_centroid_and_its_codes(backend: Backend) -> None:
    assert isinstance(backend, AssigningBackend)
    vectors, _, codec = coded_tokens(150, 40, 4)
    ids, *made = backend.encode(vectors, codec)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    np.testing.assert_array_equal(ids, backend.nearest(unit, codec.centroids))
    for array, expected in zip(made, backend.quantize(vectors, ids, codec), strict=True):
        np.testing.assert_array_equal(array, expected)
    assert [len(array) for array in backend.encode(vectors[:0], codec)] == [0, 0, 0, 0]


def test_more_vectors_than_go_to_the_device_at_once_are_encoded(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jcb_engine.kernels import triton_building

    assert isinstance(backend, AssigningBackend)
    vectors, _, codec = coded_tokens(70, 16, 2)
    whole = backend.encode(vectors, codec)
    monkeypatch.setattr(triton_building, "ROWS_AT_ONCE", 32)
    for array, expected in zip(backend.encode(vectors, codec), whole, strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("nbits", [1, 4])
def test_encoding_in_parts_is_what_the_programs_give_for_all_at_once(
    backend: Backend, nbits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from jcb_engine.kernels import triton_building
    from jcb_engine.kernels.triton_building import DeviceCodec

    assert isinstance(backend, AssigningBackend)
    vectors, _, codec = coded_tokens(90, 24, nbits)
    there, rows = DeviceCodec(codec, torch.device("cpu")), torch.from_numpy(vectors)
    ids = there.compared.nearest(torch.nn.functional.normalize(rows, eps=torch.finfo(torch.float32).tiny))
    expected = [array.numpy() for array in (ids, *there.quantize(rows, ids))]
    for at_once in (90, 31):
        monkeypatch.setattr(triton_building, "ROWS_AT_ONCE", at_once)
        for array, wanted in zip(backend.encode(vectors, codec), expected, strict=True):
            np.testing.assert_array_equal(array, wanted)


def counted_copies(monkeypatch: pytest.MonkeyPatch, kept: KeptOnDevice) -> list[object]:
    """Weak references to all that goes to the device from now on."""
    made, make = [], kept._make

    def counting(given: object, device: object) -> object:
        there = make(given, device)
        made.append(weakref.ref(there))
        return there

    monkeypatch.setattr(kept, "_make", counting)
    return made


def test_a_codec_goes_to_the_device_once_and_leaves_it_with_the_codec(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(backend, TritonBackend)
    made = counted_copies(monkeypatch, backend._codecs)
    vectors, _, codec = coded_tokens(40, 32, 4)
    other = replace(codec, centroids=-codec.centroids)
    first = backend.encode(vectors, codec)
    for array, again in zip(first, backend.encode(vectors, codec), strict=True):
        np.testing.assert_array_equal(array, again)
    assert len(made) == 1
    assert not np.array_equal(backend.encode(vectors, other)[0], first[0])
    assert len(made) == 2
    gc.collect()
    assert made[0]() is None  # replaced
    assert made[1]() is not None
    np.testing.assert_array_equal(backend.encode(vectors, codec)[0], first[0])
    del codec
    gc.collect()
    assert [there() for there in made] == [None] * 3
    assert backend._codecs._kept is None


def test_the_chunks_of_a_build_share_one_copy_of_its_codec(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(backend, TritonBackend)
    vectors = units(200, 16, seed=8)
    for nbits, kept in ((2, backend._codecs), (RAW_BITS, backend._centroids)):
        codec = train_codec(vectors.copy(), nbits, 8, 0, backend)
        made = counted_copies(monkeypatch, kept)
        whole = codec.encode(vectors, backend)
        for start in range(0, 200, 50):
            part = codec.encode(vectors[start : start + 50], backend)
            np.testing.assert_array_equal(part.codes, whole.codes[start : start + 50])
            np.testing.assert_array_equal(part.centroid_ids, whole.centroid_ids[start : start + 50])
        assert len(made) == 1


def test_two_threads_that_encode_by_two_codecs_do_not_mix_them_up(backend: Backend) -> None:
    import torch

    def make(given: CodecArrays, device: torch.device) -> str:
        return f"copy of {given.dim}"

    codecs = [coded_tokens(1, dim, 1)[2] for dim in range(1, 9)]
    kept = KeptOnDevice(make, torch.device("cpu"))

    def ask(dim: int) -> bool:
        return all(kept.of(codecs[dim - 1]) == f"copy of {dim}" for _ in range(500))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(1, 9)))


def test_what_does_not_fit_is_refused(backend: Backend) -> None:
    assert isinstance(backend, AssigningBackend)
    cutoffs, levels = gaussian_levels(2)
    codec = CodecArrays(16, 2, units(3, 16), cutoffs, levels)
    with pytest.raises(InputError, match="vectors"):
        backend.nearest(units(4, 17), units(3, 16))
    with pytest.raises(InputError, match="vectors"):
        backend.encode(units(4, 17), codec)
    with pytest.raises(InputError, match="centroid_ids"):
        backend.quantize(units(4, 16), np.zeros(3, np.uint32), codec)
    with pytest.raises(CorruptIndexError, match="centroid 3 of 3"):
        backend.quantize(units(1, 16), np.array([3], np.uint32), codec)


def test_centroids_of_a_map_of_a_file_are_trained_on_the_device_and_none_is_left_empty(
    backend: Backend, tmp_path: Path
) -> None:
    sample = np.concatenate([np.repeat(units(1, 16), 60, axis=0), units(70, 16, seed=9)])
    sample.tofile(tmp_path / "sample")
    mapped = np.memmap(tmp_path / "sample", dtype=np.float32, mode="r", shape=sample.shape)
    trained = train_centroids(mapped, 20, 0, backend)
    np.testing.assert_array_equal(trained, train_centroids(sample, 20, 0, backend))
    assert isinstance(backend, AssigningBackend)
    assert len(np.unique(backend.nearest(sample, trained))) == 20
    few = train_centroids(sample[55:70], 100, 0, backend)  # 5 are equal: 11 places for 15 centroids
    assert few.shape == (15, 16)
    nearest = np.linalg.norm(sample[55:70, None] - few[None], axis=2).min(axis=1)
    assert (nearest < 1e-6).all()


@pytest.fixture
def on_device(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The device cuda is the interpreter."""
    monkeypatch.setattr(selection, "_triton", lambda threads, device: backend)
    return backend


def test_an_index_built_on_the_device_answers_like_one_built_on_the_processor(
    on_device: Backend, tmp_path: Path
) -> None:
    values, offsets = random_embeddings(60, 32, seed=6)
    ids = [f"d{number:02}" for number in range(60)]
    for name, device in (("cpu", "cpu"), ("gpu", "cuda")):
        with IndexWriter.create(tmp_path / name, dim=32, nbits=4, centroids=40, device=device) as writer:
            writer.add_vectors(ids, values, offsets)
    with Searcher.open(tmp_path / "cpu") as cpu, Searcher.open(tmp_path / "gpu") as gpu:
        errors = {"cpu": [], "gpu": []}
        for seed in range(5):
            query = units(6, 32, seed)
            truth = dict(zip(ids, brute_force(query, values, offsets), strict=True))
            for name, searcher in (("cpu", cpu), ("gpu", gpu)):
                hits = searcher.search(query, k=60, exact=True)
                assert {hit.id for hit in hits} == {name for name, score in truth.items() if np.isfinite(score)}
                errors[name] += [hit.score - truth[hit.id] for hit in hits]
    # Centroids are trained otherwise, so near ties come in another order, but what is stored is no worse.
    assert np.linalg.norm(errors["gpu"]) <= 1.05 * np.linalg.norm(errors["cpu"])
    assert np.abs(errors["gpu"]).max() < 0.15


def test_building_on_a_gpu_that_is_not_here_is_an_error_before_any_work(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    from jcb_engine.errors import BackendUnavailableError

    with pytest.raises(BackendUnavailableError, match="no GPU can be used"):
        IndexWriter.create(tmp_path / "index", dim=32, device="cuda")
    assert not (tmp_path / "index").exists()
    with pytest.raises(InputError, match="a build takes one device, such as cuda:0"):
        IndexWriter.create(tmp_path / "index", dim=32, device="cuda:0,cuda:1")
    with pytest.raises(InputError, match="device 'gpu' is unknown"):
        IndexWriter.create(tmp_path / "index", dim=32, device="gpu")
