"""BGE-M3's colbert head (Chen et al. 2024, arXiv:2402.03216): XLM-R with a head of 1,024 dimensions and a bias.

Its rules are its own: no markers, no expansion, no list of punctuation, and no vector for the first token. Its library
divides a score by the number of query tokens; ours is the sum, which orders documents the same.
"""

from __future__ import annotations

from pathlib import Path

from jcb_engine.encoder.backbones.architecture import longest_text
from jcb_engine.encoder.backbones.weights import require_complete
from jcb_engine.encoder.checkpoint import Checkpoint
from jcb_engine.encoder.layouts.recognition import BGE_M3_HEAD
from jcb_engine.encoder.layouts.tensors import prefix_of, read_file, read_tensors, split_by_prefix
from jcb_engine.encoder.layouts.tokenizer_files import read_tokenizer
from jcb_engine.encoder.model_files import read_json
from jcb_engine.encoder.projection import Dense, Head, Heads
from jcb_engine.encoder.token_rules import TokenRules
from jcb_engine.errors import EncoderError

_QUERY_LENGTH = 512  # its library's


def read(folder: Path, name: str, revision: str | None) -> Checkpoint:
    """Raises EncoderError where the folder does not hold what its config.json says."""
    config = read_json(folder / "config.json", dict)
    tensors = read_tensors(folder, name)
    backbone, rest = split_by_prefix(tensors, prefix_of(tensors, name))
    head = read_file(folder / BGE_M3_HEAD)
    require_complete({"weight", "bias"} - head.keys(), head.keys() - {"weight", "bias"}, f"{name}/{BGE_M3_HEAD}")
    hidden = config.get("hidden_size")
    if head["weight"].ndim != 2 or head["weight"].shape[1] != hidden or head["bias"].shape != head["weight"].shape[:1]:
        shapes = f"{list(head['weight'].shape)} and {list(head['bias'].shape)}"
        raise EncoderError(
            f"{folder / BGE_M3_HEAD} has weight and bias of {shapes}; expected [dim, {hidden}] and [dim]"
        )
    tokenizer = read_tokenizer(folder, name)
    longest = longest_text(config)
    return Checkpoint(
        name=name,
        folder=folder,
        revision=revision,
        config=config,
        tensors=backbone | rest,
        heads=Heads([Head((Dense(head["weight"], head["bias"]),))], int(head["weight"].shape[0])),
        rules=TokenRules(query_length=min(_QUERY_LENGTH, longest), document_length=longest, drops_first=True),
        tokenizer_json=tokenizer.json,
        mask_token=tokenizer.mask_token,
        pad_token=tokenizer.pad_token,
    )
