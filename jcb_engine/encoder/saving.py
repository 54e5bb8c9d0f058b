"""Writing a checkpoint: in Stanford's layout with all its heads, or for sentence-transformers with one.

A folder appears as a whole or not at all: it is written beside its place and renamed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from jcb_engine.encoder.backbones.architecture import JINA_MODEL_TYPE, is_jina_bert, is_jina_xlm_roberta, rope_base
from jcb_engine.encoder.checkpoint import Checkpoint
from jcb_engine.encoder.colbert_tokenizer import ColbertTokenizer
from jcb_engine.encoder.layouts.modules import is_put_before_a_text
from jcb_engine.encoder.layouts.stanford import DEFAULT_HEAD, METADATA, OTHER_HEAD
from jcb_engine.encoder.layouts.tensors import SAFETENSORS
from jcb_engine.encoder.layouts.tokenizer_files import parsed
from jcb_engine.encoder.model_files import read_json
from jcb_engine.encoder.token_rules import TokenRules
from jcb_engine.errors import EncoderError, InputError

# Settings of artifact.metadata that other libraries do not have: written where they are not the usual ones.
_OUR_SETTINGS = ("query_expansion", "special_tokens_as_text")
_TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "sentencepiece.bpe.model")


class StanfordWriter:
    """Writes one checkpoint, with the settings and the dimension that it was loaded with."""

    def __init__(self, checkpoint: Checkpoint, dim: int, rules: TokenRules, language: str | None) -> None:
        """language: the adapter that was chosen, which becomes the default; None: it stays."""
        self._checkpoint, self._dim, self._rules = checkpoint, dim, rules
        chosen = {} if language is None else {"default_language": language}
        self._config = {**checkpoint.config, **chosen}

    def save(self, folder: Path) -> None:
        """Raises InputError where the folder holds files, or the settings cannot be written."""
        if self._rules.punctuation not in ("reference", "off"):
            raise InputError(
                f"punctuation {self._rules.punctuation!r} has no place in {METADATA}; use reference or off"
            )
        _written(folder, self._write_stanford)

    def _write_stanford(self, folder: Path) -> None:
        checkpoint = self._checkpoint
        _write_json(folder / "config.json", {**self._config, "architectures": ["HF_ColBERT"]})
        own = read_json(checkpoint.folder / METADATA, dict)
        metadata = {key: value for key, value in own.items() if key not in _OUR_SETTINGS}
        _write_json(folder / METADATA, {**metadata, **self._settings()})
        self._copy_tokenizer(folder, checkpoint.tokenizer_json)
        backbone = {f"{checkpoint.prefix}{name}": tensor for name, tensor in checkpoint.tensors.items()}
        save_file(_contiguous(backbone | self._heads()), folder / SAFETENSORS, metadata={"format": "pt"})

    def _heads(self) -> dict[str, Tensor]:
        """The head of the chosen dim as the default, the others beside it."""
        own = self._checkpoint.heads.own
        chosen = self._checkpoint.heads.head(self._dim, self._checkpoint.name)
        heads = {OTHER_HEAD.format(dim=dim): head.layers[0].weight for dim, head in own.items() if dim != self._dim}
        # a head that was cut down is a part of another one
        return {DEFAULT_HEAD: chosen.layers[0].weight.clone(), **heads}

    def _settings(self) -> dict[str, Any]:
        rules = self._rules
        return {
            "query_token_id": rules.query_marker,
            "doc_token_id": rules.document_marker,
            "query_maxlen": rules.query_length,
            "doc_maxlen": rules.document_length,
            "attend_to_mask_tokens": rules.attends_to_expansion,
            "mask_punctuation": rules.punctuation != "off",
            "dim": self._dim,
            **({} if rules.query_expansion else {"query_expansion": False}),
            **({"special_tokens_as_text": True} if rules.special_tokens_as_text else {}),
        }

    def _copy_tokenizer(self, folder: Path, tokenizer_json: str) -> None:
        (folder / "tokenizer.json").write_text(tokenizer_json, "utf-8")
        for name in _TOKENIZER_FILES:
            if (self._checkpoint.folder / name).is_file():
                shutil.copyfile(self._checkpoint.folder / name, folder / name)

    # -- for sentence-transformers -------------------------------------------------------------------------------------
    def export(self, folder: Path) -> None:
        """Raises InputError where the folder holds files, or the library has nothing like it."""
        if is_jina_bert(self._checkpoint.config):
            raise InputError(f"'{self._checkpoint.name}' is JinaBERT, which no class of transformers loads")
        if self._rules.special_tokens_as_text:
            raise InputError("special_tokens_as_text is a setting that sentence-transformers does not have")
        name, own = self._checkpoint.name, self._checkpoint.tokenizer_json
        vocabulary, exported = parsed(own, name), parsed(_with_markers(own, self._markers()), name)
        for marker in self._markers():
            is_known = vocabulary.token_to_id(marker) is not None
            if not is_known or not is_put_before_a_text(_prompt(marker), marker, exported):
                raise InputError(
                    f"the marker {marker!r} of '{name}' is no token that sentence-transformers can "
                    "put before a text, so its vectors would be others"
                )
        _written(folder, self._write_modules)

    def _write_modules(self, folder: Path) -> None:
        from sentence_transformers import MultiVectorEncoder
        from sentence_transformers.base.modules import Dense, Transformer
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
        from sentence_transformers.sentence_transformer.modules import Normalize
        from torch import nn

        from jcb_engine.encoder.libraries import quiet_transformers

        checkpoint, rules = self._checkpoint, self._rules
        head = checkpoint.heads.head(self._dim, checkpoint.name).layers[0].weight
        tokenizer_json = _with_markers(checkpoint.tokenizer_json, self._markers())
        expansion = {"strategy": "fixed", "attend": rules.attends_to_expansion, "length": rules.query_length}
        with tempfile.TemporaryDirectory() as temporary, quiet_transformers():
            backbone = Path(temporary)
            _write_json(backbone / "config.json", _library_config(self._config))
            self._copy_tokenizer(backbone, tokenizer_json)
            save_file(_contiguous(checkpoint.tensors), backbone / SAFETENSORS, metadata={"format": "pt"})
            transformer = Transformer(
                str(backbone),
                query_length=None if rules.query_expansion else rules.query_length,
                document_length=rules.document_length,
                query_expansion=expansion if rules.query_expansion else None,
                model_kwargs={"dtype": head.dtype},
            )
            dense = Dense(
                head.shape[1],
                head.shape[0],
                bias=False,
                activation_function=nn.Identity(),
                init_weight=head,
                module_input_name="token_embeddings",
            )
            mask = MultiVectorMask(skiplist_words=self._skipped_tokens())
            model = MultiVectorEncoder(
                modules=[transformer, dense, mask, Normalize(module_input_name="token_embeddings")],
                prompts={"query": _prompt(rules.query_marker), "document": _prompt(rules.document_marker)},
                device="cpu",
            )
            model.save_pretrained(str(folder), create_model_card=False)
        # the library's own way with some families drops normalisers
        (folder / "tokenizer.json").write_text(tokenizer_json, "utf-8")

    def _markers(self) -> list[str]:
        return [marker for marker in (self._rules.query_marker, self._rules.document_marker) if marker is not None]

    def _skipped_tokens(self) -> list[str]:
        """The very tokens that count as punctuation here, under whatever rule."""
        checkpoint = self._checkpoint
        tokenizer = ColbertTokenizer(
            checkpoint.tokenizer_json, self._rules, checkpoint.mask_token, checkpoint.pad_token
        )
        return tokenizer.skipped_tokens()


def _written(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder beside its place and rename it. Raises InputError where something is there, or cannot be."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already and not empty; name a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        write(staging)
        staging.chmod(0o755)
        staging.replace(folder)
    except OSError as error:
        raise EncoderError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors writes them: each with memory of its own."""
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _library_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json that transformers makes its own class of."""
    if not is_jina_xlm_roberta(config):
        return {**config, "architectures": None}
    dropped = ("auto_map", "rotary_emb_base", "rope_theta")
    kept = {key: value for key, value in config.items() if key not in dropped}
    rope = {"rope_type": "default", "rope_theta": rope_base(config)}
    return {**kept, "model_type": JINA_MODEL_TYPE, "architectures": None, "rope_parameters": rope}


def _with_markers(tokenizer_json: str, markers: list[str]) -> str:
    """A tokenizer that takes a marker in a text for one token: the library puts it there as text."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    if set(markers) <= known:
        return tokenizer_json
    tokenizer.add_special_tokens([AddedToken(marker, normalized=False, special=True) for marker in markers])
    changed: str = tokenizer.to_str()
    return changed


def _prompt(marker: str | None) -> str:
    return "" if marker is None else f"{marker} "
