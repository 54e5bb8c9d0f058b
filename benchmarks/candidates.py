"""First stages compared: centroid probing through several FAISS factory strings, and MUVERA's encodings.

    python -m benchmarks.candidates ../shared/data/scifact

All over the same vectors, codec, seed and settings, through `Searcher`, so that each stage pays for what it needs: for
every one recall@10 of exact search on the same index, median milliseconds of a single query, what the index holds for
it on disk, and how long the first search takes, in which FAISS makes its index anew.

Prediction (scifact, 5,183 documents, 1.24 M tokens, 8,192 centroids): the table of centroid scores is needed for MaxSim
in any case, so whatever FAISS searches instead of it comes on top: HNSW32 .3 ms for 23 query tokens, with some of the
nearest missed; IVF about the same; both lose at this size. With 65,536 centroids picking from the table costs .5 ms,
and HNSW could win. MUVERA: 5,120 values of 5,183 documents are 106 MB in float32, read once for a query: 10 ms at 10
GB/s, ten times the postings; its published recall needs pools of hundreds, where postings find .98 with 64.

Looking back (2 cores with AVX-512): through all of them postings find the same, to .001. Flat 1.8 ms at .970, 2.7 at
.997; HNSW32 the same within the noise; IVF128 .5 ms more, SQ8 2.5. MUVERA's defaults (53 MB in fp16) .980 with 256
candidates in 13.3 ms and .996 with 512 in 13.6; 40 repetitions (106 MB) .992 and .999 in 22; 5 bits of SimHash, as many
bytes, .987 and .996: repetitions are the better use of them. Half the bytes, by projections to 8 dimensions or 2,560 in
the end, are .961 in 5 to 6 ms. HNSW32 over the encodings takes 3.5 s to make and stops at .86 whatever is reranked. So
centroids are the default, and Flat.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import Collection, embeddings, load_beir, overlap
from benchmarks.harness import Times, write_result
from jcb_engine import IndexWriter, RaggedEmbeddings, Searcher
from jcb_engine.indexing import MuveraOptions

K = 10
CENTROID_FACTORIES = ("Flat", "HNSW32", "IVF128,Flat", "SQ8")
MUVERA = (
    MuveraOptions(),
    MuveraOptions(repetitions=40),
    MuveraOptions(simhash_bits=5),
    MuveraOptions(projection_dim=8),
    MuveraOptions(final_dim=2_560),
    MuveraOptions(factory="HNSW32"),
)
SETTINGS = [(4, 64), (8, 64), (16, 64), (16, 128), (16, 256), (32, 512)]  # probes, candidates
WIDTHS = [64, 128, 256, 512]  # candidates of stages without probes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a BEIR folder; its test queries are encoded by mini@1")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--nbits", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    collection = load_beir(arguments.folder)
    documents, queries = embeddings(collection, "mini@1", arguments.dim)
    settings = {"collection": collection.name, "model": "mini@1", "k": K}
    settings |= {name: getattr(arguments, name) for name in ("dim", "nbits", "runs", "seed")}
    rows: list[dict[str, Any]] = []
    for options in _stages():
        rows.append(_measured(options, collection, documents, list(queries), arguments))
        print(rows[-1])
        write_result(f"candidates-{collection.name}", settings, {"stages": rows})  # what is done stays, if cut off


def _stages() -> list[dict[str, Any]]:
    """Options of an index for each stage."""
    return [{"faiss_factory": factory} for factory in CENTROID_FACTORIES] + [{"muvera": options} for options in MUVERA]


def _measured(
    options: dict[str, Any],
    collection: Collection,
    documents: RaggedEmbeddings,
    queries: list[np.ndarray],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        began = time.perf_counter()
        with IndexWriter.create(
            path, dim=arguments.dim, nbits=arguments.nbits, seed=arguments.seed, **options
        ) as writer:
            writer.add_vectors(collection.document_ids, documents.values, documents.offsets)
        built = time.perf_counter() - began
        files = {file.stem: file.stat().st_size for file in path.glob("segments/*/*")}
        with Searcher.open(path) as searcher:
            began = time.perf_counter()
            searcher.search(queries[0], K)
            first = time.perf_counter() - began
            exact = [[hit.id for hit in hits] for hits in searcher.search_batch(queries, K, exact=True)]
            widths: list[dict[str, int]] = [{"candidates": candidates} for candidates in WIDTHS]
            if "muvera" not in options:
                widths = [{"probes": probes, "candidates": candidates} for probes, candidates in SETTINGS]
            return {
                **{name: value if isinstance(value, str) else asdict(value) for name, value in options.items()},
                "backend": searcher.backend,
                "build_seconds": built,
                "first_search_seconds": first,
                "bytes": {name: size for name, size in files.items() if name.startswith(("posting", "encodings"))},
                "settings": [_searched(searcher, queries, width, exact, arguments.runs) for width in widths],
            }


def _searched(
    searcher: Searcher, queries: list[np.ndarray], width: dict[str, int], exact: list[list[str]], runs: int
) -> dict[str, Any]:
    found = [[hit.id for hit in searcher.search(query, K, **width)] for query in queries]
    seconds = []
    for _ in range(runs):
        for query in queries:
            began = time.perf_counter()
            searcher.search(query, K, **width)
            seconds.append(time.perf_counter() - began)
    return {**width, "recall_at_10_of_exact": overlap(found, exact), "seconds": Times.of(seconds)}


if __name__ == "__main__":
    main()
