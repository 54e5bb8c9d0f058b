"""colbert-ai: PLAID as Stanford's ColBERT has it. Its own indexer (k-means, codec, chunks, inverted lists) and its own
scorer; only the model is replaced, by vectors that are there already. Its number of centroids cannot be set.

Compiles two extensions when it first opens an index, which takes a minute and needs a C++ compiler.
"""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import protocol
import torch
from colbert.indexing import collection_indexer
from colbert.infra import ColBERTConfig
from colbert.modeling.colbert import ColBERT
from colbert.search.index_storage import IndexScorer


class VectorsOfPassages:
    """Stands in for the encoder of a collection: a passage is the number of a document."""

    def __init__(self, documents: list[np.ndarray]) -> None:
        self._documents = documents

    def encode_passages(self, passages: list[str]) -> tuple[torch.Tensor, list[int]]:
        chosen = [self._documents[int(passage)] for passage in passages]
        return torch.from_numpy(np.concatenate(chosen)), [len(document) for document in chosen]


def build(job: protocol.Job) -> int:
    torch.set_num_threads(job.threads)
    random.seed(job.seed)
    torch.manual_seed(job.seed)
    documents = protocol.vectors(job.documents)
    collection_indexer.Checkpoint = lambda *_, **__: None
    collection_indexer.CollectionEncoder = lambda *_: VectorsOfPassages(documents)
    config = ColBERTConfig(dim=documents[0].shape[1], nbits=job.nbits, index_path=str(job.index))
    numbers = [str(number) for number in range(len(documents))]
    collection_indexer.encode(config, numbers, [], [], verbose=0)
    return int(json.loads((job.index / "metadata.json").read_text())["num_partitions"])


class Opened:
    def __init__(self, job: protocol.Job) -> None:
        ColBERT.try_load_torch_extensions(use_gpu=False)  # of MaxSim, which otherwise the model's constructor loads
        self._scorer, self._k = IndexScorer(str(job.index), use_gpu=False), job.k
        self._config = ColBERTConfig.load_from_index(str(job.index))

    def prepare(self, query: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(query).unsqueeze(0)

    def search(self, query: torch.Tensor, parameters: dict[str, Any]) -> tuple[list[int], list[float]]:
        self._config.configure(query_maxlen=query.shape[1], **parameters)
        documents, scores = self._scorer.rank(self._config, query)
        return documents[: self._k], scores[: self._k]

    def ids(self, answer: tuple[list[int], list[float]]) -> list[int]:
        return answer[0]


def opened(job: protocol.Job) -> Opened:
    torch.set_num_threads(job.threads)
    return Opened(job)


if __name__ == "__main__":
    protocol.main(build, opened)
