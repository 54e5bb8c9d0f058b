"""The rules that a caller may switch: expansion, attention to it, punctuation, special tokens in texts, lengths."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers", reason="needs jcb-engine[models]")

from jcb_engine.encoder import Encoder
from jcb_engine.errors import InputError
from tests.encoder import checkpoints
from tests.encoder.token_reference import (
    document_ids,
    query_ids,
    reference_tokenizer,
    skipped_ids,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.write_jina_v2(tmp_path_factory.mktemp("jina-v2"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Encoder(folder)


def names(encoder: Encoder, text: str, *, is_query: bool = False) -> list[str]:
    tokens = encoder.query_tokens(text) if is_query else encoder.document_tokens(text)
    assert tokens is not None
    return [token.text for token in tokens]


def test_any_text_has_the_ids_of_the_reference(folder: Path, encoder: Encoder) -> None:
    tokenizer = reference_tokenizer(folder)
    skipped = skipped_ids(tokenizer, "reference")
    pieces = st.sampled_from(
        [*"abcder .,!()-'\n", "Hello", "東京", "<mask>", "</s>", "<pad>", "[QueryMarker]", "<unk>"]
    )

    @settings(max_examples=200, deadline=None)
    @given(st.lists(pieces, min_size=1, max_size=60).map("".join))
    def check(text: str) -> None:
        if not tokenizer(text, add_special_tokens=False)["input_ids"]:
            return
        expected, _ = query_ids(tokenizer, text, "[QueryMarker]", 32)
        assert names(encoder, text, is_query=True) == tokenizer.convert_ids_to_tokens(expected)
        kept = [i for i in document_ids(tokenizer, text, "[DocumentMarker]", 300) if i not in skipped | {1}]
        assert names(encoder, text) == tokenizer.convert_ids_to_tokens(kept)

    check()


def test_a_query_has_always_its_length_unless_expansion_is_off(folder: Path, encoder: Encoder) -> None:
    assert len(encoder.encode_query(["Hello"])[0]) == 32
    longer, unexpanded = Encoder(folder, query_length=300), Encoder(folder, query_expansion=False)
    assert len(longer.encode_query(["Hello"])[0]) == 300
    assert names(unexpanded, "Hello", is_query=True) == ["<s>", "[QueryMarker]", "▁Hello", "</s>"]
    assert len(unexpanded.encode_query(["Hello"])[0]) == 4


def test_a_longer_query_is_cut_before_its_end_and_says_so(folder: Path, encoder: Encoder) -> None:
    query = "the " * 40
    cut = encoder.encode_query([query])
    assert cut.tokens_cut is not None
    assert cut.tokens_cut.tolist() == [11]
    assert names(encoder, query, is_query=True) == ["<s>", "[QueryMarker]", *["▁the"] * 29, "</s>"]
    whole = Encoder(folder, query_length=43).encode_query([query])
    assert whole.tokens_cut is not None
    assert whole.tokens_cut.tolist() == [0]


def test_attention_to_the_expansion_can_be_switched_and_changes_the_other_vectors(
    folder: Path, encoder: Encoder
) -> None:
    ignoring = Encoder(folder, attends_to_expansion=False)
    unexpanded = Encoder(folder, query_expansion=False)
    attended, ignored, alone = (which.encode_query(["Hello World"])[0] for which in (encoder, ignoring, unexpanded))
    assert np.abs(attended[:5] - ignored[:5]).max() > 1e-3
    # expansion that nobody attends to changes nothing for the tokens of the query
    np.testing.assert_allclose(ignored[: len(alone)], alone, atol=1e-5)
    assert len(ignored) == 32


@pytest.mark.parametrize("rule", ["reference", "pylate", "sentence-transformers", "off"])
def test_each_rule_leaves_out_its_own_punctuation(folder: Path, rule: str) -> None:
    text = "Hello, World! ! ( the car) - ' ~ unheard"
    tokenizer = reference_tokenizer(folder)
    skipped = set() if rule == "off" else skipped_ids(tokenizer, rule)
    expected = [i for i in document_ids(tokenizer, text, "[DocumentMarker]", 300) if i not in skipped]
    encoder = Encoder(folder, punctuation=rule)  # type: ignore[arg-type]
    assert names(encoder, text) == tokenizer.convert_ids_to_tokens(expected)
    assert len(encoder.encode_document([text])[0]) == len(expected)


def test_the_rules_differ_as_they_do_in_their_libraries(folder: Path) -> None:
    kept = {
        rule: names(Encoder(folder, punctuation=rule), "Hello, ! ~")  # type: ignore[arg-type]
        for rule in ("reference", "pylate", "sentence-transformers")
    }
    # "▁!" starts a word, "," is glued to one, "~" is not in the vocabulary
    assert ("," in kept["reference"], "▁!" in kept["reference"]) == (True, False)
    assert ("," in kept["pylate"], "▁!" in kept["pylate"]) == (False, True)
    assert ("<unk>" in kept["pylate"], "<unk>" in kept["sentence-transformers"]) == (False, True)


def test_queries_keep_their_punctuation(encoder: Encoder) -> None:
    assert "▁!" in names(encoder, "Hello !", is_query=True)


def test_special_tokens_in_a_text_are_tokens_as_in_the_reference_or_text(folder: Path, encoder: Encoder) -> None:
    text = "Hello <mask> </s> [DocumentMarker]"
    assert names(encoder, text)[2:-1] == ["▁Hello", "<mask>", "</s>", "[DocumentMarker]"]
    as_text = Encoder(folder, special_tokens_as_text=True)
    assert not {"<mask>", "</s>", "[DocumentMarker]"} & set(names(as_text, text)[2:-1])
    spelled = ["▁Hello", "▁", "<", "m", "a", "s", "k", ">", "</s>", "<mask>"]
    assert names(as_text, "Hello <mask>", is_query=True)[2:12] == spelled
    assert names(as_text, text)[:2] == ["<s>", "[DocumentMarker]"]
    # a typed pad gets no vector in a document and becomes a mask in a query, as the reference has it
    assert "<pad>" not in names(encoder, "Hello <pad>")
    assert names(encoder, "Hello <pad>", is_query=True)[2:4] == ["▁Hello", "<mask>"]


def test_spans_point_into_the_text(encoder: Encoder) -> None:
    text = "Hello,   World the cars"
    tokens = encoder.document_tokens(text)
    assert tokens is not None
    assert "".join(text[token.start : token.end] for token in tokens if token.start >= 0) == text.replace(" ", "")
    assert [(token.start, token.end) for token in (tokens[0], tokens[1], tokens[-1])] == [(-1, -1)] * 3
    query = encoder.query_tokens("Hello")
    assert query is not None
    assert (query[2].start, query[2].end) == (0, 5)
    assert {(token.start, token.end) for token in (*query[:2], *query[3:])} == {(-1, -1)}


def test_a_document_of_punctuation_alone_keeps_its_frame(encoder: Encoder) -> None:
    assert names(encoder, "! (") == ["<s>", "[DocumentMarker]", "</s>"]


@pytest.mark.parametrize("text", ["\u200b", "\u2028"])
def test_a_text_without_a_token_has_no_vector_and_is_no_query(encoder: Encoder, text: str) -> None:
    if names(encoder, text):
        pytest.skip("this tokenizer makes a token of it")
    assert np.diff(encoder.encode_document(["Hello", text]).offsets).tolist()[1] == 0
    with pytest.raises(InputError, match="nothing to search for"):
        encoder.encode_query([text])


@pytest.mark.parametrize("length", [1, 3])
def test_a_length_without_room_for_a_text_is_refused(folder: Path, length: int) -> None:
    with pytest.raises(InputError, match=f"query_length is {length}, which leaves no room .* take 3"):
        Encoder(folder, query_length=length)
    with pytest.raises(InputError, match=r"document_length is 2, which leaves no room .*'mini' take 2"):
        Encoder("mini", document_length=2)


def test_a_length_beyond_the_models_positions_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"document_length is 8,193; '.*' takes at most 8,192 tokens"):
        Encoder(folder, document_length=8193)


def test_a_marker_that_the_vocabulary_lacks_is_the_unknown_token_as_in_the_reference(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = checkpoints.write_jina_v2(tmp_path)
    checkpoints.write_json(folder / "artifact.metadata", {"query_token_id": "[Nowhere]", "doc_token_id": "[Here]"})
    assert names(Encoder(folder), "Hello", is_query=True)[:3] == ["<s>", "<unk>", "▁Hello"]
    assert "has no marker '[Nowhere]': texts get its unknown token instead" in caplog.text


def test_settings_that_are_no_text_or_not_there_are_the_librarys(tmp_path: Path) -> None:
    folder = checkpoints.write_colbert_v2(tmp_path)
    checkpoints.write_json(folder / "artifact.metadata", {"query_token_id": {"id": 1}, "query_maxlen": None})
    record = Encoder(folder).record
    assert (record.query_marker, record.document_marker) == ("[unused0]", "[unused1]")
    assert (record.query_length, record.document_length) == (32, 220)
    assert (record.attends_to_expansion, record.punctuation) == (False, "reference")


def test_all_symbols_are_punctuation_in_berts_vocabulary_under_every_rule(tmp_path: Path) -> None:
    folder = checkpoints.write_colbert_v2(tmp_path)
    text = "hello , world . ! ( car )"
    kept = [
        names(Encoder(folder, punctuation=rule), text)  # type: ignore[arg-type]
        for rule in ("reference", "pylate", "sentence-transformers")
    ]
    assert kept[0] == kept[1] == kept[2] == ["[CLS]", "[unused1]", "hello", "world", "car", "[SEP]"]
    assert set(text) - set(string.ascii_lowercase) - {" "} == set(",.!()")
