"""What a build tells while it runs, and when it is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol


class BuildProgress(Protocol):
    """Told about the stages of a build; a display of the caller's."""

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins: "reading", "sampling", "training", "compressing" or "committing"; total in documents."""
        ...

    def advance(self, count: int) -> None:
        """So many more documents are done in this stage."""
        ...


class SilentProgress:
    """Shows nothing."""

    def stage(self, name: str, total: int | None) -> None:
        pass

    def advance(self, count: int) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """Counts of one build.

    empty_documents have no vector: they are stored and never hits. documents_cut were longer than the encoder takes,
    tokens_cut is what they lost. unknown_share is the share of tokens the tokenizer does not know; None: cannot tell.
    """

    version: int
    documents: int
    empty_documents: int
    tokens: int
    documents_cut: int
    tokens_cut: int
    unknown_share: float | None
    duplicates: int
    dim: int
    nbits: int
    centroids: int
    sampled_documents: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
