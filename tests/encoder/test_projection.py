"""Heads: chosen by dimension, several from one pass, cut down only where the model says so, bits kept by saving."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="needs jcb-engine[models]")

from safetensors.torch import load_file, save_file  # noqa: E402

from jcb_engine.encoder import Encoder  # noqa: E402
from jcb_engine.encoder.layouts.tensors import read_tensors  # noqa: E402
from jcb_engine.errors import EncoderError, InputError  # noqa: E402
from tests.encoder import checkpoints  # noqa: E402
from tests.encoder.checkpoints import DIM  # noqa: E402

TEXTS = ["Hello World", "the car is fast .", "the " * 40, "", "東京"]
DIMS = (4, 8, DIM, 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four heads: the default of 16 dimensions and three others."""
    return checkpoints.write_jina_v2(tmp_path_factory.mktemp("heads"), heads=[4, 8, 24])


def test_a_dim_chooses_its_own_matrix(folder: Path) -> None:
    assert (Encoder(folder).dim, Encoder(folder).dims) == (DIM, DIMS)
    tensors = load_file(folder / "model.safetensors")
    for dim in DIMS:
        # the same backbone with that matrix as its only head
        alone = folder.parent / f"alone-{dim}"
        shutil.copytree(folder, alone, dirs_exist_ok=True)
        matrix = tensors["linear.weight" if dim == DIM else f"heads.{dim}.weight"]
        backbone = {name: tensor for name, tensor in tensors.items() if name.startswith("roberta.")}
        save_file(backbone | {"linear.weight": matrix}, alone / "model.safetensors")
        expected = Encoder(alone).encode_document(TEXTS)
        came = Encoder(folder, dim=dim).encode_document(TEXTS)
        assert came.dim == dim
        np.testing.assert_array_equal(came.values, expected.values)


def test_a_smaller_vector_is_no_beginning_of_a_larger_one(folder: Path) -> None:
    small, large = (Encoder(folder, dim=dim).encode_document(["Hello World"]).values for dim in (8, DIM))
    beginning = large[:, :8] / np.linalg.norm(large[:, :8], axis=1, keepdims=True)
    assert np.abs(small - beginning).max() > 0.1


def test_several_dims_come_from_one_pass(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jcb_engine.encoder.packed_model import Replica

    passes = []
    hidden_states = Replica.hidden_states
    monkeypatch.setattr(Replica, "hidden_states", lambda *args: passes.append(1) or hidden_states(*args))
    documents = Encoder(folder).encode_document_dims(TEXTS, DIMS)
    queries = Encoder(folder).encode_query_dims(["Hello"], [4, 24])
    assert len(passes) == 2
    assert list(documents) == list(DIMS)
    for dim in DIMS:
        np.testing.assert_array_equal(documents[dim].values, Encoder(folder, dim=dim).encode_document(TEXTS).values)
        assert np.diff(documents[dim].offsets).tolist()[3] == 0
    np.testing.assert_array_equal(queries[24].values, Encoder(folder, dim=24).encode_query(["Hello"]).values)


def test_mini_gives_several_dims_too(mini: Encoder) -> None:
    vectors = mini.encode_document_dims(["a car", "another"], [64, 384])
    np.testing.assert_array_equal(vectors[64].values, Encoder("mini", 64).encode_document(["a car", "another"]).values)
    assert vectors[384].dim == 384


def test_a_dim_that_is_not_there_names_those_that_are(folder: Path) -> None:
    message = r"has no head of 12 dimensions; it has 4, 8, 16, 24\. A smaller vector is another projection"
    with pytest.raises(InputError, match=message):
        Encoder(folder, dim=12)
    with pytest.raises(InputError, match=message):
        Encoder(folder).encode_document_dims(["a"], [4, 12])


def test_an_object_has_its_one_dim() -> None:
    class Own:
        dim = 2

        def encode_query(self, texts: list[str]) -> list[np.ndarray]:
            return [np.ones((1, 2), np.float32) for _ in texts]

        encode_document = encode_query

    assert Encoder(Own()).dims == (2,)
    with pytest.raises(InputError, match=r"dims \[2, 4\] are asked of .*Own', which has 2 alone"):
        Encoder(Own()).encode_query_dims(["a"], [2, 4])


def test_a_model_that_says_so_is_cut_down(tmp_path: Path) -> None:
    (tmp_path / "trained").mkdir()
    folder = checkpoints.write_jina_v2(tmp_path / "trained", config={"matryoshka_dimensions": [4, 8, DIM]})
    encoder = Encoder(folder)
    assert encoder.dims == (4, 8, DIM)
    whole, cut = encoder.encode_document(TEXTS).values, Encoder(folder, dim=8).encode_document(TEXTS).values
    np.testing.assert_allclose(cut, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), atol=1e-5)
    encoder = Encoder(folder, dim=8)
    encoder.save(tmp_path / "saved")
    again = Encoder(tmp_path / "saved")
    assert (again.dim, again.dims) == (8, (4, 8, DIM))
    for dim in again.dims:
        expected = Encoder(folder, dim=dim).encode_document(TEXTS)
        np.testing.assert_array_equal(
            Encoder(tmp_path / "saved", dim=dim).encode_document(TEXTS).values, expected.values
        )


