"""Does the order of a corpus matter? The same documents shuffled, and sorted by topic.

    python -m benchmarks.topic_order ../shared/data/scifact

Topics are found by k-means over the documents' mean vectors. Prediction: no difference beyond noise, since the sample
that trains the codec is drawn over all documents.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import best, embeddings, exact_scores, load_beir, overlap
from benchmarks.harness import write_result
from jcb_engine import IndexWriter, RaggedEmbeddings, Searcher
from jcb_engine.codec import CentroidAssigner, train_centroids
from jcb_engine.kernels import select

TOPICS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--nbits", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    collection = load_beir(arguments.folder)
    documents, queries = embeddings(collection, "mini@1", arguments.dim)
    truth = [list(best(row, collection.document_ids, 10)) for row in exact_scores(queries, documents)]
    means = np.stack([rows.mean(axis=0) for rows in documents]).astype(np.float32)
    topics = CentroidAssigner(train_centroids(means, TOPICS, arguments.seed, select())).assign(means, select())
    orders = {
        "shuffled": np.random.default_rng(arguments.seed).permutation(len(documents)),
        "sorted_by_topic": np.argsort(topics, kind="stable"),
    }
    figures: dict[str, Any] = {}
    for name, order in orders.items():
        recalls = _recalls(collection.document_ids, documents, queries, truth, order, arguments)
        figures[name] = {"recall_at_10_exact": recalls[0], "recall_at_10_default": recalls[1]}
    figures["loss_exact"] = figures["shuffled"]["recall_at_10_exact"] - figures["sorted_by_topic"]["recall_at_10_exact"]
    figures["loss_default"] = (
        figures["shuffled"]["recall_at_10_default"] - figures["sorted_by_topic"]["recall_at_10_default"]
    )
    print(figures)
    settings = {"collection": collection.name, "model": "mini@1", "topics": TOPICS}
    settings |= {name: getattr(arguments, name) for name in ("dim", "nbits", "seed")}
    write_result(f"topic-order-{collection.name}", settings, figures)


def _recalls(
    ids: list[str],
    documents: RaggedEmbeddings,
    queries: RaggedEmbeddings,
    truth: list[list[str]],
    order: np.ndarray,
    arguments: argparse.Namespace,
) -> tuple[float, float]:
    """recall@10 of uncompressed MaxSim, of exact and of default search."""
    rows = [documents[int(number)] for number in order]
    offsets = np.cumsum([0, *map(len, rows)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        with IndexWriter.create(path, dim=arguments.dim, nbits=arguments.nbits, seed=arguments.seed) as writer:
            writer.add_vectors([ids[int(number)] for number in order], np.concatenate(rows), offsets)
        with Searcher.open(path) as searcher:
            exact, default = (
                [[hit.id for hit in hits] for hits in searcher.search_batch(list(queries), 10, exact=mode)]
                for mode in (True, False)
            )
    return overlap(exact, truth), overlap(default, truth)


if __name__ == "__main__":
    main()
