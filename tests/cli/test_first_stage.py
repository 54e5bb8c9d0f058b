"""`--first-stage`: an index built for MUVERA is searched by it, unless another stage is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command

WORDS = ("wild", "tame", "river", "bridge", "stone", "paper", "cloud", "engine", "garden", "winter")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    rows = [
        {
            "_id": f"d{number:03}",
            "text": " ".join(WORDS[(number * step) % len(WORDS)] for step in (1, 3, 7)) + f" {number}",
        }
        for number in range(400)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_index_built_for_muvera_is_searched_by_it(jcb_index: Command, jcb_search: Command, corpus: Path) -> None:
    index = corpus.with_name("index")
    assert jcb_index("build", corpus, index, "--first-stage", "muvera").code == 0
    assert "(MUVERA)" in jcb_index("info", index).out
    for stage in ((), ("--first-stage", "muvera"), ("--first-stage", "centroids")):
        answer = json.loads(jcb_search("query", index, "river stone", "--json", *stage).out)
        assert (len(answer["hits"]), answer["exact"]) == (10, False)


def test_what_is_no_first_stage_or_not_in_the_index_is_refused(
    jcb_index: Command, jcb_search: Command, corpus: Path
) -> None:
    index = corpus.with_name("index")
    refused = jcb_index("build", corpus, index, "--first-stage", "hnsw")
    assert refused.code != 0
    assert "--first-stage is 'hnsw'; it can be centroids or muvera" in refused.err
    assert not index.exists()
    assert jcb_index("build", corpus, index).code == 0
    assert "holds no MUVERA encodings" in jcb_search("query", index, "river", "--first-stage", "muvera").err
    assert "first_stage is 'hnsw'" in jcb_search("query", index, "river", "--first-stage", "hnsw").err


def test_faiss_names_the_index_over_centroids_or_encodings(
    jcb_index: Command, jcb_search: Command, corpus: Path
) -> None:
    for number, (factory, options) in enumerate([("HNSW32", ()), ("SQ8", ("--first-stage", "muvera"))]):
        index = corpus.with_name(f"index{number}")
        assert jcb_index("build", corpus, index, "--faiss", factory, *options).code == 0
        assert factory in jcb_index("info", index).out
        answer = json.loads(jcb_search("query", index, "river stone", "--json").out)
        assert (len(answer["hits"]), answer["exact"]) == (10, False)
    refused = jcb_index("build", corpus, corpus.with_name("other"), "--faiss", "Flatter")
    assert refused.code != 0
    assert "'Flatter' is not a factory string of FAISS" in refused.err
    assert "give one such as Flat, HNSW32" in refused.err
    assert "could not parse index string" in refused.err
    assert ".cpp" not in refused.err, "a place in the source of FAISS helps nobody"
    assert not corpus.with_name("other").exists()
