"""Quality and latency of search on a BEIR collection: recall against exact MaxSim, nDCG, milliseconds, bytes per token.

    python -m benchmarks.search ../shared/data/scifact

Prediction before the first run (2 cores with AVX2, 1.24 M tokens, 128 dims, 20 query tokens): coarse search over 8,192
centroids 8,192 * 20 * 128 = 21 MFLOP twice (FAISS, and our own table), 1 ms; postings 32 * 20 lists of about 120
documents, .2 ms; MaxSim of 512 documents of 240 tokens, 123k tokens at 60 (2 bits) or 34 (4 bits) Mtoken/s a core, 1 to
2 ms; fp32 again for some tens of documents, .5 ms. Together 3 to 4 ms.

Looking back: 12 ms at first. The kernels took about what was said; the rest was FAISS (3 ms: its products are made by a
BLAS whose threads must wake), numpy's BLAS threads, which went on spinning on the second core through the whole search
after they had rotated the query (45 % of the processor time), and fp32 scores for twice as many documents as need be.
Without these, with 320 instead of 512 documents and fixed-length loops: 6 ms at 2 bits and 7.5 at 4 (see latency.py).
In a calm minute it was 4.4 at 2 bits, a little above the prediction; otherwise the two processors share one core.

Then 16 instead of 32 probes, and a pool of 640 documents narrowed to 256 by centroid-only MaxSim: predicted 4.0 ms at 4
bits, measured 4.7 (4.2 at 2 bits) in latency.py's rounds, .998 of exact search. Results of this benchmark that are
older have the defaults before that.

Machines at hand are shared: a Python loop that does nothing else takes 10 to 20 ms, changing from second to second.
`undisturbed_median` is therefore given beside the plain median: over queries, of the fastest run of each.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import Collection, best, embeddings, exact_scores, load_beir, ndcg_at_10, overlap
from benchmarks.harness import Times, timed, write_result
from benchmarks.plaid_codec import plaid_decoded
from jcb_engine import IndexWriter, RaggedEmbeddings, Searcher
from jcb_engine.codec import CentroidAssigner
from jcb_engine.kernels import select
from jcb_engine.search.stored_vectors import load_codec
from jcb_engine.storage import Snapshot

K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--nbits", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()

    collection = load_beir(arguments.folder)
    documents, queries = embeddings(collection, "mini@1", arguments.dim)
    truth = exact_scores(queries, documents)
    uncompressed = {
        name: best(row, collection.document_ids, K) for name, row in zip(collection.query_ids, truth, strict=True)
    }
    figures: dict[str, Any] = {
        "documents": len(documents),
        "tokens": len(documents.values),
        "queries": len(queries),
        "query_tokens_mean": float(np.diff(queries.offsets).mean()),
        "uncompressed_ndcg_at_10": ndcg_at_10(uncompressed, collection.qrels),
    }
    print(figures)
    settings = {"collection": collection.name, "model": "mini@1", "dim": arguments.dim, "seed": arguments.seed, "k": K}
    for nbits in arguments.nbits:
        figures[f"nbits_{nbits}"] = _measure(collection, documents, queries, uncompressed, nbits, arguments)
        print(nbits, figures[f"nbits_{nbits}"])
        write_result(f"search-{collection.name}-{arguments.dim}", settings, figures)  # what is done stays, if cut off


def _measure(
    collection: Collection,
    documents: RaggedEmbeddings,
    queries: RaggedEmbeddings,
    uncompressed: dict[str, dict[str, float]],
    nbits: int,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        began = time.perf_counter()
        with IndexWriter.create(path, dim=arguments.dim, nbits=nbits, seed=arguments.seed) as writer:
            writer.add_vectors(collection.document_ids, documents.values, documents.offsets)
        build_seconds = time.perf_counter() - began
        opened = timed(lambda: Searcher.open(path).close(), 5)
        with Searcher.open(path) as searcher:
            info = searcher.info()
            figures: dict[str, Any] = {
                "backend": searcher.backend,
                "centroids": info.centroids,
                "bytes_per_token": info.bytes_per_token,
                "build_tokens_per_second": len(documents.values) / build_seconds,
                "open_seconds": opened,
            }
            wanted = [list(uncompressed[name]) for name in collection.query_ids]
            runs = {}
            for mode in ("default", "exact"):
                runs[mode] = _searched(searcher, list(queries), mode == "exact", arguments.runs)
                answers, times, undisturbed = runs[mode]
                ids = [list(answer) for answer in answers]
                figures[mode] = {
                    "seconds": times,
                    "undisturbed_median": undisturbed,
                    "recall_at_10_of_uncompressed": overlap(ids, wanted),
                    "ndcg_at_10": ndcg_at_10(dict(zip(collection.query_ids, answers, strict=True)), collection.qrels),
                }
            figures["default"]["recall_at_10_of_exact"] = overlap(
                [list(answer) for answer in runs["default"][0]], [list(answer) for answer in runs["exact"][0]]
            )
        if nbits < 16:
            figures["plaid_codec_recall_at_10_of_uncompressed"] = _plaid_recall(
                path, collection, documents, queries, wanted, nbits, arguments.seed
            )
    return figures


def _searched(
    searcher: Searcher, queries: list[np.ndarray], exact: bool, runs: int
) -> tuple[list[dict[str, float]], Times, float]:
    """Answers {id: score}, the time of a query with vectors given over all queries and runs, and undisturbed_median."""
    answers = [{hit.id: hit.score for hit in searcher.search(query, K, exact=exact)} for query in queries]
    seconds = np.zeros((runs, len(queries)))
    gc.collect()
    for run in range(runs):
        for number, query in enumerate(queries):
            began = time.perf_counter()
            searcher.search(query, K, exact=exact)
            seconds[run, number] = time.perf_counter() - began
    return answers, Times.of(seconds.ravel().tolist()), float(np.median(seconds.min(axis=0)))


def _plaid_recall(
    path: Path,
    collection: Collection,
    documents: RaggedEmbeddings,
    queries: RaggedEmbeddings,
    wanted: list[list[str]],
    nbits: int,
    seed: int,
) -> float:
    """What PLAID's quantile tables reach over the very same centroids."""
    with Snapshot.open(path) as snapshot:
        codec = load_codec(snapshot)
        rotation = codec.rotation if codec.rotation is not None else np.eye(codec.dim, dtype=np.float32)
        centroids = np.ascontiguousarray(codec.arrays.centroids @ rotation.T)
    ids = CentroidAssigner(centroids).assign(documents.values, select())
    decoded = plaid_decoded(documents.values, centroids, ids, nbits, seed)
    scores = exact_scores(queries, RaggedEmbeddings(decoded, documents.offsets))
    return overlap([list(best(row, collection.document_ids, K)) for row in scores], wanted)


if __name__ == "__main__":
    main()
