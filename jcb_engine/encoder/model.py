"""What a family of encoders implements; `Encoder` checks its input and its output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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
