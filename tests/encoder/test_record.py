"""What an index remembers of its encoder survives JSON, and tells another encoder apart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from jcb_engine.encoder import Encoder, EncoderRecord
from jcb_engine.encoder.head_files import read_heads
from jcb_engine.encoder.mini_files import WEIGHTS_SHA256
from jcb_engine.errors import EncoderError, EncoderMismatchError, InputError

RECORD = EncoderRecord(
    "mini",
    "mini@1",
    None,
    128,
    1,
    "head",
    "weights",
    "tokenizer",
    query_length=64,
    document_length=256,
    query_expansion=False,
)


def test_a_record_survives_json() -> None:
    assert EncoderRecord.from_json(json.loads(json.dumps(RECORD.to_json()))) == RECORD
    sparse = EncoderRecord("object", "a.B")
    assert EncoderRecord.from_json(json.loads(json.dumps(sparse.to_json()))) == sparse


def test_fields_of_a_later_version_are_left_out() -> None:
    assert EncoderRecord.from_json({**RECORD.to_json(), "added_later": [1]}) == RECORD


@pytest.mark.parametrize("value", [{}, {"family": "mini"}, {"family": "mini", "name": 3}])
def test_a_record_without_a_name_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(EncoderError, match="the record of an encoder"):
        EncoderRecord.from_json(value)


@pytest.mark.parametrize(
    ("field", "value"), [("dim", "128"), ("dim", True), ("query_expansion", 0), ("head_sha256", 1)]
)
def test_a_field_of_another_type_is_named(field: str, value: object) -> None:
    with pytest.raises(EncoderError, match=f"has {field} {value!r}"):
        EncoderRecord.from_json({**RECORD.to_json(), field: value})


def test_equal_records_do_not_differ() -> None:
    assert RECORD.differences(replace(RECORD)) == []


def test_each_known_difference_is_a_line_with_both_values() -> None:
    other = replace(RECORD, dim=64, head_sha256="other")
    assert RECORD.differences(other) == [
        "dim is 128 here and 64 there",
        "head_sha256 is 'head' here and 'other' there",
    ]


def test_what_one_side_does_not_know_is_not_compared() -> None:
    assert RECORD.differences(replace(RECORD, head_sha256=None, query_length=None)) == []


def test_equal_weights_may_have_another_name() -> None:
    moved = replace(RECORD, name="/elsewhere", revision="abc")
    assert RECORD.differences(moved) == []
    assert RECORD.differences(replace(moved, weights_sha256=None)) == ["name is 'mini@1' here and '/elsewhere' there"]


def test_mini_records_what_its_vectors_depend_on(mini: Encoder) -> None:
    record = mini.record
    assert (record.family, record.name, record.dim, record.head_version) == ("mini", "mini@1", 128, 1)
    assert record.head_sha256 == read_heads(1).sha256
    assert record.weights_sha256 == WEIGHTS_SHA256
    assert record.tokenizer_sha256 is not None
    assert (record.query_length, record.document_length, record.query_expansion) == (64, 256, False)


def test_an_encoder_comes_back_from_its_record(mini: Encoder) -> None:
    again = Encoder.from_record(EncoderRecord.from_json(mini.record.to_json()), local_files_only=True)
    assert again.record == mini.record
    assert again.encode_query(["a b"]).values.tobytes() == mini.encode_query(["a b"]).values.tobytes()


def test_an_encoder_that_changed_since_is_refused_with_the_differences(mini: Encoder) -> None:
    with pytest.raises(EncoderMismatchError, match=r"head_sha256 is '.*' here and 'old' there.*build the index again"):
        Encoder.from_record(replace(mini.record, head_sha256="old"))
    with pytest.raises(InputError, match="there is no 'mini@99'"):
        Encoder.from_record(replace(mini.record, name="mini@99", head_version=99))
