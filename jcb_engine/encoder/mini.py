"""`mini`, the embedded encoder: all-MiniLM-L6-v2 with a head, for English.

Every token's vector is kept, [CLS] and [SEP] included. Queries are not filled up with [MASK]: the model never learnt
to expand them, and nDCG@10 on xquad-en falls from .98 to .63 if it has to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from jcb_engine.encoder.batches import token_batches
from jcb_engine.encoder.bert import BertEncoder, BertShape
from jcb_engine.encoder.head_files import Head, read_head
from jcb_engine.encoder.hub import HubAccess
from jcb_engine.encoder.mini_files import WEIGHTS_SHA256, find_mini_files
from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.encoder.tokens import Span, Token
from jcb_engine.encoder.wordpieces import CutText, WordPieces
from jcb_engine.types import Float32Array, Int64Array, RaggedEmbeddings

DEFAULT_DIM = 128
QUERY_LENGTH = 64
# What the model was trained with; its 512 positions are an inheritance of the model it was distilled into.
DOCUMENT_LENGTH = 256
# A batch whose activations stay in the processor's cache is fastest on a CPU, one that fills it on a GPU.
CPU_TOKEN_BUDGET = 1536
GPU_TOKEN_BUDGET = 65536

_SHAPE = BertShape(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, layer_norm_eps=1e-12)


class MiniModel:
    """all-MiniLM-L6-v2 with the head of one dimension."""

    def __init__(self, dim: int | None = None, version: int | None = None, access: HubAccess = HubAccess()) -> None:
        """Raises InputError for a dim or version that is not there, EncoderError where the weights cannot be had."""
        head = read_head(DEFAULT_DIM if dim is None else dim, version)
        files = find_mini_files(access)
        tokenizer_json = files.tokenizer.read_bytes()
        self._pieces = WordPieces(tokenizer_json.decode("utf-8"))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._bert = BertEncoder(load_file(files.weights, device=device), _SHAPE)
        self._head = torch.from_numpy(head.weight).to(device)
        self._token_budget = GPU_TOKEN_BUDGET if device == "cuda" else CPU_TOKEN_BUDGET
        self.record = _record(head, hashlib.sha256(tokenizer_json).hexdigest())

    @property
    def dim(self) -> int:
        return int(self._head.shape[0])

    def encode(self, texts: Sequence[str], *, is_query: bool) -> RaggedEmbeddings:
        """Unit vectors of every token of every text; none for a text without a wordpiece."""
        cuts = self._pieces.cut(texts, _length(is_query))
        lengths = [len(cut.ids) for cut in cuts]
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        values = np.empty((int(offsets[-1]), self.dim), dtype=np.float32)
        for batch in token_batches(lengths, self._token_budget):
            values[_rows(offsets, batch)] = self._vectors([cuts[text] for text in batch])
        return RaggedEmbeddings(
            values,
            offsets,
            tokens_cut=np.array([cut.cut for cut in cuts], dtype=np.int64),
            unknown_tokens=np.array([cut.unknown for cut in cuts], dtype=np.int64),
        )

    @torch.inference_mode()
    def _vectors(self, cuts: Sequence[CutText]) -> Float32Array:
        """Unit vectors [tokens, dim] of one batch, texts end to end."""
        ids = torch.tensor([identity for cut in cuts for identity in cut.ids], device=self._bert.device)
        hidden = self._bert(ids, [len(cut.ids) for cut in cuts])
        vectors: Float32Array = F.normalize(F.linear(hidden, self._head), dim=1).cpu().numpy()
        return vectors

    def tokens(self, text: str, *, is_query: bool) -> list[Token]:
        """One token for every vector."""
        return self._pieces.tokens(text, _length(is_query))

    def token_spans(self, text: str) -> list[Span]:
        """Characters of every wordpiece, none cut, no special ones."""
        return self._pieces.spans(text)


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
