"""Plain torch: one product of all tokens with the query, a maximum per document, a sum."""

from __future__ import annotations

import numpy as np
import protocol
import torch
from uncompressed import Uncompressed, no_build


class Opened(Uncompressed):
    def keep(self, documents: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        torch.set_num_threads(self._threads)
        lengths = torch.tensor([len(document) for document in documents])
        return torch.from_numpy(np.concatenate(documents)), lengths

    def prepare(self, query: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(query)

    @torch.inference_mode()
    def scores(self, query: torch.Tensor, kept: tuple[torch.Tensor, torch.Tensor]) -> np.ndarray:
        tokens, lengths = kept
        return torch.segment_reduce(tokens @ query.T, "max", lengths=lengths, axis=0).sum(1).numpy()


if __name__ == "__main__":
    protocol.main(no_build, Opened)
