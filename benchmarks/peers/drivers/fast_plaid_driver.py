"""fast-plaid: `FastPlaid.create` and `.search`. Its number of centroids cannot be set."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import protocol
import torch
from fast_plaid.search import FastPlaid


def build(job: protocol.Job) -> int:
    documents = [torch.from_numpy(document) for document in protocol.vectors(job.documents)]
    FastPlaid(str(job.index), device="cpu").create(documents, nbits=job.nbits, seed=job.seed)
    return int(json.loads((job.index / "metadata.json").read_text())["num_partitions"])


class Opened:
    def __init__(self, job: protocol.Job) -> None:
        self._index, self._k = FastPlaid(str(job.index), device="cpu"), job.k

    def prepare(self, query: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(query).unsqueeze(0)

    def search(self, query: torch.Tensor, parameters: dict[str, Any]) -> list[list[tuple[int, float]]]:
        return self._index.search(query, top_k=self._k, show_progress=False, **parameters)

    def ids(self, answer: list[list[tuple[int, float]]]) -> list[int]:
        return [number for number, _ in answer[0]]


def opened(job: protocol.Job) -> Opened:
    torch.set_num_threads(job.threads)
    return Opened(job)


if __name__ == "__main__":
    protocol.main(build, opened)
