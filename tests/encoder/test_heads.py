"""The heads of `mini` are orthonormal, shipped in versions, and asked for by dimension and version."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from jcb_engine.encoder import Encoder
from jcb_engine.encoder.head_files import head_versions, heads_path, read_heads
from jcb_engine.errors import InputError

DIMS = [64, 96, 128, 256, 384]
# What was shipped must never change: an index made with it stays searchable.
SHIPPED = {1: "2e3cc02b8cef9bd868a184ad7e410917825da58cf204c8d40b229c7c505ca7c2"}


@pytest.mark.parametrize("dim", DIMS)
def test_the_rows_of_a_head_are_orthonormal_but_for_float16(dim: int) -> None:
    weight = read_heads(1).weights[dim]
    assert weight.shape == (dim, 384)
    assert weight.dtype == np.float32
    np.testing.assert_allclose(weight @ weight.T, np.eye(dim), atol=1e-3)


def test_the_head_of_384_dimensions_leaves_vectors_as_they_are() -> None:
    np.testing.assert_array_equal(read_heads(1).weights[384], np.eye(384))


def test_files_that_were_shipped_are_unchanged() -> None:
    hashes = {version: hashlib.sha256(heads_path(version).read_bytes()).hexdigest() for version in head_versions()}
    assert hashes == SHIPPED
    assert read_heads().sha256 == SHIPPED[max(SHIPPED)]


def test_the_file_is_small_and_tells_how_it_was_made() -> None:
    assert heads_path(1).stat().st_size < 1 << 20
    with safe_open(heads_path(1), "np") as file:
        making = json.loads(file.metadata()["making"])
    assert (making["version"], making["dims"]) == (1, DIMS)
    assert {"corpus", "documents", "method", "model", "seed", "tokens"} <= making.keys()


def test_no_version_means_the_newest() -> None:
    assert read_heads().version == max(head_versions())


def test_a_dimension_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(InputError, match=r"'mini@1' has no head of 100 dimensions; it has 64, 96, 128, 256, 384"):
        Encoder("mini@1", dim=100, local_files_only=True)


def test_a_version_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(InputError, match=r"there is no 'mini@7'; there are: mini@1"):
        read_heads(7)


def test_the_newest_of_several_versions_is_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (1, 2, 10):
        (tmp_path / f"mini-{version}.safetensors").write_bytes(heads_path(1).read_bytes())
    (tmp_path / "notes.txt").touch()
    monkeypatch.setattr("jcb_engine.encoder.head_files.HEADS_FOLDER", tmp_path)
    assert head_versions() == [1, 2, 10]
    assert read_heads().version == 10
