"""The tensors of a checkpoint's folder, whatever files they are in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from jcb_engine.encoder.model_files import read_json
from jcb_engine.errors import EncoderError
from jcb_engine.torch_files import load_tensors

SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"


def read_tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """All tensors of the model in a folder, mapped from its files: one file or shards, safetensors before pickles.

    Raises EncoderError where there are none, or a file is damaged.
    """
    for file in (SAFETENSORS, PICKLED):
        if (folder / file).is_file():
            return read_file(folder / file)
        shards = read_json(folder / f"{file}.index.json", dict).get("weight_map")
        if isinstance(shards, Mapping):
            return _read_shards(folder, sorted({str(shard) for shard in shards.values()}))
    raise EncoderError(f"'{name}' has no weights: there is neither {SAFETENSORS} nor {PICKLED} in {folder}")


def _read_shards(folder: Path, shards: list[str]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise EncoderError(f"{folder} has no file {shard!r}, which its index of weights names; fetch it again")
        tensors |= read_file(folder / shard)
    return tensors


def read_file(path: Path) -> dict[str, Tensor]:
    """The tensors of one file. Raises EncoderError where it is damaged."""
    if path.suffix != ".safetensors":
        return load_tensors(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise EncoderError(
            f"{path} is cut short or damaged ({error}); fetch it again or get a complete copy"
        ) from error


def prefix_of(tensors: Mapping[str, Tensor], name: str) -> str:
    """Under which name the backbone stands: that which its class gives it, `bert.` or `roberta.`, or none."""
    words = "embeddings.word_embeddings.weight"
    prefixes = sorted(key.removesuffix(words) for key in tensors if key.endswith(words))
    if len(prefixes) != 1:
        raise EncoderError(f"the weights of '{name}' hold {len(prefixes)} tensors *{words}; expected one")
    return prefixes[0]


def split_by_prefix(tensors: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(tensors of the backbone, by name without its prefix; all others)."""
    backbone = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    return backbone, {key: tensor for key, tensor in tensors.items() if not key.startswith(prefix)}
