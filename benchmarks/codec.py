"""The codec beside PLAID's quantile tables: reconstruction error, recall and nDCG per byte, on one set of centroids.

    python -m benchmarks.codec ../shared/data/scifact

Centroids and assignments are the same for both codecs, and every document is scored by fp32 MaxSim over the decoded
vectors: what differs is the compression alone. Recall@10 is of MaxSim over the uncompressed vectors. Bytes per token
are codes, two bytes of centroid id for both, and our two scalars (PLAID has none). The picture needs matplotlib.

Prediction before the first run, from 128 dims: recall .88 / .945 / .985 / .998 at 1 / 2 / 4 / 8 bits beside PLAID's
.83 / .89 / .95 / .985; residual error .5 / .115 / .0095 / .0001 of the residual's energy beside .7 / .25 / .05 / .01.
Fewer dims lose more at 1 bit (each dimension carries more of the score), hardly any at 4 and 8.

Looking back: ours as said, within .01. PLAID's tables came out better, .85 / .91 / .97 / .99, because the centroids
are nearer to the tokens than those of the prediction: smaller residuals matter more to the coarser code.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import (
    Collection,
    best,
    embeddings,
    exact_scores,
    first_dims,
    load_beir,
    ndcg_at_10,
    overlap,
)
from benchmarks.harness import RESULTS, write_result
from benchmarks.plaid_codec import plaid_decoded
from jcb_engine import Encoder, RaggedEmbeddings
from jcb_engine.codec import CentroidAssigner, ResidualCodec, default_centroid_count, train_codec
from jcb_engine.codec.centroids import TOKENS_PER_CENTROID
from jcb_engine.codec.levels import gaussian_levels
from jcb_engine.kernels import CodecArrays, select

K = 10
MODEL = "mini@1"
BLOCK = 65_536  # rows at a time: a second copy of all vectors is never made
ID_BYTES = 2
SCALAR_BYTES = 4
BACKEND = select()


@dataclass(frozen=True)
class Compressed:
    """One set of centroids and assignments, for every codec and bit width."""

    codec: ResidualCodec  # of 2 bits; `arrays` has the others
    ids: np.ndarray  # [T] uint32

    @classmethod
    def of(cls, values: np.ndarray, seed: int) -> Compressed:
        count = default_centroid_count(len(values))
        rows = min(len(values), TOKENS_PER_CENTROID * count)
        sample = values[np.random.default_rng(seed).choice(len(values), rows, replace=False)]
        codec = train_codec(sample, 2, count, seed, BACKEND)
        assigner = CentroidAssigner(codec.arrays.centroids)
        ids = [assigner.assign(codec.rotate(block, BACKEND), BACKEND) for block in blocks(values)]
        return cls(codec, np.concatenate(ids))

    def arrays(self, nbits: int) -> CodecArrays:
        cutoffs, levels = gaussian_levels(nbits)
        return replace(self.codec.arrays, nbits=nbits, cutoffs=cutoffs, levels=levels)

    def unrotated_centroids(self) -> np.ndarray:
        assert self.codec.rotation is not None, "trained with one"
        return np.ascontiguousarray(self.codec.arrays.centroids @ self.codec.rotation.T)

    def decoded(self, values: np.ndarray, nbits: int) -> np.ndarray:
        """values [T, D] through our codec and back into their own basis."""
        arrays, decoded = self.arrays(nbits), np.empty_like(values)
        assert self.codec.rotation is not None, "trained with one"
        for start in range(0, len(values), BLOCK):
            rows = slice(start, start + BLOCK)
            tokens = BACKEND.quantize(self.codec.rotate(values[rows], BACKEND), self.ids[rows], arrays)
            decoded[rows] = BACKEND.dequantize(self.ids[rows], *tokens, arrays) @ self.codec.rotation.T
        return decoded


@dataclass(frozen=True)
class Judge:
    """What a search over decoded vectors is compared with."""

    collection: Collection
    queries: RaggedEmbeddings
    documents: RaggedEmbeddings
    wanted: list[list[str]]  # the best documents of each query by uncompressed MaxSim
    residual_square: float  # mean |r|^2

    def figures(self, decoded: np.ndarray, bytes_per_token: float) -> dict[str, float]:
        error = squared_error(self.documents.values, decoded)
        run = ranked(self.collection, self.queries, RaggedEmbeddings(decoded, self.documents.offsets))
        found = [list(run[name]) for name in self.collection.query_ids]
        return {
            "bytes_per_token": bytes_per_token,
            "squared_error": error,
            "error_of_residual": error / self.residual_square,
            "recall_at_10": overlap(found, self.wanted),
            "ndcg_at_10": ndcg_at_10(run, self.collection.qrels),
        }


def blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    return (values[start : start + BLOCK] for start in range(0, len(values), BLOCK))


def squared_error(values: np.ndarray, decoded: np.ndarray) -> float:
    """Mean |v - v^|^2 over rows."""
    pairs = zip(blocks(values), blocks(decoded), strict=True)
    return float(sum(np.square(left - right).sum(dtype=np.float64) for left, right in pairs) / len(values))


def ranked(
    collection: Collection, queries: RaggedEmbeddings, documents: RaggedEmbeddings
) -> dict[str, dict[str, float]]:
    """The best K documents of every query by fp32 MaxSim over all."""
    scores = BACKEND.maxsim(queries.values, queries.offsets, documents.values, documents.offsets)
    return {name: best(row, collection.document_ids, K) for name, row in zip(collection.query_ids, scores, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv")
    parser.add_argument("--dims", type=int, nargs="+", default=[64, 96, 128])
    parser.add_argument("--nbits", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    collection = load_beir(arguments.folder)
    name = f"codec-{collection.name}"
    settings = {"collection": collection.name, "model": MODEL, "seed": arguments.seed, "k": K}
    documents, queries = embeddings(collection, MODEL, max(arguments.dims))
    figures: dict[str, Any] = {"documents": len(documents), "tokens": len(documents.values), "queries": len(queries)}
    for dim in arguments.dims:
        _check_nested(collection, documents, dim)
        shorter = [first_dims(vectors, dim) for vectors in (documents, queries)]
        figures[f"dim_{dim}"] = _measure(collection, *shorter, arguments.nbits, arguments.seed)
        write_result(name, settings, figures)  # what is done stays, if cut off
    draw(figures, RESULTS / f"{name}.png")


def _check_nested(collection: Collection, documents: RaggedEmbeddings, dim: int) -> None:
    """Encoding with the head of `dim` gives what first_dims gives; one pass through the model serves all dims."""
    encoded = Encoder(MODEL, dim=dim).encode_document(collection.texts[:4])
    cut = first_dims(RaggedEmbeddings(documents.values[: documents.offsets[4]], documents.offsets[:5]), dim)
    np.testing.assert_allclose(cut.values, encoded.values, atol=1e-4)


def _measure(
    collection: Collection, documents: RaggedEmbeddings, queries: RaggedEmbeddings, widths: list[int], seed: int
) -> dict[str, Any]:
    values, dim = documents.values, documents.values.shape[1]
    compressed = Compressed.of(values, seed)
    centroids = compressed.unrotated_centroids()
    on_centroids = centroids[compressed.ids]
    residual_square = squared_error(values, on_centroids)
    del on_centroids
    run = ranked(collection, queries, documents)
    _check_scores(collection, queries, documents, run)
    judge = Judge(collection, queries, documents, [list(run[name]) for name in collection.query_ids], residual_square)
    figures: dict[str, Any] = {
        "centroids": len(centroids),
        "residual_square": residual_square,
        "uncompressed_ndcg_at_10": ndcg_at_10(run, collection.qrels),
    }
    for nbits in widths:
        code_bytes = -(-dim * nbits // 8)
        figures[f"{nbits}_bits"] = {
            "ours": judge.figures(compressed.decoded(values, nbits), code_bytes + ID_BYTES + SCALAR_BYTES),
            "plaid": judge.figures(
                plaid_decoded(values, centroids, compressed.ids, nbits, seed), code_bytes + ID_BYTES
            ),
        }
        print(dim, nbits, figures[f"{nbits}_bits"])
    halves = values.astype(np.float16).astype(np.float32)
    figures["raw"] = judge.figures(halves, 2 * dim + ID_BYTES)
    print(dim, "raw", figures["raw"])
    return figures


def _check_scores(
    collection: Collection, queries: RaggedEmbeddings, documents: RaggedEmbeddings, run: dict[str, dict[str, float]]
) -> None:
    """The kernel that scores has numpy's answers on the first queries."""
    few = RaggedEmbeddings(queries.values[: queries.offsets[3]], queries.offsets[:4])
    for name, row in zip(collection.query_ids, exact_scores(few, documents), strict=False):
        expected = best(row, collection.document_ids, K)
        np.testing.assert_allclose(sorted(run[name].values()), sorted(expected.values()), rtol=1e-5)


