"""Encoders without a head: new heads to train, or one vector for a text; nothing is made up in silence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="needs jcb-engine[models]")
sentence_transformers = pytest.importorskip("sentence_transformers", reason="needs jcb-engine[models]")

from safetensors.torch import load_file, save_file  # noqa: E402

from jcb_engine import Document, IndexWriter, Searcher  # noqa: E402
from jcb_engine.encoder import Encoder  # noqa: E402
from jcb_engine.errors import EncoderError, InputError  # noqa: E402
from tests.encoder import checkpoints, forward_reference  # noqa: E402
from tests.encoder.checkpoints import HEADS, HIDDEN, Random  # noqa: E402
from tests.encoder.forward_reference import padded  # noqa: E402
from tests.encoder.token_reference import reference_tokenizer  # noqa: E402

TEXTS = ["Hello World", "the car is fast .", "the red car"]


@pytest.fixture
def xlm_roberta(tmp_path: Path) -> Path:
    """XLM-R as it is released for masked language modelling: a prefix, a language model head, no markers."""
    folder = tmp_path / "xlm-roberta"
    folder.mkdir()
    vocabulary = checkpoints.write_xlm_tokenizer(folder)
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    content["added_tokens"] = [token for token in content["added_tokens"] if "Marker" not in token["content"]]
    checkpoints.write_json(folder / "tokenizer.json", content)
    random = Random(7)
    tensors = checkpoints.prefixed("roberta.", checkpoints.bert_tensors(random, vocabulary - 2, 514, types=1))
    tensors |= random.linear("lm_head.dense", HIDDEN, HIDDEN) | {"lm_head.bias": random(vocabulary - 2)}
    checkpoints.write_tensors(folder, tensors)
    config = {**checkpoints.xlm_config(vocabulary - 2), "max_position_embeddings": 514}
    checkpoints.write_json(folder / "config.json", {**config, "architectures": ["XLMRobertaForMaskedLM"]})
    return folder


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A BERT for one vector per text, as mDPR is: no modules."""
    folder = tmp_path / "bert"
    folder.mkdir()
    vocabulary = checkpoints.write_bert_tokenizer(folder)
    checkpoints.write_tensors(folder, checkpoints.bert_tensors(Random(8), vocabulary, 512))
    config = {"architectures": ["BertModel"], **checkpoints.bert_config(vocabulary)}
    checkpoints.write_json(folder / "config.json", config)
    return folder


# -- new heads ---------------------------------------------------------------------------------------------------------
def test_a_bare_encoder_is_no_search_model(xlm_roberta: Path) -> None:
    with pytest.raises(EncoderError, match="is an encoder without a trained projection"):
        Encoder(xlm_roberta)


