"""What searches of a store launch has been launched before, when the store was opened."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from jcb_engine.kernels import (
    RAW_BITS,
    Backend,
    Lists,
    Probing,
    ProbingBackend,
    ScanningBackend,
    WarmedBackend,
    several_gpus,
)
from jcb_engine.kernels.cpu import CpuBackend
from jcb_engine.kernels.several_gpus import SeveralGpus
from tests.kernels.cpu_backends import queries_of
from tests.kernels.gpu_backends import GPU_BACKENDS, gpu_backend
from tests.kernels.stores import random_store

Launched = set[tuple[str, tuple[tuple[str, object], ...]]]


def kind_of(number: object) -> object:
    """What of a number Triton compiles a program for."""
    if not isinstance(number, int):
        return None
    return 1 if number == 1 else "16 divides it" if number % 16 == 0 else "other"


class Recorded:
    """A Triton program that notes for what it was compiled: constants, and numbers, where it is told apart by them."""

    def __init__(self, name: str, program: Any, launched: Launched) -> None:
        self._name, self._program, self._launched = name, program, launched

    def __getitem__(self, grid: Any) -> Any:
        def launch(*arguments: object, **constants: object) -> object:
            compiled_for = dict(constants)
            if self._name != "gain_by_postings":  # which says that it is not
                compiled_for |= {f"argument {place}": kind_of(value) for place, value in enumerate(arguments)}
            self._launched.add((self._name, tuple(sorted(compiled_for.items()))))
            return self._program[grid](*arguments, **constants)

        return launch


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Launched:
    pytest.importorskip("triton", reason="triton is not installed")
    from jcb_engine.kernels import triton_kernels, triton_posting_kernels

    found: Launched = set()
    for module in (triton_kernels, triton_posting_kernels):
        for name, program in list(vars(module).items()):
            if type(program).__name__ in ("JITFunction", "InterpretedFunction") and not name.startswith("_"):
                monkeypatch.setattr(module, name, Recorded(name, program, found))
    return found


@pytest.mark.triton
@pytest.mark.parametrize("nbits", [1, 2, 4, 8, RAW_BITS])
def test_a_search_launches_no_program_that_was_not_warmed(nbits: int, launched: Launched) -> None:
    backend = gpu_backend("triton")
    codec, segments, _, _ = random_store(dim=48, nbits=nbits, segment_documents=(9, 6), centroids=20, longest=9)
    store = backend.prepare(codec, segments)
    assert isinstance(backend, WarmedBackend)
    backend.warm(store)
    warmed = set(launched)
    assert {name for name, _ in warmed} > {"centroid_products"}
    assert isinstance(backend, ProbingBackend)
    assert isinstance(backend, ScanningBackend)
    some = np.array([0b10110101, 0b01101110], np.uint8)
    for lengths, mask in (((1,), None), ((5,), some), ((48,), None), ((33, 0, 2), some)):
        queries, offsets = queries_of(lengths, 48)
        backend.best_of_all(store, queries, offsets, 3, mask)
        answers = backend.best_among_probed(store, queries, offsets, 3, Probing(3, 10, 5), mask)
        assert (answers is None) == (nbits == RAW_BITS)
    assert launched == warmed


@pytest.mark.parametrize("name", GPU_BACKENDS)
def test_warming_works_over_nothing_and_over_raw_vectors(name: str) -> None:
    backend = gpu_backend(name)
    assert isinstance(backend, WarmedBackend)
    for nbits, documents in ((2, (0,)), (2, (3,)), (RAW_BITS, (3,))):
        codec, segments, _, _ = random_store(dim=32, nbits=nbits, segment_documents=documents)
        backend.warm(backend.prepare(codec, segments))


@pytest.mark.parametrize("name", GPU_BACKENDS)
def test_each_of_several_gpus_is_warmed_over_its_part(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Neither the interpreter nor the emulation can be in two threads at once.
    monkeypatch.setattr(several_gpus, "ThreadPoolExecutor", lambda count, **names: ThreadPoolExecutor(1, **names))
    one = gpu_backend(name)
    codec, segments, _, _ = random_store(dim=32, nbits=2, segment_documents=(40,), centroids=20)
    several = SeveralGpus(CpuBackend(threads=1), [one, one])
    assert isinstance(several, WarmedBackend)
    store = several.prepare(codec, segments)
    warmed: list[object] = []
    warm = type(one).warm  # type: ignore[attr-defined]
    monkeypatch.setattr(type(one), "warm", lambda self, part: (warm(self, part), warmed.append(part)))
    several.warm(store)
    assert warmed == list(store.parts)
    queries, offsets = queries_of((4,), 32)
    lists = Lists(np.arange(40, dtype=np.uint32), np.array([0, 40]))
    found = several.maxsim_quantized(store, queries, offsets, lists, "exact")
    alone = one.maxsim_quantized(one.prepare(codec, segments), queries, offsets, lists, "exact")
    np.testing.assert_array_equal(found, alone)


def test_a_backend_on_the_processor_has_nothing_to_warm() -> None:
    backend: Backend = CpuBackend(threads=1)
    assert not isinstance(backend, WarmedBackend)
