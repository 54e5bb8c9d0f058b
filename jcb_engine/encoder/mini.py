"""`mini`, the embedded encoder: all-MiniLM-L6-v2 with a head, for English.

Every token's vector is kept, [CLS] and [SEP] included. Queries are not filled up with [MASK]: the model never learnt
to expand them, and nDCG@10 on xquad-en falls from .98 to .63 if it has to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from jcb_engine.encoder.head_files import Head, read_head
from jcb_engine.encoder.hub import HubAccess
from jcb_engine.encoder.mini_files import WEIGHTS_SHA256
from jcb_engine.encoder.minilm import MAX_LENGTH, MiniLM
from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.encoder.tokens import Span, Token
from jcb_engine.types import Float32Array, Int64Array, RaggedEmbeddings

DEFAULT_DIM = 128
QUERY_LENGTH = 64
DOCUMENT_LENGTH = MAX_LENGTH


class MiniModel:
    """all-MiniLM-L6-v2 with the head of one dimension."""

    def __init__(self, dim: int | None, version: int | None, access: HubAccess) -> None:
        """dim: None: 128; version of the head: None: the newest.

        Raises InputError for a dim or version that is not there, EncoderError where the weights cannot be had.
        """
        head = read_head(DEFAULT_DIM if dim is None else dim, version)
        self._backbone = MiniLM(access)
        self._head = torch.from_numpy(head.weight).to(self._backbone.device)
        self._record = _record(head, self._backbone.tokenizer_sha256)

    @property
    def dim(self) -> int:
        return int(self._head.shape[0])

    @property
    def record(self) -> EncoderRecord:
        return self._record

    def encode(self, texts: Sequence[str], *, is_query: bool) -> RaggedEmbeddings:
        """Unit vectors of every token of every text; none for a text without a wordpiece."""
        cuts = self._backbone.pieces.cut(texts, _length(is_query))
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(cut.ids) for cut in cuts], out=offsets[1:])
        values = np.empty((int(offsets[-1]), self.dim), dtype=np.float32)
        for batch, hidden in self._backbone.hidden_states(cuts):
            values[_rows(offsets, batch)] = self._projected(hidden)
        return RaggedEmbeddings(
            values,
            offsets,
            tokens_cut=np.array([cut.cut for cut in cuts], dtype=np.int64),
            unknown_tokens=np.array([cut.unknown for cut in cuts], dtype=np.int64),
        )

    @torch.inference_mode()
    def _projected(self, hidden: Tensor) -> Float32Array:
        """hidden: [tokens, 384] -> unit vectors [tokens, dim]."""
        vectors: Float32Array = F.normalize(F.linear(hidden, self._head), dim=1).cpu().numpy()
        return vectors

    def tokens(self, text: str, *, is_query: bool) -> list[Token]:
        """One token for every vector."""
        return self._backbone.pieces.tokens(text, _length(is_query))

    def token_spans(self, text: str) -> list[Span]:
        """Characters of every wordpiece, none cut, no special ones."""
        return self._backbone.pieces.spans(text)


def _length(is_query: bool) -> int:
    return QUERY_LENGTH if is_query else DOCUMENT_LENGTH


def _rows(offsets: Int64Array, texts: Int64Array) -> Int64Array:
    """Rows of all tokens of some texts, text after text."""
    return np.concatenate([np.arange(offsets[text], offsets[text + 1]) for text in texts])


def _record(head: Head, tokenizer_sha256: str) -> EncoderRecord:
    return EncoderRecord(
        family="mini",
        name=f"mini@{head.version}",
        dim=head.weight.shape[0],
        head_version=head.version,
        head_sha256=head.sha256,
        weights_sha256=WEIGHTS_SHA256,
        tokenizer_sha256=tokenizer_sha256,
        query_length=QUERY_LENGTH,
        document_length=DOCUMENT_LENGTH,
        query_expansion=False,
    )
