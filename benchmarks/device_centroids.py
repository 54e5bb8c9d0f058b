"""Centroids as a GPU trains them, beside those of the processor: how near to tokens, and what a search finds.

    python -m benchmarks.device_centroids ../shared/data/scifact [--centroids 4096] [--index] [--starts]

No GPU is needed, and nothing is timed: torch does on the processor what the Triton programs do, operands rounded to
fp16, so that quality is theirs. --starts compares ways to draw the first centroids; --index builds an index with either
centroids and searches it.

Prediction: no farther from tokens than two levels and polishing, and recall the same within noise (.005). Looking back
(scifact, 4,096 centroids, 2 bits): .6 % nearer; recall@10 .9387 instead of .9397 by exact search, and .9353 instead of
.9357 by default.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.corpora import best, embeddings, exact_scores, load_beir, overlap
from benchmarks.harness import write_result
from jcb_engine import IndexWriter, RaggedEmbeddings, Searcher
from jcb_engine.codec import train_centroids
from jcb_engine.codec.centroids import TOKENS_PER_CENTROID
from jcb_engine.codec.held_kmeans import ITERATIONS, ROUNDS, kmeans_of_held, means_of
from jcb_engine.kernels import CodecArrays
from jcb_engine.kernels.cpu import CpuBackend

OTHER_TOKENS = 60_000  # of documents that the sample has none of
_ROWS_AT_ONCE = 4_096


class AsOnGpu(CpuBackend):
    """Compares with all centroids, in fp16 operands, as TritonBackend does."""

    def nearest(self, vectors: np.ndarray, centroids: np.ndarray) -> np.ndarray:
        columns = torch.from_numpy(centroids).half().float()
        offsets = -0.5 * columns.double().square().sum(dim=1).float()
        ids = np.empty(len(vectors), dtype=np.uint32)
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            rows = torch.from_numpy(vectors[start : start + _ROWS_AT_ONCE]).half().float()
            ids[start : start + len(rows)] = torch.addmm(offsets, rows, columns.T).argmax(dim=1).numpy()
        return ids

    def hold(self, vectors: np.ndarray) -> Held:
        return Held(self, vectors)

    def encode(self, vectors: np.ndarray, codec: CodecArrays) -> tuple[np.ndarray, ...]:
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = self.nearest(vectors / np.maximum(norms, np.finfo(np.float32).tiny), codec.centroids)
        return ids, *self.quantize(vectors, ids, codec)


class Held:
    """HeldVectors in host memory."""

    def __init__(self, backend: AsOnGpu, vectors: np.ndarray) -> None:
        self._backend, self._vectors = backend, vectors

    def means(self, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ids = self._backend.nearest(self._vectors, centroids)
        return means_of(self._vectors, ids, len(centroids)), ids

    def squared_distances(self, centroids: np.ndarray) -> np.ndarray:
        return np.square(self._vectors - centroids[self._backend.nearest(self._vectors, centroids)]).sum(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device_centroids",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--centroids", type=int, default=4_096)
    parser.add_argument("--nbits", type=int, default=2)
    parser.add_argument("--starts", action="store_true")
    parser.add_argument("--index", action="store_true")
    arguments = parser.parse_args()
    collection = load_beir(arguments.folder)
    documents, queries = embeddings(collection, "mini@1", arguments.dim)
    sample, others = _parted(documents, TOKENS_PER_CENTROID * arguments.centroids)
    figures: dict[str, Any] = {"sample": len(sample)}
    processor, device = CpuBackend(), AsOnGpu()
    trained = {"processor": train_centroids(sample, arguments.centroids, 0, processor)}
    starts = {f"{ROUNDS} rounds, {ITERATIONS} iterations": (ROUNDS, ITERATIONS)}
    if arguments.starts:
        starts |= {f"random, {iterations} iterations": (1, iterations) for iterations in (ITERATIONS, 3 * ITERATIONS)}
        starts |= {f"{ROUNDS} rounds, {2 * ITERATIONS} iterations": (ROUNDS, 2 * ITERATIONS)}
    for name, (rounds, iterations) in starts.items():
        held = device.hold(sample)
        trained[f"device: {name}"] = kmeans_of_held(
            held, sample, arguments.centroids, 0, rounds=rounds, iterations=iterations
        )
        _report(figures, device, trained, others)
    if arguments.index:
        truth = [list(best(row, collection.document_ids, 10)) for row in exact_scores(queries, documents)]
        for name, backend in (("processor", processor), ("device", device)):
            figures[f"index: {name}"] = _recalls(collection.document_ids, documents, queries, truth, backend, arguments)
            print(name, figures[f"index: {name}"])
    settings = {"collection": collection.name, "model": "mini@1", "seed": 0, "others": len(others)}
    settings |= {name: getattr(arguments, name) for name in ("dim", "centroids", "nbits")}
    write_result(f"device-centroids-{collection.name}-{arguments.centroids}", settings, figures)


def _parted(documents: RaggedEmbeddings, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """A sample of so many tokens, and tokens of other documents."""
    order = np.random.default_rng(0).permutation(len(documents))
    lengths = np.diff(documents.offsets)[order]
    taken = int(np.searchsorted(np.cumsum(lengths), wanted)) + 1
    sample, others = (
        np.concatenate([documents[int(number)] for number in part]) for part in (order[:taken], order[taken:])
    )
    return sample[:wanted], others[:OTHER_TOKENS]


def _report(figures: dict[str, Any], backend: AsOnGpu, trained: dict[str, np.ndarray], others: np.ndarray) -> None:
    """Of what is new: mean squared distance of other tokens, and how unlike lists are in length (1: all alike)."""
    for name, centroids in trained.items():
        if name not in figures:
            ids = backend.nearest(others, centroids)
            shares = np.bincount(ids, minlength=len(centroids)) / len(ids)
            figures[name] = {
                "mean_squared_distance": float(np.square(others - centroids[ids]).sum(axis=1).mean()),
                "imbalance": float(np.square(shares).sum() * len(centroids)),
            }
            print(name, figures[name], flush=True)


def _recalls(
    ids: list[str],
    documents: RaggedEmbeddings,
    queries: RaggedEmbeddings,
    truth: list[list[str]],
    backend: CpuBackend,
    arguments: argparse.Namespace,
) -> dict[str, float]:
    """recall@10 of uncompressed MaxSim, of exact and of default search."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        options = {"nbits": arguments.nbits, "centroids": arguments.centroids}
        with IndexWriter.create(path, dim=arguments.dim, **options) as writer:
            writer._backend = backend  # no device has this one
            writer.add_vectors(ids, documents.values, documents.offsets)
        with Searcher.open(path, backend="cpu") as searcher:
            exact, default = (
                [[hit.id for hit in hits] for hits in searcher.search_batch(list(queries), 10, exact=mode)]
                for mode in (True, False)
            )
    return {
        "recall_at_10_exact": overlap(exact, truth),
        "recall_at_10_default": overlap(default, truth),
        "default_of_exact": overlap(default, exact),
    }


if __name__ == "__main__":
    main()
