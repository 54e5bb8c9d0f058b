"""The bounded, seeded sample over the whole corpus that the codec is trained on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

# here, not when first used: an interrupt is lost where it meets numpy in the middle of importing this
from numpy.random import default_rng

from jcb_engine.indexing.scratch import ScratchFile, map_scratch
from jcb_engine.types import AnyArray, Float32Array, Int64Array

_DOCUMENTS_AT_FIRST = 64  # encoded to learn how long documents are, before the size of the sample is settled


def sample_order(documents: int, seed: int) -> Int64Array:
    """A seeded permutation of the document rows [N]: any prefix of it is a sample over all of them.

    The order of the corpus does not matter: one sorted by topic gives as good a sample as a shuffled one.
    """
    return default_rng([seed, documents]).permutation(documents).astype(np.int64)


def documents_needed(documents: int, tokens_so_far: int, documents_so_far: int, wanted_tokens: int) -> int:
    """How many documents of average length hold `wanted_tokens`."""
    average = max(1.0, tokens_so_far / max(1, documents_so_far))
    return min(documents, max(_DOCUMENTS_AT_FIRST, int(np.ceil(wanted_tokens / average))))


def first_documents(documents: int) -> int:
    return min(documents, _DOCUMENTS_AT_FIRST)


class SampleFile:
    """Sampled vectors in a file of the staging folder: what is trained on does not count as memory of the process."""

    def __init__(self, path: Path, dim: int) -> None:
        self._dim = dim
        self._lengths: list[int] = []
        self._file = ScratchFile(path)

    def extend(self, vectors: Iterable[Float32Array]) -> None:
        """Add the vectors [tokens, dim] of more documents."""
        for rows in vectors:
            self._file.append(np.asarray(rows, dtype=np.float32))
            self._lengths.append(len(rows))

    @property
    def tokens(self) -> int:
        return sum(self._lengths)

    @property
    def documents(self) -> int:
        return len(self._lengths)

    @property
    def offsets(self) -> Int64Array:
        """[documents + 1], in the order they came."""
        return np.cumsum([0, *self._lengths], dtype=np.int64)

    def map(self) -> Float32Array:
        """The vectors [S, dim], read-only, in the order they came."""
        self._file.flush()
        return _float32(map_scratch(self._file.path, np.float32, (self.tokens, self._dim)))

    def training_copy(self, path: Path, token_limit: int) -> Float32Array:
        """A writable map of a copy of at most token_limit vectors, for train_codec to normalise and rotate in place."""
        vectors = self.map()[:token_limit]
        copy = ScratchFile(path)
        copy.append(vectors)
        copy.close()
        return _float32(map_scratch(path, np.float32, vectors.shape, writable=True))

    def abandon(self) -> None:
        """Let go of the file; what it holds is no longer needed."""
        self._file.abandon()


def _float32(mapped: AnyArray) -> Float32Array:
    return np.asarray(mapped, dtype=np.float32)
