"""The heads of `mini`: matrices [dim, hidden] that project hidden states to token vectors, in versions.

A version is one file, heads/mini-<version>.safetensors, shipped for ever, since an index made with it must stay
searchable. It holds a float16 tensor `heads.<dim>.weight` [dim, hidden] for every dimension on offer, and metadata that
tells how they were made. Vectors are normalised after the head.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from jcb_engine.errors import EncoderError, InputError
from jcb_engine.types import Float32Array

HEADS_FOLDER = Path(__file__).with_name("heads")
_FILE_NAME = re.compile(r"mini-(\d+)\.safetensors")
_TENSOR_NAME = re.compile(r"heads\.(\d+)\.weight")


@dataclass(frozen=True, slots=True)
class HeadFile:
    """weights: [dim, hidden] float32 by dimension; version and sha256 of the file."""

    weights: Mapping[int, Float32Array]
    version: int
    sha256: str

    @property
    def name(self) -> str:
        """What loads this version."""
        return f"mini@{self.version}"


def head_versions() -> list[int]:
    """The versions that are shipped, oldest first."""
    matches = [_FILE_NAME.fullmatch(path.name) for path in HEADS_FOLDER.iterdir()]
    return sorted(int(match[1]) for match in matches if match)


def heads_path(version: int) -> Path:
    """Where the file of a version is, or would be."""
    return HEADS_FOLDER / f"mini-{version}.safetensors"


def read_heads(version: int | None = None) -> HeadFile:
    """All heads of a version; None: the newest.

    Raises InputError for a version that is not there, EncoderError for a broken installation.
    """
    versions = head_versions()
    if not versions:
        raise EncoderError(f"no heads of 'mini' in {HEADS_FOLDER}; install jcb-engine again")
    if version is None:
        version = versions[-1]
    if version not in versions:
        known = ", ".join(f"mini@{known}" for known in versions)
        raise InputError(f"there is no 'mini@{version}'; there are: {known}, and 'mini' for the newest")
    content = heads_path(version).read_bytes()
    matches = {match: tensor for name, tensor in load(content).items() if (match := _TENSOR_NAME.fullmatch(name))}
    weights = {int(match[1]): tensor.astype(np.float32) for match, tensor in matches.items()}
    return HeadFile(weights, version, hashlib.sha256(content).hexdigest())
