"""The layouts of PyLate and of sentence-transformers' MultiVectorEncoder: modules.json and a folder for each module.

What is read here is a text encoder whose prompts are single marker tokens, one or more Dense layers, and the mask of
punctuation. Anything beyond that (prompts of several words, lower-casing, pooling modules, other architectures) is
sentence-transformers' own to load.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from jcb_engine.encoder.backbones.architecture import can_be_packed, longest_text
from jcb_engine.encoder.checkpoint import Checkpoint
from jcb_engine.encoder.layouts.recognition import backbone_folder, module_folder, read_modules
from jcb_engine.encoder.layouts.tensors import PICKLED, SAFETENSORS, prefix_of, read_file, read_tensors, split_by_prefix
from jcb_engine.encoder.layouts.tokenizer_files import parsed, read_tokenizer
from jcb_engine.encoder.model_files import read_json
from jcb_engine.encoder.projection import ACTIVATIONS, Dense, Head, Heads
from jcb_engine.encoder.token_rules import TokenRules
from jcb_engine.errors import EncoderError

# PyLate's, where config_sentence_transformers.json does not say.
_PYLATE_PROMPTS = {"query": "[Q] ", "document": "[D] "}
_PYLATE_LENGTHS = {"query": 32, "document": 180}
# The names under which sentence-transformers looks for a prompt, in its order.
_PROMPT_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus")}
_KNOWN_MODULES = {"Transformer", "Dense", "MultiVectorMask", "Normalize"}
_IDENTITY, _TANH = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Tanh"


class _NotOursError(Exception):
    """The folder holds something that sentence-transformers itself has to load."""


def read(folder: Path, name: str, revision: str | None) -> Checkpoint | None:
    """None: sentence-transformers has to load it. Raises EncoderError where files are missing or contradict."""
    modules = read_modules(folder)
    home = backbone_folder(folder)
    config = read_json(home / "config.json", dict)
    try:
        if not can_be_packed(config) or not {_kind(module) for module in modules} <= _KNOWN_MODULES:
            raise _NotOursError
        tokenizer = read_tokenizer(home, name)
        rules = _rules(folder, home, modules, config, parsed(tokenizer.json, name))
    except _NotOursError:
        return None
    layers = tuple(_dense(folder, module) for module in modules if _kind(module) == "Dense")
    if not layers:
        return None
    tensors = read_tensors(home, name)
    backbone, rest = split_by_prefix(tensors, prefix_of(tensors, name))
    is_normalized = _is_pylate(folder, modules) or any(_kind(module) == "Normalize" for module in modules)
    head = Head(layers, normalized=is_normalized)
    return Checkpoint(
        name=name,
        folder=folder,
        revision=revision,
        config=config,
        tensors=backbone | rest,
        heads=Heads([head], head.dim),
        rules=rules,
        tokenizer_json=tokenizer.json,
        mask_token=tokenizer.mask_token,
        pad_token=tokenizer.pad_token,
    )


def _kind(module: Mapping[str, Any]) -> str:
    return str(module["type"]).rpartition(".")[2]


def _is_pylate(folder: Path, modules: list[Mapping[str, Any]]) -> bool:
    settings = read_json(folder / "config_sentence_transformers.json", dict)
    return settings.get("model_type") == "ColBERT" or any(module["type"].startswith("pylate.") for module in modules)


# -- layers ------------------------------------------------------------------------------------------------------------
def _dense(folder: Path, module: Mapping[str, Any]) -> Dense:
    home = module_folder(folder, module)
    settings = read_json(home / "config.json", dict)
    default = _IDENTITY if module["type"].startswith("pylate.") else _TANH
    activation = settings.get("activation_function", default)
    if activation not in ACTIVATIONS:
        raise EncoderError(f"{home} has the activation {activation!r}; known are {', '.join(ACTIVATIONS)}")
    path = next((home / file for file in (SAFETENSORS, PICKLED) if (home / file).is_file()), None)
    if path is None:
        raise EncoderError(f"{home} has no weights: there is neither {SAFETENSORS} nor {PICKLED}")
    tensors = read_file(path)
    inputs, outputs = settings.get("in_features"), settings.get("out_features")
    needs_residual = bool(settings.get("use_residual")) and inputs != outputs
    expected = {"linear.weight"}
    expected |= {"linear.bias"} if settings.get("bias", True) else set()
    expected |= {"residual.weight"} if needs_residual else set()
    if tensors.keys() != expected or list(tensors["linear.weight"].shape) != [outputs, inputs]:
        came = ", ".join(f"{key} {list(tensor.shape)}" for key, tensor in sorted(tensors.items()))
        raise EncoderError(
            f"{path} holds {came}; its config.json says {', '.join(sorted(expected))} of [{outputs}, {inputs}]"
        )
    residual = tensors["residual.weight"] if needs_residual else ("input" if settings.get("use_residual") else None)
    return Dense(tensors["linear.weight"], tensors.get("linear.bias"), residual, activation)


# -- rules -------------------------------------------------------------------------------------------------------------
def _rules(
    folder: Path, home: Path, modules: list[Mapping[str, Any]], config: Mapping[str, Any], tokenizer: Tokenizer
) -> TokenRules:
    settings = read_json(folder / "config_sentence_transformers.json", dict)
    transformer = read_json(home / "sentence_bert_config.json", dict)
    if transformer.get("do_lower_case"):
        raise _NotOursError
    if _is_pylate(folder, modules):
        return _pylate_rules(settings, tokenizer)
    return _sentence_transformers_rules(folder, modules, settings, transformer, config, tokenizer)


def _pylate_rules(settings: Mapping[str, Any], tokenizer: Tokenizer) -> TokenRules:
    if any((settings.get("prompts") or {}).values()):
        raise _NotOursError  # prompts beside prefixes
    markers = {
        role: _marker(_or_default(settings.get(f"{role}_prefix"), prompt), tokenizer, set(tokenizer.get_vocab()))
        for role, prompt in _PYLATE_PROMPTS.items()
    }
    lengths = {role: settings.get(f"{role}_length") or length for role, length in _PYLATE_LENGTHS.items()}
    words = settings.get("skiplist_words")
    return TokenRules(
        query_marker=markers["query"],
        document_marker=markers["document"],
        query_length=int(lengths["query"]),
        document_length=int(lengths["document"]),
        query_expansion=settings.get("do_query_expansion") is not False,
        attends_to_expansion=bool(settings.get("attend_to_expansion_tokens")),
        punctuation="pylate",
        skipped_words=tuple(string.punctuation if words is None else words),
    )


def _or_default(prefix: object, default: str) -> str:
    return prefix if isinstance(prefix, str) else default


def _sentence_transformers_rules(
    folder: Path,
    modules: list[Mapping[str, Any]],
    settings: Mapping[str, Any],
    transformer: Mapping[str, Any],
    config: Mapping[str, Any],
    tokenizer: Tokenizer,
) -> TokenRules:
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    markers = {role: _marker(_prompt(settings, role), tokenizer, added) for role in _PROMPT_NAMES}
    for role, marker in markers.items():
        if marker is not None and not is_put_before_a_text(str(_prompt(settings, role)), marker, tokenizer):
            raise _NotOursError
    own = transformer.get("max_seq_length") or longest_text(config)
    expansion = transformer.get("query_expansion")
    if expansion and (expansion.get("strategy") != "fixed" or expansion.get("token") is not None):
        raise _NotOursError
    query_length = expansion["length"] if expansion else transformer.get("query_length") or own
    words: list[str] = []
    for module in modules:
        if _kind(module) == "MultiVectorMask":
            mask = read_json(module_folder(folder, module) / "config.json", dict)
            if mask.get("keep_only_token_ids") or mask.get("skiplist_tasks", ["document"]) != ["document"]:
                raise _NotOursError
            words = mask.get("skiplist_words") or []
    return TokenRules(
        query_marker=markers["query"],
        document_marker=markers["document"],
        query_length=int(query_length),
        document_length=int(transformer.get("document_length") or own),
        query_expansion=bool(expansion),
        attends_to_expansion=bool(expansion and expansion.get("attend")),
        punctuation="sentence-transformers",
        skipped_words=tuple(words),
    )


def is_put_before_a_text(prompt: str, marker: str, tokenizer: Tokenizer) -> bool:
    """Whether a prompt that is tokenised with a text gives the marker and then the tokens of the text alone.

    Byte-level vocabularies know a word behind a space from one at the beginning.
    """
    text = "Hello world"
    together = tokenizer.encode(prompt + text, add_special_tokens=False).ids
    alone = tokenizer.encode(text, add_special_tokens=False).ids
    return bool(together == [tokenizer.token_to_id(marker), *alone])


def _prompt(settings: Mapping[str, Any], role: str) -> str | None:
    prompts = settings.get("prompts") or {}
    name = next((name for name in _PROMPT_NAMES[role] if name in prompts), settings.get("default_prompt_name"))
    prompt = prompts.get(name)
    return prompt if isinstance(prompt, str) else None


def _marker(prompt: str | None, tokenizer: Tokenizer, known: set[str]) -> str | None:
    """The one token that a prompt is. Raises _NotOursError where it is text."""
    if not prompt:
        return None
    for token in (prompt, prompt.strip()):
        if token in known and tokenizer.token_to_id(token) is not None:
            return token
    raise _NotOursError
