"""What the drivers of uncompressed MaxSim share: the first documents of the collection, in memory, and the best ten."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import protocol


class Uncompressed(ABC):
    """`parameters` of a search are {"documents": how many are scored}; a subclass scores them."""

    def __init__(self, job: protocol.Job) -> None:
        self._k, self._threads = job.k, job.threads
        documents = protocol.vectors(job.documents)
        self._kept = {
            parameters["documents"]: self.keep([np.array(d) for d in documents[: parameters["documents"]]])
            for parameters in job.searches.values()
        }

    def keep(self, documents: list[np.ndarray]) -> Any:
        """Documents in the form that the library takes; not timed."""
        return documents

    def prepare(self, query: np.ndarray) -> Any:
        return query

    def search(self, query: Any, parameters: dict[str, Any]) -> np.ndarray:
        return self.scores(query, self._kept[parameters["documents"]])

    @abstractmethod
    def scores(self, query: Any, kept: Any) -> np.ndarray:
        """[documents] MaxSim of a prepared query."""

    def ids(self, answer: np.ndarray) -> list[int]:
        return [int(number) for number in np.argsort(-answer, kind="stable")[: self._k]]


def no_build(job: protocol.Job) -> int:
    raise SystemExit("there is nothing to build: vectors are scored as they are")
