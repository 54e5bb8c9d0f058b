"""Models that a library loads by itself: it loads quietly, what went wrong is one error, and nothing is made up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.core_model_loading import revert_weight_conversion
from transformers.utils import logging as transformers_logging

from jcb_engine.encoder.backbones.weights import require_complete, without_other_parts
from jcb_engine.encoder.hub import first_line
from jcb_engine.encoder.layouts.recognition import backbone_folder
from jcb_engine.encoder.layouts.tensors import read_tensors
from jcb_engine.encoder.model_files import read_json
from jcb_engine.errors import EncoderError


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Neither bars for weights that load, nor reports of keys, which are checked by `require_complete`."""
    had_bars, verbosity = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_bars:
            transformers_logging.enable_progress_bar()


def load_failure(folder: Path, name: str, error: Exception) -> EncoderError:
    """What to raise where sentence-transformers could not load a folder."""
    config = read_json(backbone_folder(folder) / "config.json", dict)
    if config.get("auto_map") and "trust_remote_code" in str(error):
        return EncoderError(
            f"'{name}' needs code from its own repository, which is never run; use a model of an architecture that "
            "transformers has, or encode with it yourself and index the vectors"
        )
    return EncoderError(
        f"'{name}' cannot be loaded by sentence-transformers: {type(error).__name__}: {first_line(error)}"
    )


def require_all_keys(model: Any, folder: Path, name: str) -> None:
    """model: a transformers model as sentence-transformers loaded it from a folder.

    Raises EncoderError with the names of tensors that the checkpoint lacks, which the library fills at random, and of
    those that it did not use.
    """
    needed = revert_weight_conversion(model, model.state_dict())
    tied = set(model.all_tied_weights_keys or ())
    held = read_tensors(backbone_folder(folder), name)
    prefix = f"{model.base_model_prefix}." if model.base_model_prefix else ""
    if prefix and any(key.startswith(prefix) for key in held) and not any(key.startswith(prefix) for key in needed):
        # what stands beside a backbone under its prefix belongs to a task that is not this one
        held = {key.removeprefix(prefix): tensor for key, tensor in held.items() if key.startswith(prefix)}
    wanted = without_other_parts(needed).keys()
    require_complete(wanted - held.keys() - tied, without_other_parts(held).keys() - wanted, name)
