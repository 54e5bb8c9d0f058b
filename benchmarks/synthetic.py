"""Large corpora out of a small real one: made window by window from a seed, never stored as a whole.

A document is four snippets of real documents on one topic: its first source is drawn at random, the other three among
the 32 documents whose mean vectors are nearest to it; of each source it takes about 28 neighbouring tokens. Then every
token vector c + r, where c is the nearest of the centroids of the real vectors, becomes c + .8 r + .6 s, normalised:
s is the residual of another real token of the same centroid. As r and s are residuals of one cluster, and .8**2 + .6**2
is 1, their mixture has the size and the directions that residuals have there; and no document comes twice.
`likeness` reports how far that holds: residual norms, and how near the nearest other document is.

Window w of a seed is always the same, so that a corpus of 50,000 documents begins with the one of 10,000.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.corpora import CACHE
from jcb_engine import RaggedEmbeddings
from jcb_engine.codec import CentroidAssigner, train_centroids
from jcb_engine.indexing.vector_stream import VectorBatch
from jcb_engine.kernels import Backend, select
from jcb_engine.types import Float32Array, Int64Array, Uint32Array

SNIPPETS, NEIGHBOURS = 4, 32
SNIPPET_TOKENS = (25, 32)  # from, to (exclusive): documents of 100 to 124 tokens, 112 on average
MEAN_TOKENS = SNIPPETS * (sum(SNIPPET_TOKENS) - 1) / 2
WINDOW_DOCUMENTS = 512
OWN_SHARE, OTHER_SHARE = np.float32(0.8), np.float32(0.6)
NEAR_DUPLICATE = 0.95  # mean over a document's tokens of the best cosine in another document


class RealTokens:
    """Token vectors of real documents, each with its centroid and its residual, and the topics of documents."""

    def __init__(self, documents: RaggedEmbeddings, centroid_count: int, seed: int = 0) -> None:
        self.offsets: Int64Array = documents.offsets
        values = np.asarray(documents.values, dtype=np.float32)
        self.values: Float32Array = values
        self.centroids, self.centroid_of_token = _clustered(values, centroid_count, seed)
        # The tokens of one centroid lie beside each other in `by_centroid`.
        self.by_centroid = np.argsort(self.centroid_of_token, kind="stable")
        sizes = np.bincount(self.centroid_of_token, minlength=len(self.centroids))
        self.cluster_offsets: Int64Array = np.concatenate([[0], np.cumsum(sizes)])
        self.long_documents = np.flatnonzero(np.diff(self.offsets) >= SNIPPET_TOKENS[1])
        self.neighbours = self._neighbours()

    def _neighbours(self) -> Int64Array:
        """[long documents, NEIGHBOURS]: the real documents whose mean vectors are nearest, themselves left out."""
        means = np.add.reduceat(self.values, np.minimum(self.offsets[:-1], len(self.values) - 1))[self.long_documents]
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        similarities = means @ means.T
        np.fill_diagonal(similarities, -np.inf)
        nearest = np.argpartition(-similarities, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        return np.asarray(self.long_documents[nearest], dtype=np.int64)

    def mixed(self, tokens: Int64Array, random: np.random.Generator) -> Float32Array:
        """[tokens, D]: each of these tokens with a share of the residual of another token of its centroid."""
        homes = self.centroid_of_token[tokens]
        sizes = np.diff(self.cluster_offsets)[homes]
        places = self.cluster_offsets[homes] + (random.random(len(tokens)) * sizes).astype(np.int64)
        centroids = self.centroids[homes]
        own, other = self.values[tokens] - centroids, self.values[self.by_centroid[places]] - centroids
        vectors = centroids + OWN_SHARE * own + OTHER_SHARE * other
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def snippets(self, sources: Int64Array, lengths: Int64Array, random: np.random.Generator) -> Int64Array:
        """Numbers of the tokens of one run of each length out of each source, laid end to end."""
        room = np.diff(self.offsets)[sources] - lengths + 1
        starts = self.offsets[sources] + (random.random(len(sources)) * room).astype(np.int64)
        ends = np.cumsum(lengths)
        return np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)


class SyntheticCorpus:
    """`documents` documents of one seed, as batches that can be read as often as one likes."""

    def __init__(self, real: RealTokens, documents: int, seed: int) -> None:
        self.real, self.documents, self.seed = real, documents, seed

    def __iter__(self) -> Iterator[VectorBatch]:
        for window in range(-(-self.documents // WINDOW_DOCUMENTS)):
            first = window * WINDOW_DOCUMENTS
            yield self.window(window, min(WINDOW_DOCUMENTS, self.documents - first))

    def window(self, number: int, count: int) -> VectorBatch:
        """The first `count` documents of a window: their ids, vectors and offsets."""
        real, random = self.real, np.random.default_rng([self.seed, number])
        topics = random.integers(len(real.long_documents), size=WINDOW_DOCUMENTS)
        others = real.neighbours[topics[:, None], random.integers(NEIGHBOURS, size=(WINDOW_DOCUMENTS, SNIPPETS - 1))]
        sources = np.concatenate([real.long_documents[topics][:, None], others], axis=1)
        lengths = random.integers(*SNIPPET_TOKENS, size=sources.shape)
        values = real.mixed(real.snippets(sources.ravel(), lengths.ravel(), random), random)
        offsets = np.concatenate([[0], np.cumsum(lengths.sum(axis=1))])[: count + 1]
        ids = [str(number * WINDOW_DOCUMENTS + place) for place in range(count)]
        return ids, values[: offsets[-1]], offsets

    def embeddings(self) -> RaggedEmbeddings:
        """All of a small corpus at once."""
        parts = list(self)
        lengths = np.concatenate([np.diff(offsets) for _, _, offsets in parts])
        values = np.concatenate([np.asarray(values, dtype=np.float32) for _, values, _ in parts])
        return RaggedEmbeddings(values, np.concatenate([[0], np.cumsum(lengths)]))


def passages(real: RealTokens, count: int, tokens: int, seed: int) -> list[Float32Array]:
    """Queries [tokens, D]: runs of unmixed tokens of real documents."""
    random = np.random.default_rng([seed, count, tokens])
    long = np.flatnonzero(np.diff(real.offsets) >= tokens)
    sources = random.choice(long, count)
    numbers = real.snippets(sources, np.full(count, tokens), random)
    return [real.values[numbers[i * tokens : (i + 1) * tokens]] for i in range(count)]


def likeness(real: RealTokens, seed: int, documents: int = 2_000, looked_at: int = 40) -> dict[str, Any]:
    """How a synthetic corpus compares with passages of the same lengths, cut from the real documents."""
    corpus = SyntheticCorpus(real, documents, seed).embeddings()
    cut = _cut(real, documents, seed)
    hashes = {hashlib.blake2b(rows.tobytes(), digest_size=16).digest() for rows in corpus}
    return {
        "documents": documents,
        "exact_duplicates": len(corpus) - len(hashes),
        "synthetic": _described(corpus, real, looked_at),
        "real": _described(cut, real, looked_at),
    }


def _cut(real: RealTokens, documents: int, seed: int) -> RaggedEmbeddings:
    """A run of 112 tokens out of each of so many different real documents, as far as there are that many."""
    random, tokens = np.random.default_rng([seed, documents]), round(MEAN_TOKENS)
    long = np.flatnonzero(np.diff(real.offsets) >= tokens)
    sources = random.permutation(long)[:documents]
    numbers = real.snippets(sources, np.full(len(sources), tokens), random)
    return RaggedEmbeddings(real.values[numbers], np.arange(len(sources) + 1) * tokens)


def _described(corpus: RaggedEmbeddings, real: RealTokens, looked_at: int) -> dict[str, Any]:
    backend = select()
    homes = CentroidAssigner(real.centroids).assign(corpus.values, backend)
    residuals = np.linalg.norm(corpus.values - real.centroids[homes], axis=1)
    nearest = _nearest_other(corpus, looked_at, backend)
    return {
        "tokens_per_document": float(np.diff(corpus.offsets).mean()),
        "residual_norm_percentiles_5_25_50_75_95": np.percentile(residuals, [5, 25, 50, 75, 95]).round(4).tolist(),
        "nearest_other_percentiles_50_95": np.percentile(nearest, [50, 95]).round(4).tolist(),
        "near_duplicates": float((nearest >= NEAR_DUPLICATE).mean()),
    }


def _nearest_other(corpus: RaggedEmbeddings, looked_at: int, backend: Backend) -> Float32Array:
    """For the first documents: MaxSim of a document with the most similar other one, over its number of tokens."""
    count = min(looked_at, len(corpus))
    offsets = corpus.offsets[: count + 1]
    scores = backend.maxsim(corpus.values[: offsets[-1]], offsets, corpus.values, corpus.offsets)
    scores[np.arange(count), np.arange(count)] = -np.inf
    return np.asarray(scores.max(axis=1) / np.diff(offsets), dtype=np.float32)


def _clustered(values: Float32Array, count: int, seed: int) -> tuple[Float32Array, Uint32Array]:
    """Centroids of the real vectors and the nearest one of each; kept on disk, since they take a minute."""
    key = hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=8)
    path = CACHE / f"clusters-{count}-{seed}-{key.hexdigest()}.npz"
    if not path.exists():
        random = np.random.default_rng(seed)
        sample = values[random.permutation(len(values))[: 32 * count]]
        centroids = train_centroids(np.ascontiguousarray(sample), count, seed, select())
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, centroids=centroids, homes=CentroidAssigner(centroids).assign(values, select()))
    with np.load(path) as arrays:
        return arrays["centroids"], arrays["homes"]
