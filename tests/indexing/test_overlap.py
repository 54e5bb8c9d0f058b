"""A window of documents is compressed while the next one is encoded: nothing is lost, mixed up or left running."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from jcb_engine import Document, Encoder, IndexWriter, Searcher
from jcb_engine.codec.residual import EncodedTokens
from jcb_engine.encoder import windows
from jcb_engine.errors import IndexNotFoundError, NotAnIndexError
from jcb_engine.indexing import segment_build
from jcb_engine.indexing.compressor import CompressedChunk, SegmentCompressor
from jcb_engine.indexing.report import SilentProgress
from jcb_engine.types import RaggedEmbeddings
from tests.conftest import HashingEncoder


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WINDOW_TEXTS", 7)


def documents(count: int) -> list[Document]:
    return [Document(id=str(number), text=f"text number {number}") for number in range(count)]


def test_compressing_and_writing_run_beside_encoding_and_rows_stay_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, set[str]] = {"compress": set(), "write": set()}
    for name in threads:
        step = getattr(SegmentCompressor, name)

        def recorded(compressor: SegmentCompressor, chunk: object, name: str = name, step: Callable = step) -> object:
            threads[name].add(threading.current_thread().name)
            return step(compressor, chunk)

        monkeypatch.setattr(SegmentCompressor, name, recorded)
    with IndexWriter.create(tmp_path / "index", encoder=Encoder(HashingEncoder()), nbits=16) as writer:
        writer.add(documents(200))
    assert [len(names) for names in threads.values()] == [1, 1]
    assert len({threading.current_thread().name, *threads["compress"], *threads["write"]}) == 3
    with Searcher.open(tmp_path / "index", encoder=HashingEncoder()) as searcher:
        for number in (0, 6, 7, 100, 199):
            assert searcher.search(f"number {number}", k=1)[0].id == str(number)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("compress", "write"))]


def test_a_window_is_written_while_the_next_is_compressed_and_another_encoded() -> None:
    beside = {"compress": threading.Event(), "encode": threading.Event()}
    written: list[int] = []

    class Compressor:
        def compress(self, chunk: RaggedEmbeddings) -> CompressedChunk:
            if len(chunk) == 2:
                beside["compress"].set()
            nothing = np.zeros(0, np.float16)
            return CompressedChunk(chunk.offsets, EncodedTokens(nothing, nothing, nothing, nothing), None)

        def write(self, chunk: CompressedChunk) -> None:
            if not written:
                assert all(event.wait(timeout=20) for event in beside.values())
            written.append(len(chunk.offsets) - 1)

    def chunks() -> Iterator[RaggedEmbeddings]:
        for count in (1, 2, 3, 4):
            if count == 3:
                beside["encode"].set()
            yield RaggedEmbeddings(np.zeros((count, 8), np.float32), np.arange(count + 1))

    segment_build._compress(chunks(), Compressor(), SilentProgress())
    assert written == [1, 2, 3, 4]


@pytest.mark.parametrize("step", ["compress", "write"])
def test_an_error_beside_encoding_ends_the_build_and_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    calls = []
    work = getattr(SegmentCompressor, step)

    def failing(compressor: SegmentCompressor, chunk: object) -> object:
        calls.append(chunk)
        if len(calls) == 3:
            raise OSError(28, "No space left on device", "codes.bin")
        return work(compressor, chunk)

    monkeypatch.setattr(SegmentCompressor, step, failing)
    with pytest.raises(OSError, match="No space left"):
        with IndexWriter.create(tmp_path / "index", encoder=Encoder(HashingEncoder())) as writer:
            writer.add(documents(400))
    assert len(calls) <= 4  # at most the window that was waiting
    with pytest.raises((NotAnIndexError, IndexNotFoundError)):
        Searcher.open(tmp_path / "index")


def test_an_error_of_encoding_ends_the_build_and_publishes_nothing(tmp_path: Path) -> None:
    class Failing(HashingEncoder):
        texts = 0

        def encode_document(self, texts: list[str]) -> object:
            self.texts += len(texts)
            if self.texts > 250:
                raise RuntimeError("out of memory")
            return super().encode_document(texts)

    with pytest.raises(RuntimeError, match="out of memory"):
        with IndexWriter.create(tmp_path / "index", encoder=Encoder(Failing())) as writer:
            writer.add(documents(400))
    with pytest.raises((NotAnIndexError, IndexNotFoundError)):
        Searcher.open(tmp_path / "index")


def test_windows_do_not_change_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, texts in (("small", 7), ("large", 4096)):
        monkeypatch.setattr(windows, "WINDOW_TEXTS", texts)
        with IndexWriter.create(tmp_path / name, encoder=Encoder(HashingEncoder())) as writer:
            writer.add(documents(100))
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("segments/*/*.bin")}
        for name in ("small", "large")
    ]
    assert contents[0].keys() == contents[1].keys()
    assert all(contents[0][name] == contents[1][name] for name in contents[0])
    assert np.frombuffer(contents[0]["doc_offsets.bin"][:8], np.int64)[0] == 0
