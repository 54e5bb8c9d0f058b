"""The one place with torch.load: old checkpoints whose tensors are pickled. Nothing but tensors is ever unpickled."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import torch
from torch import Tensor

from jcb_engine.errors import EncoderError


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a pytorch_model.bin, by name, on the CPU and mapped from the file where its format allows.

    Raises EncoderError for a file that is damaged, or holds anything but a dictionary of tensors.
    """
    try:
        content = _load(path)
    except pickle.UnpicklingError as error:
        raise EncoderError(
            f"{path} holds more than tensors, and nothing else is read from a pickle; convert it to model.safetensors "
            "where it comes from (safetensors.torch.save_file of its state dict)"
        ) from error
    # whatever a damaged archive makes of itself
    except (RuntimeError, ValueError, EOFError, KeyError, OSError) as error:
        raise EncoderError(f"{path} cannot be read: it is damaged, or no file of torch.save") from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise EncoderError(
            f"{path} holds a {type(content).__name__} that is no dictionary of tensors by name; save its state dict as "
            "model.safetensors"
        )
    return dict(content)


def _load(path: Path) -> object:
    with warnings.catch_warnings():
        # torch warns of a pickle's protocol; whether what is in it can be read shows at once
        warnings.simplefilter("ignore", UserWarning)
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            return torch.load(path, map_location="cpu", weights_only=True)  # the format before torch 1.6
