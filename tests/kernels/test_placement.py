"""Codes stay in host memory where a GPU has no room: who decides, who is told, and that answers are the same."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from jcb_engine.errors import BackendUnavailableError, CorruptIndexError
from jcb_engine.kernels import RAW_BITS, Backend, Lists, ScanningBackend
from jcb_engine.kernels.placement import (
    KEPT_FREE,
    KEPT_FREE_OF_HOST,
    SCORES_A_DOCUMENT,
    Room,
    free_host_memory,
    must_lie_on_host,
    room_for_codes,
    warn_of_codes_on_host,
)
from jcb_engine.kernels.several_gpus import SeveralGpus
from tests.kernels.cpu_backends import queries_of, whole
from tests.kernels.gpu_backends import GPU_BACKENDS, cuda_emulated, gpu_backend, triton_interpreted
from tests.kernels.stores import random_store

GIBIBYTE = 2**30


@pytest.fixture(params=GPU_BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return gpu_backend(request.param)


def test_codes_lie_on_the_gpu_as_long_as_it_has_room() -> None:
    room = Room(device=100, host=1000)
    assert not must_lie_on_host(0, room)
    assert not must_lie_on_host(100, room)
    assert must_lie_on_host(101, room)
    assert must_lie_on_host(1000, room)


def test_what_fits_nowhere_is_told_with_sizes_and_what_to_do() -> None:
    room = Room(70 * GIBIBYTE, 200 * GIBIBYTE)
    with pytest.raises(BackendUnavailableError, match=r"307200 MiB.*71680 MiB.*204800 MiB.*several GPUs"):
        must_lie_on_host(300 * GIBIBYTE, room)


def test_some_memory_is_left_for_scores_and_for_the_host() -> None:
    documents = 1_000_000
    kept = KEPT_FREE + documents * SCORES_A_DOCUMENT
    assert room_for_codes(kept + 5, KEPT_FREE_OF_HOST + 7, documents) == Room(5, 7)
    assert room_for_codes(kept - 1, KEPT_FREE_OF_HOST - 1, documents) == Room(0, 0)


def test_the_hosts_memory_is_what_is_available_and_granted(tmp_path: Path) -> None:
    meminfo, granted = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal:  8000 kB\nMemFree:  100 kB\nMemAvailable:  3000 kB\n")
    assert free_host_memory(meminfo, granted) == 3000 * 1024
    granted.write_text("max\n")
    assert free_host_memory(meminfo, granted) == 3000 * 1024
    granted.write_text("5000\n")
    assert free_host_memory(meminfo, granted) == 5000
    assert free_host_memory(tmp_path / "none", tmp_path / "none") == 2**63 - 1


def test_a_warning_says_what_it_costs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_codes_on_host("cuda/H200", 100 * GIBIBYTE, 20_000_000)
    assert "cuda/H200 has no room for the codes of 20000000 documents (100.0 GiB)" in caplog.text
    assert ".11 ms for a thousand documents, and 2.1 s where a search scores all" in caplog.text


@pytest.mark.parametrize("nbits", [1, 2, 8, RAW_BITS])
def test_answers_are_the_same_wherever_codes_lie(
    backend: Backend, nbits: int, caplog: pytest.LogCaptureFixture
) -> None:
    codec, segments, _, _ = random_store(dim=48, nbits=nbits, segment_documents=(11, 0, 6), seed=nbits)
    with caplog.at_level(logging.WARNING):
        there = backend.prepare(codec, segments)
        assert not caplog.records
        here = backend.prepare(codec, segments, most_on_device=0)  # type: ignore[call-arg]
        assert "has no room for the codes of 17 documents" in caplog.text
    assert not there.lies_on_host  # type: ignore[attr-defined]
    assert here.lies_on_host  # type: ignore[attr-defined]
    queries, offsets = queries_of((5, 0, 40, 2), 48)
    lists = Lists(np.array([9, 9, 0, 3, 10], np.uint32), np.array([0, 3, 3, 4, 5], np.int64))
    for candidates in (lists, whole(17)):
        for precision in ("fast", "exact"):
            np.testing.assert_array_equal(
                backend.maxsim_quantized(there, queries, offsets, candidates, precision),
                backend.maxsim_quantized(here, queries, offsets, candidates, precision),
            )
    assert isinstance(backend, ScanningBackend)
    found = [backend.best_of_all(store, queries, offsets, 3) for store in (there, here)]
    assert found[0] is not None
    assert found[1] is not None
    for own, other in zip(*found, strict=True):
        np.testing.assert_array_equal(own[0], other[0])
        np.testing.assert_array_equal(own[1], other[1])


def test_a_scan_over_the_bus_is_not_thought_cheap(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(6,))
    assert isinstance(backend, ScanningBackend)
    assert backend.scan_is_cheap(backend.prepare(codec, segments))
    assert not backend.scan_is_cheap(backend.prepare(codec, segments, most_on_device=0))  # type: ignore[call-arg]


def test_one_gpu_without_room_is_enough_for_that(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(21, 18))
    several = SeveralGpus(backend, [backend])
    assert several.scan_is_cheap(several.prepare(codec, segments))
    prepare = type(backend).prepare
    monkeypatch.setattr(type(backend), "prepare", lambda *given: prepare(*given, 0))  # type: ignore[call-arg]
    assert not several.scan_is_cheap(several.prepare(codec, segments))


def test_damage_is_found_wherever_codes_lie(backend: Backend) -> None:
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(6,))
    segments[0].centroid_ids[2] = 16
    with pytest.raises(CorruptIndexError, match="names centroid 16; there are 16"):
        backend.prepare(codec, segments, most_on_device=0)  # type: ignore[call-arg]


def test_a_store_of_nothing_needs_no_room(backend: Backend) -> None:
    codec, _, _, _ = random_store(dim=32, nbits=2, segment_documents=(1,))
    store = backend.prepare(codec, [], most_on_device=0)  # type: ignore[call-arg]
    assert not store.lies_on_host  # type: ignore[attr-defined]


@pytest.mark.emulated
def test_chunks_of_the_cuda_kernels_may_be_of_any_size() -> None:
    backend = cuda_emulated()
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(9,), longest=90)
    queries, offsets = queries_of((5,), 32)
    scores = []
    for chunk_bytes in (1, 1000, 2**26):
        store = backend._library.new_store(0, codec, segments, None, 2, chunk_bytes)  # type: ignore[attr-defined]
        every, found = whole(9), np.empty((1, 9), np.float32)
        store.prepare(queries, offsets).score_ranges(every.starts, every.ends, True, found)
        scores.append(found)
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


@pytest.mark.triton
def test_chunks_for_triton_may_be_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = triton_interpreted()
    from jcb_engine.kernels import triton_memory

    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(9, 4), longest=90)
    stores = []
    for rows in (1, 7, 2**20):
        monkeypatch.setattr(triton_memory, "CHUNK_ROWS", rows)
        stores.append(backend.prepare(codec, segments))
    for name in ("codes", "ids", "norms", "sigmas"):
        arrays = [getattr(store, name).numpy() for store in stores]
        np.testing.assert_array_equal(arrays[0], arrays[1])
        np.testing.assert_array_equal(arrays[0], arrays[2])
    np.testing.assert_array_equal(
        stores[0].codes.numpy(),  # type: ignore[attr-defined]
        np.concatenate([segment.codes for segment in segments]),
    )


@pytest.mark.triton
def test_triton_refuses_codes_that_have_no_room_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = triton_interpreted()
    from jcb_engine.kernels import triton_memory

    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(6,))
    monkeypatch.setattr(triton_memory, "free_host_memory", lambda: KEPT_FREE_OF_HOST)
    with pytest.raises(BackendUnavailableError, match="the host's memory for 0 MiB"):
        backend.prepare(codec, segments, most_on_device=0)  # type: ignore[call-arg]


@pytest.mark.triton
def test_host_memory_is_pinned_for_as_long_as_a_tensor_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    triton_interpreted()
    import torch

    from jcb_engine.kernels import triton_memory

    pinned: dict[int, int] = {}
    refused = 2  # cudaErrorMemoryAllocation

    class Cudart:
        def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802
            pinned[address] = size
            return 0 if size == 60 else refused

        def cudaHostUnregister(self, address: int) -> None:  # noqa: N802
            del pinned[address]

    monkeypatch.setattr(torch.cuda, "cudart", Cudart)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    tensor = triton_memory._pinned(np.zeros((10, 6), np.uint8), torch.device("cuda", 0))
    view = tensor[3:]
    assert pinned == {tensor.data_ptr(): 60}
    del tensor
    assert len(pinned) == 1
    del view
    assert pinned == {}
    with pytest.raises(BackendUnavailableError, match="cannot be pinned"):
        triton_memory._pinned(np.zeros((1, 6), np.uint8), torch.device("cuda", 0))
