"""An index knows the checkpoint that made it, encodes queries as that did, and refuses another, saying how."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="needs jcb-engine[models]")

from safetensors.torch import load_file, save_file  # noqa: E402

from jcb_engine import Document, Encoder, IndexWriter, Searcher  # noqa: E402
from jcb_engine.errors import EncoderMismatchError  # noqa: E402
from tests.encoder import checkpoints  # noqa: E402

TEXTS = ["Hello World", "the red car is fast .", "Berlin", "the cars is de Berlin", "unit - x+1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.write_jina_v2(tmp_path_factory.mktemp("jina-v2"), heads=[8])


@pytest.fixture(scope="module")
def index(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index at settings that are not the checkpoint's defaults."""
    path = tmp_path_factory.mktemp("indexes") / "index"
    with IndexWriter.create(path, encoder=made(folder), nbits=16) as writer:
        writer.add([Document(id=str(number), text=text) for number, text in enumerate(TEXTS)])
    return path


def made(folder: Path, **changed: object) -> Encoder:
    settings: dict[str, object] = {"dim": 8, "query_length": 48, "document_length": 100, "attends_to_expansion": False}
    return Encoder(folder, **{**settings, **changed})  # type: ignore[arg-type]


def test_queries_are_encoded_as_the_index_was_made(folder: Path, index: Path) -> None:
    searcher = Searcher.open(index)
    encoder = made(folder)
    assert searcher.encoder().record == encoder.record
    hits = searcher.search("the car", k=5, exact=True)
    query = encoder.encode_query(["the car"])[0]
    scores = [(query @ vectors.T).max(axis=1).sum() for vectors in encoder.encode_document(TEXTS)]
    assert query.shape == (48, 8)
    assert [hit.id for hit in hits] == [str(number) for number in np.argsort(-np.array(scores), kind="stable")]
    np.testing.assert_allclose([hit.score for hit in hits], sorted(scores, reverse=True), atol=0.05)


def test_the_record_says_which_encoder_it_was(folder: Path, index: Path) -> None:
    record = Searcher.open(index).info().encoder
    assert record is not None
    assert (record["family"], record["name"], record["dim"]) == ("colbert", str(folder), 8)
    assert (record["query_marker"], record["document_marker"]) == ("[QueryMarker]", "[DocumentMarker]")
    assert (record["query_length"], record["document_length"], record["query_expansion"]) == (48, 100, True)
    assert (record["attends_to_expansion"], record["punctuation"]) == (False, "reference")
    for name in ("head_sha256", "weights_sha256", "tokenizer_sha256"):
        assert len(str(record[name])) == 64


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query_length": 32}, "query_length is 48 here and 32 there"),
        ({"document_length": 300}, "document_length is 100 here and 300 there"),
        ({"attends_to_expansion": True}, "attends_to_expansion is False here and True there"),
        ({"query_expansion": False, "attends_to_expansion": None}, "query_expansion is True here and False there"),
        ({"punctuation": "off"}, "punctuation is 'reference' here and 'off' there"),
        ({"special_tokens_as_text": True}, "special_tokens_as_text is False here and True there"),
    ],
)
def test_an_encoder_with_other_settings_is_refused(
    folder: Path, index: Path, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(EncoderMismatchError, match=message):
        Searcher.open(index, encoder=made(folder, **changed))
    assert Searcher.open(index, encoder=made(folder)).search("car", k=1)


def test_an_encoder_of_another_dim_is_refused(folder: Path, index: Path) -> None:
    with pytest.raises(EncoderMismatchError, match="gives 16 dimensions, the index holds 8"):
        Searcher.open(index, encoder=made(folder, dim=16))


def other_head(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"heads.8.weight": tensors["heads.8.weight"] * -1}, folder / "model.safetensors")


def other_backbone(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "roberta.emb_ln.bias"
    save_file(tensors | {name: tensors[name] + 1}, folder / "model.safetensors")


def other_tokenizer(folder: Path) -> None:
    content = (folder / "tokenizer.json").read_text("utf-8")
    (folder / "tokenizer.json").write_text(content.replace("▁Berlin", "▁Berlim"), "utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_head, "head_sha256 is .* weights_sha256 is"),
        (other_backbone, "weights_sha256 is"),
        (other_tokenizer, "tokenizer_sha256 is"),
    ],
)
def test_a_folder_that_changed_since_is_refused(
    folder: Path, tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    with IndexWriter.create(tmp_path / "index", encoder=made(own)) as writer:
        writer.add([Document(id="a", text="Hello World")])
    assert Searcher.open(tmp_path / "index").search("Hello", k=1)
    change(own)
    with pytest.raises(EncoderMismatchError, match=message):
        Searcher.open(tmp_path / "index").search("Hello", k=1)
