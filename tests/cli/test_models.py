"""`jcb-index models` lists what is known; options of the encoder reach it from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jcb_engine.encoder import encoder as encoder_module
from jcb_engine.encoder.known_models import KNOWN_MODELS
from jcb_engine.encoder.objects import ObjectModel
from jcb_engine.encoder.options import EncoderOptions
from tests.cli.conftest import Command, CuttingEncoder


def test_models_are_listed_with_dims_lengths_languages_and_licence_in_eighty_columns(jcb_index: Command) -> None:
    outcome = jcb_index("models")
    assert (outcome.code, outcome.err) == (0, "")
    assert max(map(len, outcome.out.splitlines())) <= 80
    lines = outcome.out.splitlines()
    place = lines.index("jinaai/jina-colbert-v2")
    assert lines[place + 1 : place + 3] == [
        "  128 dimensions, 89 languages, CC-BY-NC-4.0",
        "  tokens: query 32, document 300, at most 8,192",
    ]
    for model in KNOWN_MODELS:
        assert model.name in lines


def test_models_are_listed_as_json(jcb_index: Command) -> None:
    listed = json.loads(jcb_index("models", "--json").out)
    assert [model["name"] for model in listed] == [model.name for model in KNOWN_MODELS]
    assert {"dims", "query_length", "document_length", "longest", "languages", "licence"} <= listed[0].keys()


def test_options_of_the_encoder_reach_it(
    jcb_index: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load_model(name: str, dim: int | None, options: EncoderOptions, access: object) -> ObjectModel:
        asked.append((name, dim, options.query_length, options.document_length, options.language, access))
        return ObjectModel(CuttingEncoder(), dim)

    monkeypatch.setattr(encoder_module, "load_model", load_model)
    options = ("--query-length", 48, "--document-length", 512, "--language", "de_DE", "--revision", "v0")
    outcome = jcb_index("build", corpus, tmp_path / "index", "--model", "owner/name", "-q", "--centroids", 2, *options)
    assert outcome.code == 0, outcome.err
    name, dim, query_length, document_length, language, access = asked[0]
    assert (name, dim, query_length, document_length, language) == ("owner/name", None, 48, 512, "de_DE")
    assert access.revision == "v0"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--query-length", 0), "query_length is 0; expected a whole number from 1"),
        (("--token-pooling", 1), "token_pooling is 1.0; expected a number above 1"),
        (("--query-length", "many"), "Invalid value for '--query-length'"),
    ],
)
def test_options_that_cannot_be_are_one_line(
    jcb_index: Command, corpus: Path, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    outcome = jcb_index("build", corpus, tmp_path / "index", *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "index").exists()
