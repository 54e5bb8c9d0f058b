"""PyLate: its PLAID index (over the fast-plaid that it pins) with string ids, as its users call it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import protocol
import torch
from pylate import indexes


def _index(job: protocol.Job) -> indexes.PLAID:
    return indexes.PLAID(
        index_folder=str(job.index),
        index_name="plaid",
        nbits=job.nbits,
        seed=job.seed,
        device="cpu",
        show_progress=False,
    )


def build(job: protocol.Job) -> int:
    documents = protocol.vectors(job.documents)
    _index(job).add_documents([str(number) for number in range(len(documents))], documents)
    metadata = job.index / "plaid" / "fast_plaid_index" / "metadata.json"
    return int(json.loads(metadata.read_text())["num_partitions"])


class Opened:
    def __init__(self, job: protocol.Job) -> None:
        self._index, self._k = _index(job), job.k

    def prepare(self, query: np.ndarray) -> list[np.ndarray]:
        return [query]

    def search(self, query: list[np.ndarray], parameters: dict[str, Any]) -> list[list[dict[str, Any]]]:
        if parameters:
            raise ValueError(f"PyLate's index takes its settings when it is opened, not per search; got {parameters}")
        return self._index(query, k=self._k)

    def ids(self, answer: list[list[dict[str, Any]]]) -> list[int]:
        return [int(hit["id"]) for hit in answer[0]]


def opened(job: protocol.Job) -> Opened:
    torch.set_num_threads(job.threads)
    return Opened(job)


if __name__ == "__main__":
    protocol.main(build, opened)
