from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jcb_engine import IndexWriter, Searcher
from tests.conftest import random_embeddings

DOCUMENTS, DIM = 900, 32


@pytest.fixture(scope="session")
def corpus() -> tuple[np.ndarray, np.ndarray]:
    """Vectors [T, 32] and offsets [901]."""
    return random_embeddings(DOCUMENTS, DIM, seed=11)


@pytest.fixture(scope="session")
def index_path(corpus: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """900 documents of up to 39 vectors, 4 bits; ids d000 to d899."""
    path = tmp_path_factory.mktemp("index") / "index"
    values, offsets = corpus
    with IndexWriter.create(path, dim=DIM, nbits=4, centroids=256) as writer:
        writer.add_vectors([f"d{number:03}" for number in range(DOCUMENTS)], values, offsets)
    return path


@pytest.fixture
def searcher(index_path: Path) -> Iterator[Searcher]:
    with Searcher.open(index_path) as opened:
        yield opened


def query_vectors(tokens: int = 8, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng([seed, 77]).standard_normal((tokens, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
