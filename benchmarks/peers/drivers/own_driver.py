"""jcb-engine, called as the others are: `IndexWriter.add_vectors` and `Searcher.search` from Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import protocol

from jcb_engine import Hits, IndexWriter, Searcher


def build(job: protocol.Job) -> int:
    values = np.load(job.documents / "values.npy", mmap_mode="r")
    offsets = np.load(job.documents / "offsets.npy")
    names = [str(number) for number in range(len(offsets) - 1)]
    with IndexWriter.create(
        job.index, dim=values.shape[1], nbits=job.nbits, seed=job.seed, centroids=job.centroids
    ) as writer:
        writer.add_vectors(names, values, offsets)
    with Searcher.open(job.index) as searcher:
        return searcher.info().centroids


class Opened:
    def __init__(self, job: protocol.Job) -> None:
        self._index, self._k = Searcher.open(job.index, threads=job.threads), job.k

    def prepare(self, query: np.ndarray) -> np.ndarray:
        return query

    def search(self, query: np.ndarray, parameters: dict[str, Any]) -> Hits:
        return self._index.search(query, self._k, **parameters)

    def ids(self, answer: Hits) -> list[int]:
        return [int(hit.id) for hit in answer]


if __name__ == "__main__":
    protocol.main(build, Opened)
