"""The tokenizer of a checkpoint: its tokenizer.json as it is.

transformers' own way of loading it rebuilds the pipeline of some families and drops normalisers on the way, so it is
asked only where a checkpoint has no tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from jcb_engine.encoder.hub import first_line
from jcb_engine.encoder.model_files import read_json
from jcb_engine.errors import EncoderError

# In the order asked: what the checkpoint says of itself comes first.
_FILES = ("tokenizer_config.json", "special_tokens_map.json")
# What older checkpoints hold in its place. Without any of them transformers makes an empty vocabulary up.
_OLDER_FILES = ("vocab.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "vocab.json")
_USUAL = {"mask_token": ("[MASK]", "<mask>"), "pad_token": ("[PAD]", "<pad>")}


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """json: content of tokenizer.json. mask_token, pad_token: as the vocabulary writes them; None: there is none."""

    json: str
    mask_token: str | None
    pad_token: str | None


def read_tokenizer(folder: Path, name: str) -> TokenizerFiles:
    """Raises EncoderError where the folder has no tokenizer."""
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            content = path.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise EncoderError(f"{path} cannot be read: {error}") from error
    else:
        content = _rebuilt(folder, name)
    mask_token, pad_token = (_special_token(folder, role, content) for role in ("mask_token", "pad_token"))
    return TokenizerFiles(content, mask_token, pad_token)


def parsed(tokenizer_json: str, name: str) -> Tokenizer:
    """Raises EncoderError where it is no tokenizer.json."""
    try:
        return Tokenizer.from_str(tokenizer_json)
    except Exception as error:  # the library raises bare Exception
        raise EncoderError(f"the tokenizer.json of '{name}' cannot be read: {first_line(error)}") from error


def _special_token(folder: Path, role: str, content: str) -> str | None:
    for file in _FILES:
        token = _content(read_json(folder / file, dict).get(role))
        if token is not None:
            return token
    return next((token for token in _USUAL[role] if f'"{token}"' in content), None)


def _content(token: Any) -> str | None:
    """A token as these files write it: a text, or an object with its content."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _rebuilt(folder: Path, name: str) -> str:
    """A tokenizer.json made of older files (vocab.txt, sentencepiece.bpe.model)."""
    if not any((folder / file).is_file() for file in _OLDER_FILES):
        raise EncoderError(f"'{name}' has no tokenizer: there is neither tokenizer.json nor {', '.join(_OLDER_FILES)}")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
        content: str = tokenizer.backend_tokenizer.to_str()
    except Exception as error:  # the library has no error of its own for files that it does not understand
        raise EncoderError(
            f"'{name}' has no tokenizer.json, and transformers makes none of its files: {first_line(error)}"
        ) from error
    return content