def test_new_heads_of_any_dims_are_seeded_and_saved_as_a_checkpoint(xlm_roberta: Path, tmp_path: Path) -> None:
    encoder = Encoder.with_new_heads(xlm_roberta, [8, 4, 24], seed=3)
    assert (encoder.dim, encoder.dims) == (8, (4, 8, 24))
    again, other = (Encoder.with_new_heads(xlm_roberta, [8, 4, 24], seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(again.encode_document(TEXTS).values, encoder.encode_document(TEXTS).values)
    assert np.abs(other.encode_document(TEXTS).values - encoder.encode_document(TEXTS).values).max() > 0.01
    encoder.save(tmp_path / "begun")
    begun = Encoder(tmp_path / "begun")
    assert (begun.dim, begun.dims, begun.record.family) == (8, (4, 8, 24), "colbert")
    np.testing.assert_array_equal(begun.encode_query(TEXTS).values, encoder.encode_query(TEXTS).values)


def test_markers_are_added_with_the_mean_embedding_and_the_rest_stays(xlm_roberta: Path, tmp_path: Path) -> None:
    Encoder.with_new_heads(xlm_roberta, [8]).save(tmp_path / "begun")
    name = "roberta.embeddings.word_embeddings.weight"
    before = load_file(xlm_roberta / "model.safetensors")[name]
    after = load_file(tmp_path / "begun" / "model.safetensors")[name]
    assert torch.equal(after[:-2], before)
    torch.testing.assert_close(after[-2:], before.mean(dim=0).expand(2, -1))
    tokens = Encoder(tmp_path / "begun").query_tokens("Hello")
    assert tokens is not None
    assert [token.text for token in tokens[:3]] == ["<s>", "[QueryMarker]", "▁Hello"]


def test_berts_unused_tokens_are_its_markers(bert: Path) -> None:
    tokens = Encoder.with_new_heads(bert, [4]).document_tokens("hello")
    assert [token.text for token in tokens or []] == ["[CLS]", "[unused1]", "hello", "[SEP]"]


@pytest.mark.parametrize("dims", [[], [4, 4], [0], [33], [True], ["8"], [4.0]])
def test_dims_that_cannot_be_are_told(bert: Path, dims: list[int]) -> None:
    with pytest.raises(InputError, match="dims is"):
        Encoder.with_new_heads(bert, dims)


def test_new_heads_need_an_encoder(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="has a backbone of type None, which is not known"):
        Encoder.with_new_heads(tmp_path, [4])
    with pytest.raises(EncoderError, match="there is no model folder 'nowhere'"):
        Encoder.with_new_heads("nowhere", [4])


# -- one vector for a text ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_one_vector_for_a_text_is_what_the_forward_pass_gives(bert: Path, pooling: str) -> None:
    encoder = Encoder(bert, pooling=pooling)  # type: ignore[arg-type]
    tokenizer = reference_tokenizer(bert)
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    padded_ids, mask = padded(ids, list(map(len, ids)))
    hidden = forward_reference.bert(load_file(bert / "model.safetensors"), padded_ids, mask, HEADS)
    mean = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
    expected = hidden[:, 0] if pooling == "cls" else mean
    for vectors in (encoder.encode_query(TEXTS), encoder.encode_document(TEXTS)):
        assert vectors.offsets.tolist() == [0, 1, 2, 3]
        np.testing.assert_allclose(vectors.values, expected.numpy(), atol=1e-5)


def test_the_same_engine_searches_it(bert: Path, tmp_path: Path) -> None:
    encoder = Encoder(bert, pooling="mean")
    with IndexWriter.create(tmp_path / "index", encoder=encoder, nbits=16) as writer:
        writer.add([Document(id=str(number), text=text) for number, text in enumerate([*TEXTS, "fast"])])
    searcher = Searcher.open(tmp_path / "index")  # loads the encoder by its record
    hits = searcher.search("the car", k=4, exact=True)
    query = encoder.encode_query(["the car"]).values[0]
    products = encoder.encode_document([*TEXTS, "fast"]).values @ query
    assert [hit.id for hit in hits] == [str(number) for number in np.argsort(-products)]
    np.testing.assert_allclose([hit.score for hit in hits], sorted(products, reverse=True), rtol=1e-3)
    match = searcher.explain("the car", "0").matches[0]
    assert (match.query_token, match.document_token, match.start, match.end) == ("the car", TEXTS[0], 0, len(TEXTS[0]))


def test_a_folder_with_modules_says_itself_how_to_pool(bert: Path, tmp_path: Path) -> None:
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    transformer = Transformer(str(bert))
    modules = [transformer, Pooling(HIDDEN, pooling_mode="mean"), Normalize()]
    library = sentence_transformers.SentenceTransformer(modules=modules, device="cpu")
    library.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    encoder = Encoder(tmp_path / "saved")
    np.testing.assert_allclose(encoder.encode_document(TEXTS).values, library.encode(TEXTS), atol=1e-5)
    assert (encoder.record.family, encoder.record.pooling, encoder.dim) == ("single-vector", None, HIDDEN)
    with pytest.raises(InputError, match=r"whose modules\.json says it; leave pooling out"):
        Encoder(tmp_path / "saved", pooling="cls")
    with pytest.raises(InputError, match=r"dim 8 is asked of .* whose vectors have 32"):
        Encoder(tmp_path / "saved", dim=8)


def test_what_is_cut_is_counted(bert: Path) -> None:
    vectors = Encoder(bert, pooling="cls").encode_document(["car " * 510, "car " * 520])
    assert vectors.tokens_cut is not None
    assert vectors.tokens_cut.tolist() == [0, 10]


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("encoder.layer.0.output.dense.weight", None, "missing encoder.layer.0.output.dense.weight"),
        (None, "encoder.layer.0.extra", "not expected encoder.layer.0.extra"),
    ],
)
def test_the_library_fills_no_gap_at_random(bert: Path, removed: str | None, added: str | None, message: str) -> None:
    tensors = load_file(bert / "model.safetensors")
    if removed is not None:
        del tensors[removed]
    if added is not None:
        tensors[added] = torch.zeros(3)
    save_file(tensors, bert / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=message):
        Encoder(bert, pooling="cls")