# -- saving ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saving_keeps_every_name_and_every_bit(folder: Path, tmp_path: Path, dtype: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(folder, source)
    tensors = {
        name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    Encoder(source).save(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert saved.keys() == tensors.keys()
    assert all(saved[name].dtype == tensors[name].dtype and torch.equal(saved[name], tensors[name]) for name in tensors)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "saved" / name).read_bytes() == (source / name).read_bytes()
    config, metadata = (
        [json.loads((folder / name).read_text()) for folder in (source, tmp_path / "saved")]
        for name in ("config.json", "artifact.metadata")
    )
    assert config[0] == config[1]
    assert metadata[0] == metadata[1]
    again = Encoder(tmp_path / "saved")
    assert again.record.differences(Encoder(source).record) == []
    np.testing.assert_array_equal(again.encode_query(["Hello"]).values, Encoder(source).encode_query(["Hello"]).values)


def test_saving_at_another_dim_makes_it_the_default_and_loses_no_head(folder: Path, tmp_path: Path) -> None:
    Encoder(folder, dim=8, query_length=48, document_length=512).save(tmp_path / "saved")
    again = Encoder(tmp_path / "saved")
    assert (again.dim, again.dims) == (8, DIMS)
    assert (again.record.query_length, again.record.document_length) == (48, 512)
    expected = Encoder(folder, dim=DIM).encode_document(TEXTS)
    np.testing.assert_array_equal(Encoder(tmp_path / "saved", dim=DIM).encode_document(TEXTS).values, expected.values)


@pytest.mark.parametrize("write", [checkpoints.write_jina_v2, checkpoints.write_colbert_v2])
@pytest.mark.parametrize("attends", [True, False])
def test_an_export_gives_the_same_vectors_in_sentence_transformers(
    write: Callable[[Path], Path], attends: bool, tmp_path: Path
) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    (tmp_path / "source").mkdir()
    encoder = Encoder(write(tmp_path / "source"), attends_to_expansion=attends)
    encoder.export(tmp_path / "exported")
    library = sentence_transformers.MultiVectorEncoder(
        str(tmp_path / "exported"), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    )
    texts = ["Hello World", "the car! is (fast) , red", "car " * 200]
    for method in ("encode_query", "encode_document"):
        expected = getattr(library, method)(texts, convert_to_numpy=True)
        for came, vectors in zip(getattr(encoder, method)(texts), expected, strict=True):
            np.testing.assert_allclose(came, vectors, atol=1e-5)
    # and we load it, too, by the layout's own rules
    ours = Encoder(tmp_path / "exported")
    assert ours.record.family == "colbert"
    np.testing.assert_allclose(ours.encode_document(texts).values, encoder.encode_document(texts).values, atol=1e-5)


def test_settings_and_language_survive_saving(tmp_path: Path) -> None:
    (tmp_path / "xm").mkdir()
    encoder = Encoder(
        checkpoints.write_colbert_xm(tmp_path / "xm"),
        language="de_DE",
        query_expansion=False,
        special_tokens_as_text=True,
        punctuation="off",
    )
    encoder.save(tmp_path / "saved")
    again = Encoder(tmp_path / "saved")
    usual = Encoder(tmp_path / "saved", query_expansion=True, special_tokens_as_text=False)
    usual.save(tmp_path / "usual")
    record = Encoder(tmp_path / "usual").record
    assert (record.query_expansion, record.special_tokens_as_text, record.language) == (True, False, "de_DE")
    different = [line for line in again.record.differences(encoder.record) if not line.startswith(("name", "weights"))]
    assert different == []
    np.testing.assert_array_equal(again.encode_document(TEXTS).values, encoder.encode_document(TEXTS).values)


def test_a_marker_that_is_the_unknown_token_cannot_be_exported(tmp_path: Path) -> None:
    (tmp_path / "xm").mkdir()
    with pytest.raises(InputError, match=r"the marker '\[unused0\]' .* is no token that sentence-transformers can"):
        Encoder(checkpoints.write_colbert_xm(tmp_path / "xm")).export(tmp_path / "exported")


def test_what_is_there_already_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for write in (Encoder(folder).save, Encoder(folder).export):
        with pytest.raises(InputError, match="is there already and not empty"):
            write(tmp_path / "full")
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_what_has_no_such_layout_cannot_be_written(mini: Encoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'mini@1' cannot be written: only checkpoints in Stanford's layout"):
        mini.save(tmp_path / "saved")
    (tmp_path / "v1").mkdir()
    with pytest.raises(InputError, match="is JinaBERT, which no class of transformers loads"):
        Encoder(checkpoints.write_jina_v1(tmp_path / "v1")).export(tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


# -- files that contradict themselves ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"linear.weight": None}, "missing linear.weight"),
        ({"linear.weight": (DIM, 8)}, r"has linear.weight of shape \[16, 8\]; expected \[dim, 32\]"),
        ({"heads.8.weight": (9, 32)}, "has heads.8.weight of 9 dimensions"),
        ({"linear.bias": (DIM,)}, "not expected linear.bias"),
        ({"roberta.encoder.layers.0.norm1.bias": None}, "missing layers.0.post_attention_layernorm.bias"),
        ({"roberta.encoder.layers.7.norm1.bias": (32,)}, "not expected .*7"),
        ({"roberta.emb_ln.weight": (31,)}, "cannot be loaded by transformers|emb_ln|LayerNorm"),
        ({"roberta.embeddings.word_embeddings.weight": None}, r"hold 0 tensors \*embeddings.word_embeddings.weight"),
    ],
)
def test_every_tensor_is_used_or_named(
    folder: Path, tmp_path: Path, changed: dict[str, tuple[int, ...] | None], message: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    tensors = read_tensors(folder, "fixture")
    for name, shape in changed.items():
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = torch.zeros(shape)
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(EncoderError, match=message) as caught:
        Encoder(broken)
    assert "\n" not in str(caught.value)


def test_berts_tensors_are_checked_as_well(tmp_path: Path) -> None:
    folder = checkpoints.write_colbert_v2(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    missing = tensors.pop("bert.encoder.layer.1.output.dense.bias")
    save_file(tensors | {"bert.encoder.layer.1.extra": missing}, folder / "model.safetensors")
    message = "missing encoder.layer.1.output.dense.bias; not expected encoder.layer.1.extra"
    with pytest.raises(EncoderError, match=message):
        Encoder(folder)
    wrong = {**tensors, "bert.encoder.layer.1.output.dense.bias": torch.zeros(5)}
    save_file(wrong, folder / "model.safetensors")
    with pytest.raises(EncoderError, match=r"encoder.layer.1.output.dense.bias \[5\] instead of \[32\]"):
        Encoder(folder)
