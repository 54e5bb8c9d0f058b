"""Batches are shared among threads and devices: the same vectors, the same bits each time, a quick end on errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="needs jcb-engine[models]")

from jcb_engine.encoder import Encoder, cpu_workers, packed_model  # noqa: E402
from jcb_engine.encoder.packed_model import Replica  # noqa: E402
from tests.encoder import checkpoints  # noqa: E402

TEXTS = [f"{'the car ' * (number % 7)}Hello {'World' * (number % 3)}" for number in range(60)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.write_jina_v2(tmp_path_factory.mktemp("jina-v2"))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_model, "CPU_TOKEN_BUDGET", 40)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("small_batches", "two_threads")
def test_many_batches_give_the_vectors_of_one_and_the_same_bits_each_time(folder: Path) -> None:
    encoder = Encoder(folder)
    shared = encoder.encode_document(TEXTS)
    again = encoder.encode_document(TEXTS)
    assert shared.values.tobytes() == again.values.tobytes()
    for text, vectors in zip(TEXTS, shared, strict=True):
        np.testing.assert_allclose(vectors, encoder.encode_document([text])[0], atol=1e-5)


@pytest.mark.usefixtures("small_batches", "two_threads")
def test_threads_of_torch_are_as_many_as_before(folder: Path) -> None:
    encoder = Encoder(folder)
    encoder.encode_document(TEXTS)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(3)
    encoder.encode_document(TEXTS)
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("two_threads")
def test_each_worker_computes_on_one_thread() -> None:
    threads = []

    def work() -> None:
        part = torch.randn(1, 4, 300, 64)
        torch.nn.functional.scaled_dot_product_attention(part, part, part)
        torch.nn.functional.layer_norm(part, (64,))
        threads.append(torch.get_num_threads())

    cpu_workers.run_on_workers(work)
    assert threads == [1, 1]


_FORKED = """
import os, signal, sys, torch
torch.set_num_threads(2)
from jcb_engine.encoder import Encoder, packed_model
packed_model.CPU_TOKEN_BUDGET = 40
texts = ["the car " * 5] * 40
encoder = Encoder(sys.argv[1])
expected = encoder.encode_document(texts).values
child = os.fork()
if child == 0:
    signal.alarm(300)
    torch.set_num_threads(2)
    os._exit(0 if (encoder.encode_document(texts).values == expected).all() else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_a_forked_process_has_workers_of_its_own(folder: Path) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", _FORKED, str(folder)], check=True, timeout=600)


@pytest.mark.usefixtures("small_batches", "two_threads")
@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_an_error_in_one_thread_comes_out_and_the_others_stop(
    folder: Path, devices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(folder, device=devices)
    hidden_states = Replica.hidden_states
    calls = []

    def failing(replica: Replica, texts: list[packed_model.TokenizedText]) -> torch.Tensor:
        calls.append(len(texts))
        if len(calls) == 3:
            raise MemoryError("no room")
        return hidden_states(replica, texts)

    monkeypatch.setattr(Replica, "hidden_states", failing)
    with pytest.raises(MemoryError, match="no room"):
        encoder.encode_document(TEXTS * 20)
    assert len(calls) < 200  # of about 300 batches
    monkeypatch.setattr(Replica, "hidden_states", hidden_states)
    assert len(encoder.encode_document(TEXTS)) == len(TEXTS)


@pytest.mark.usefixtures("small_batches", "two_threads")
def test_several_callers_at_once_get_their_own_vectors(folder: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    encoder = Encoder(folder)
    lists = [TEXTS[start : start + 20] for start in range(0, 60, 5)]
    expected = [encoder.encode_document(texts).values for texts in lists]
    with ThreadPoolExecutor(4) as pool:
        for came, wanted in zip(pool.map(encoder.encode_document, lists), expected, strict=True):
            np.testing.assert_array_equal(came.values, wanted)
