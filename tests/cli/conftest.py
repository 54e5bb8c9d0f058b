"""A command run in this process, and a deterministic encoder that cuts long texts in the place of models."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from jcb_engine.cli import index, search
from jcb_engine.encoder import encoder as encoder_module
from jcb_engine.encoder.objects import ObjectModel
from jcb_engine.errors import BackendUnavailableError
from jcb_engine.kernels import select
from jcb_engine.types import RaggedEmbeddings

DIM = 32
QUERY_LENGTH = 8


class CuttingEncoder:
    """A word's vector depends on the word alone. Words beyond `length` are cut; words with a digit are unknown."""

    def __init__(self, document_length: int = 50) -> None:
        self._document_length = document_length

    def encode_query(self, texts: list[str]) -> RaggedEmbeddings:
        return self._encode(texts, QUERY_LENGTH)

    def encode_document(self, texts: list[str]) -> RaggedEmbeddings:
        return self._encode(texts, self._document_length)

    def _encode(self, texts: list[str], length: int) -> RaggedEmbeddings:
        words = [re.findall(r"\w+", text.lower()) for text in texts]
        kept = [found[:length] for found in words]
        vectors = [_vector(word) for found in kept for word in found]
        return RaggedEmbeddings(
            np.array(vectors, dtype=np.float32).reshape(-1, DIM),
            np.cumsum([0, *map(len, kept)], dtype=np.int64),
            tokens_cut=np.array([len(all_) - len(part) for all_, part in zip(words, kept, strict=True)], np.int64),
            unknown_tokens=np.array([sum(not word.isalpha() for word in part) for part in kept], np.int64),
        )


def _vector(word: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    vector = np.random.default_rng(zlib.crc32(word.encode())).standard_normal(DIM)
    return vector / np.linalg.norm(vector)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def jcb_index(capfd: pytest.CaptureFixture[str], cutting_model: None) -> Command:
    """`jcb-index` with the cutting encoder as its model."""

    def run(*arguments: object) -> Outcome:
        code = index.main([str(argument) for argument in arguments])
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def jcb_search(capfd: pytest.CaptureFixture[str], cutting_model: None) -> Command:
    """`jcb-search` with the cutting encoder as its model."""

    def run(*arguments: object) -> Outcome:
        code = search.main([str(argument) for argument in arguments])
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def cutting_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model, by name or by record, is the cutting encoder; the kernels are the native ones where they run."""
    monkeypatch.setattr(
        encoder_module, "load_model", lambda name, dim, options, access: ObjectModel(CuttingEncoder(), dim)
    )
    monkeypatch.setattr(encoder_module, "load_record", lambda record, access: ObjectModel(CuttingEncoder(), record.dim))
    monkeypatch.setenv("JCB_BACKEND", _backend())


@cache
def _backend() -> str:
    """Named, so that no warning about an automatic choice stands among the output."""
    try:
        select("cpu")
    except BackendUnavailableError:
        return "reference"
    return "cpu"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twelve documents in JSON lines; `animals` is in one of them only."""
    path = tmp_path / "corpus.jsonl"
    topics = ["rivers and lakes", "wild animals", "old stone bridges", "printing of books"]
    lines = [
        f'{{"_id": "d{number}", "title": "Page {chr(97 + number % 26)}", '
        f'"text": "about {topics[number % 4] if number < 4 else topics[2]} item", "number": {number}}}'
        for number in range(12)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def built(corpus: Path, tmp_path: Path, jcb_index: Command) -> Path:
    """An index of the corpus."""
    path = tmp_path / "index"
    outcome = jcb_index("build", corpus, path, "--centroids", 16, "--quiet")
    assert outcome == Outcome(0, "", "")
    return path