def draw(figures: dict[str, Any], path: Path) -> None:
    """recall@10 against bytes per token, a line for each codec and dimension."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    dims = [int(name.removeprefix("dim_")) for name in figures if name.startswith("dim_")]
    for number, dim in enumerate(dims):
        rows = figures[f"dim_{dim}"]
        widths = [name for name in rows if name.endswith("_bits")]
        for codec, style in (("ours", "o-"), ("plaid", "s--")):
            points = [rows[name][codec] for name in widths]
            label = f"{'jcb-engine' if codec == 'ours' else 'PLAID'}, {dim} dims"
            sizes, recalls = ([point[key] for point in points] for key in ("bytes_per_token", "recall_at_10"))
            axes.plot(sizes, recalls, style, color=f"C{number}", label=label)
            if dim == max(dims):
                for name, size, recall in zip(widths, sizes, recalls, strict=True):
                    text = name.replace("_bits", " bit" if name == "1_bits" else " bits")
                    up = codec == "ours"
                    axes.annotate(text, (size, recall), xytext=(0, 7 if up else -13), textcoords="offset points")
    axes.set_xscale("log", base=2)
    axes.margins(x=0.08)  # room for the last label
    axes.set_xticks([16, 32, 64, 128], labels=["16", "32", "64", "128"])
    axes.set(xlabel="bytes per token", ylabel="recall@10 of uncompressed MaxSim")
    axes.set_title(f"Codecs on one set of centroids: {figures['tokens']:,} tokens, {figures['queries']} queries")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    FigureCanvasAgg(figure).print_png(path)


if __name__ == "__main__":
    main()
