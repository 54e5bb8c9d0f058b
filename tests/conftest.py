"""Fixtures that several packages share: a tiny encoder, small corpora, and the data folder where there is one."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

# Triton reads it when it is first imported, and torch may import it: so it is set before anything. benchmarks/gpu.sh,
# which runs the tests that need a GPU, sets 0.
os.environ.setdefault("TRITON_INTERPRET", "1")

import numpy as np
import pytest

from jcb_engine.types import RaggedEmbeddings

_DATA_VARIABLE = "JCB_TEST_DATA"


class HashingEncoder:
    """A deterministic encoder without a model: every word has a random unit vector, so equal words match exactly."""

    def __init__(self, dim: int = 32) -> None:
        self.dim = dim
        self.name = f"hashing-{dim}"
        self._known: dict[str, np.ndarray] = {}

    def encode_query(self, texts: list[str]) -> RaggedEmbeddings:
        return self._encode(texts)

    def encode_document(self, texts: list[str]) -> RaggedEmbeddings:
        return self._encode(texts)

    def _encode(self, texts: list[str]) -> RaggedEmbeddings:
        words = [text.lower().split() for text in texts]
        vectors = [self._vector(word) for text in words for word in text]
        values = np.array(vectors, dtype=np.float32).reshape(-1, self.dim)
        return RaggedEmbeddings(values, np.cumsum([0, *map(len, words)], dtype=np.int64))

    def _vector(self, word: str) -> np.ndarray:
        if word not in self._known:
            self._known[word] = self._drawn(word)
        return self._known[word]

    def _drawn(self, word: str) -> np.ndarray:
        seed = int.from_bytes(word.encode()[:32].ljust(32, b"\0"), "little")
        vector = np.random.default_rng(seed).standard_normal(self.dim)
        return vector / np.linalg.norm(vector)


@pytest.fixture
def hashing_encoder() -> HashingEncoder:
    return HashingEncoder()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real test collections; tests that need it skip where it is absent."""
    folder = Path(os.environ.get(_DATA_VARIABLE, Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test collections here; set {_DATA_VARIABLE} to a folder that has them")
    return folder


def random_embeddings(documents: int, dim: int, seed: int = 0, longest: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors [tokens, dim] float32 around topics, and offsets [documents + 1]; some documents are empty."""
    random = np.random.default_rng(seed)
    lengths = random.integers(0, longest, documents)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    topics = random.standard_normal((64, dim))
    values = topics[random.integers(0, 64, offsets[-1])] + 0.7 * random.standard_normal((offsets[-1], dim))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float32), offsets


def brute_force(query: np.ndarray, values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """MaxSim of one query [Q, D] with every document, in float64 numpy; -inf for an empty one."""
    similarities = values.astype(np.float64) @ query.astype(np.float64).T
    return np.array(
        [
            similarities[first:last].max(axis=0).sum() if last > first else -np.inf
            for first, last in itertools.pairwise(offsets)
        ]
    )
