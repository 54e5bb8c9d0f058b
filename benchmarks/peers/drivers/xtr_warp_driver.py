"""xtr-warp-rs: `XTRWarp.create`, `.load` on the CPU in float32 (mapped, its default) and `.search`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import protocol
import torch
from xtr_warp import search


def build(job: protocol.Job) -> int:
    documents = [torch.from_numpy(document) for document in protocol.vectors(job.documents)]
    search.XTRWarp(str(job.index), device="cpu").create(
        documents, device="cpu", nbits=job.nbits, seed=job.seed, num_partitions=job.centroids, show_progress=False
    )
    return int(json.loads((job.index / "metadata.json").read_text())["num_partitions"])


class Opened:
    def __init__(self, job: protocol.Job) -> None:
        self._index = search.XTRWarp(str(job.index)).load(device="cpu")
        self._k, self._threads = job.k, job.threads

    def prepare(self, query: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(query).unsqueeze(0)

    def search(self, query: torch.Tensor, parameters: dict[str, Any]) -> list[list[tuple[int, float]]]:
        return self._index.search(query, self._k, num_threads=self._threads, show_progress=False, **parameters)

    def ids(self, answer: list[list[tuple[int, float]]]) -> list[int]:
        return [number for number, _ in answer[0]]


def opened(job: protocol.Job) -> Opened:
    torch.set_num_threads(job.threads)
    return Opened(job)


if __name__ == "__main__":
    protocol.main(build, opened)
