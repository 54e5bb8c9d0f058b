"""A checkpoint as its layout was understood: everything an encoder is made of, still on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from jcb_engine.encoder.projection import Heads
from jcb_engine.encoder.token_rules import TokenRules


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """name: what was asked for; folder: where its files are; revision: its commit on the hub.

    config: content of its config.json. tensors: those of the backbone, by name without a prefix, in the checkpoint's
    dtype. heads: projections in the checkpoint's dtype. rules: its defaults. mask_token, pad_token: of its tokenizer.
    prefix: of the backbone's tensors, for a checkpoint that can be written in Stanford's layout; None: it cannot.
    """

    name: str
    folder: Path
    revision: str | None
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    heads: Heads
    rules: TokenRules
    tokenizer_json: str
    mask_token: str | None
    pad_token: str | None
    prefix: str | None = None
