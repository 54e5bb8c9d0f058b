"""all-MiniLM-L6-v2 without pooling: texts -> the hidden state of every token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from safetensors.torch import load_file
from torch import Tensor

from jcb_engine.encoder.batches import token_batches
from jcb_engine.encoder.bert import BertEncoder, BertShape
from jcb_engine.encoder.hub import HubAccess
from jcb_engine.encoder.mini_files import find_mini_files
from jcb_engine.encoder.wordpieces import CutText, WordPieces
from jcb_engine.types import Int64Array

HIDDEN_SIZE = 384
# What the model was trained with; its 512 positions are an inheritance of the model that it was made from.
MAX_LENGTH = 256
# A CPU is fastest while a batch's activations stay in its cache: scifact's abstracts on 2 cores of a Zen 3 at 5.1, 4.8,
# 4.5, 4.3 and 3.9 thousand tokens a second with 1024, 2048, 4096, 8192 and 16384 tokens. Below that it only waits more
# often for its threads. A GPU wants enough to do at once.
CPU_TOKEN_BUDGET = 2048
GPU_TOKEN_BUDGET = 65536

_SHAPE = BertShape(hidden_size=HIDDEN_SIZE, num_hidden_layers=6, num_attention_heads=12, layer_norm_eps=1e-12)


class MiniLM:
    """Tokenizer and weights, on a GPU where torch sees one."""

    def __init__(self, access: HubAccess) -> None:
        """Raises EncoderError where the weights cannot be had or are damaged."""
        files = find_mini_files(access)
        tokenizer_json = files.tokenizer.read_bytes()
        self.tokenizer_sha256 = hashlib.sha256(tokenizer_json).hexdigest()
        self.pieces = WordPieces(tokenizer_json.decode("utf-8"))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._token_budget = GPU_TOKEN_BUDGET if self.device == "cuda" else CPU_TOKEN_BUDGET
        # mapped: a query touches a few of the 47 MB of word embeddings
        self._bert = BertEncoder(load_file(files.weights, device=self.device), _SHAPE)

    def hidden_states(self, cuts: Sequence[CutText]) -> Iterator[tuple[Int64Array, Tensor]]:
        """Batch by batch: the positions of its texts, and their hidden states [tokens, 384] float32, end to end.

        Texts without a token are in no batch.
        """
        for batch in token_batches([len(cut.ids) for cut in cuts], self._token_budget):
            texts = [cuts[text] for text in batch]
            ids = torch.tensor([identity for text in texts for identity in text.ids], device=self.device)
            with torch.inference_mode():
                hidden = self._bert(ids, [len(text.ids) for text in texts])
            yield batch, hidden
