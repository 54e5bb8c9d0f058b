"""Peak memory of building from vectors: does it grow with the corpus?

    python -m benchmarks.memory --documents 100000

Builds an index of random vectors (documents of 100 tokens), once with a quarter of the documents and once with all,
each in a process of its own, and reports the highest RssAnon (memory of the process, file cache apart) and
ru_maxrss. Quality beside it: recall@10 of default search against exact search over the larger index.

Prediction: what grows is K * dim (8,192 to 16,384 centroids of 512 bytes, held by FAISS and by us) and 8 + 16 bytes per
document; the sample, the spool and the postings are files. 20 MB on top of some 300, below 10 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import overlap
from benchmarks.harness import watched, write_result
from jcb_engine import IndexWriter, Searcher

TOKENS_PER_DOCUMENT, CHUNK_DOCUMENTS = 100, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--nbits", type=int, default=2)
    parser.add_argument("--centroids", type=int, default=None, help="default: as many as the index would take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        _build(arguments, arguments.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        quarter = _measured(arguments, arguments.documents // 4, Path(folder) / "quarter")
        whole = _measured(arguments, arguments.documents, Path(folder) / "whole")
        recall = _recall(Path(folder) / "whole", arguments)
    figures = {
        "quarter": quarter,
        "whole": whole,
        "rss_anon_growth": whole["peak_rss_anon_bytes"] / quarter["peak_rss_anon_bytes"] - 1,
        "recall_at_10_of_exact": recall,
    }
    print(json.dumps(figures, indent=2))
    settings = {name: getattr(arguments, name) for name in ("documents", "dim", "nbits", "centroids", "seed")}
    write_result("memory-build-from-vectors", settings, figures)


def _build(arguments: argparse.Namespace, path: Path) -> None:
    """The measured process: streams random vectors into an index."""
    random = np.random.default_rng(arguments.seed)
    offsets = np.arange(CHUNK_DOCUMENTS + 1) * TOKENS_PER_DOCUMENT
    with IndexWriter.create(
        path, dim=arguments.dim, nbits=arguments.nbits, seed=arguments.seed, centroids=arguments.centroids
    ) as writer:
        for first in range(0, arguments.documents, CHUNK_DOCUMENTS):
            count = min(CHUNK_DOCUMENTS, arguments.documents - first)
            values = random.standard_normal((count * TOKENS_PER_DOCUMENT, arguments.dim), dtype=np.float32)
            values /= np.linalg.norm(values, axis=1, keepdims=True)
            writer.add_vectors([str(first + number) for number in range(count)], values, offsets[: count + 1])


def _measured(arguments: argparse.Namespace, documents: int, path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.memory", "--child", str(path), "--documents", str(documents)]
    for name in ("dim", "nbits", "seed", "centroids"):
        if getattr(arguments, name) is not None:
            command += [f"--{name}", str(getattr(arguments, name))]
    build = watched(command)
    return {
        "documents": documents,
        "tokens": documents * TOKENS_PER_DOCUMENT,
        "tokens_per_second": documents * TOKENS_PER_DOCUMENT / build.seconds,
        **asdict(build),
    }


def _recall(path: Path, arguments: argparse.Namespace) -> float:
    random = np.random.default_rng(arguments.seed + 1)
    found, wanted = [], []
    with Searcher.open(path) as searcher:
        for _ in range(20):
            query = random.standard_normal((32, arguments.dim)).astype(np.float32)
            query /= np.linalg.norm(query, axis=1, keepdims=True)
            found.append([hit.id for hit in searcher.search(query)])
            wanted.append([hit.id for hit in searcher.search(query, exact=True)])
    return overlap(found, wanted)


if __name__ == "__main__":
    main()
