"""PyLate's `rank.rerank` of a list of documents: padded, one batched product; its sort is part of the call."""

from __future__ import annotations

from typing import Any

import numpy as np
import protocol
import torch
from pylate import rank
from uncompressed import Uncompressed, no_build


class Opened(Uncompressed):
    def keep(self, documents: list[np.ndarray]) -> tuple[list[int], list[torch.Tensor]]:
        torch.set_num_threads(self._threads)
        return list(range(len(documents))), [torch.from_numpy(document) for document in documents]

    def prepare(self, query: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(query)

    @torch.inference_mode()
    def scores(self, query: torch.Tensor, kept: tuple[list[int], list[torch.Tensor]]) -> Any:
        numbers, documents = kept
        return rank.rerank([numbers], query.unsqueeze(0), [documents])[0]

    def ids(self, answer: Any) -> list[int]:
        return [hit["id"] for hit in answer[: self._k]]


if __name__ == "__main__":
    protocol.main(no_build, Opened)
