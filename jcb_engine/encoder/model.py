"""What a family of encoders implements; `Encoder` checks its input and its output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.encoder.tokens import Span, Token
from jcb_engine.types import RaggedEmbeddings


class EncoderModel(Protocol):
    """A loaded encoder. Texts are strings, none blank."""

    @property
    def dim(self) -> int: ...

    @property
    def record(self) -> EncoderRecord: ...

    def encode(self, texts: Sequence[str], *, is_query: bool) -> RaggedEmbeddings:
        """Vectors of every text, in the order of the texts."""

    def tokens(self, text: str, *, is_query: bool) -> list[Token] | None:
        """One token for every vector of a text; None: not known."""

    def token_spans(self, text: str) -> list[Span] | None:
        """Characters of every token of a text, none cut, no special ones; None: not known."""


@runtime_checkable
class SeveralDims(Protocol):
    """A model with heads of several dimensions on one backbone."""

    @property
    def dims(self) -> tuple[int, ...]: ...

    def encode_dims(self, texts: Sequence[str], dims: Sequence[int], *, is_query: bool) -> dict[int, RaggedEmbeddings]:
        """Vectors by dimension, from one pass. InputError for a dimension without a head."""


class CheckpointWriter(Protocol):
    """Writes a model as a checkpoint."""

    def save(self, folder: Path) -> None:
        """In the layout of Jina-ColBERT-v2's release, all heads."""

    def export(self, folder: Path) -> None:
        """In the layout of sentence-transformers, the head of its dim."""


@runtime_checkable
class Savable(Protocol):
    """A model that may be written. writer: None: it has no layout of its own."""

    @property
    def writer(self) -> CheckpointWriter | None: ...
