"""`jcb-search query`: hits for people, as JSON, explained; and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from jcb_engine.cli.hits import print_hits
from jcb_engine.indexing import IndexWriter
from jcb_engine.types import Hit, Hits, RaggedEmbeddings
from tests.cli.conftest import DIM, Command, CuttingEncoder


def test_hits_are_readable_in_eighty_columns_without_colours(jcb_search: Command, built: Path) -> None:
    outcome = jcb_search("query", built, "wild animals", "-k", 3)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].startswith(" 1. ")
    assert "  d1  Page b" in lines[0]
    assert lines[1] == "    about wild animals item"
    assert all(len(line) <= 80 for line in lines)
    assert "\x1b" not in outcome.out
    assert re.fullmatch(r"3 hits in .* m?s: exact; (cpu.*|reference)", lines[-1]), "so few are all scored"


def test_json_has_hits_and_timings_by_name(jcb_search: Command, built: Path) -> None:
    answer = json.loads(jcb_search("query", built, "wild animals", "-k", 2, "--json").out)
    assert answer["query"] == "wild animals"
    assert (answer["exact"], answer["recall"], answer["version"]) == (True, None, 1)
    first = answer["hits"][0]
    assert set(first) == {"id", "score", "rank", "text", "title", "metadata", "parent", "position"}
    assert (first["id"], first["rank"], first["metadata"]) == ("d1", 1, {"number": 1})
    assert first["score"] == pytest.approx(2, abs=0.1)
    assert set(answer["timings"]) == {"import", "load", "encode", "search"}
    assert all(seconds >= 0 for seconds in answer["timings"].values())


def test_exact_is_passed_on(jcb_search: Command, built: Path) -> None:
    answer = json.loads(jcb_search("query", built, "wild animals", "--exact", "--json").out)
    assert answer["exact"] is True
    assert len(answer["hits"]) == 10
    assert ": exact; " in jcb_search("query", built, "wild animals", "--exact").out


def test_the_parts_of_an_explanation_add_up_to_the_score(jcb_search: Command, built: Path) -> None:
    answer = json.loads(jcb_search("query", built, "wild bridges", "-k", 4, "--json", "--explain").out)
    for hit in answer["hits"]:
        parts = [match["similarity"] for match in hit["explanation"]]
        assert len(parts) == 2
        assert sum(parts) == pytest.approx(hit["score"], abs=1e-3)
    shown = jcb_search("query", built, "wild bridges", "-k", 1, "--explain").out
    assert "query token" in shown
    assert "similarity" in shown
    assert f"{answer['hits'][0]['score']:.4f}" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_explaining_encodes_the_query_no_more_often_for_more_hits(
    jcb_search: Command, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = CuttingEncoder.encode_query

    def counted(encoder: CuttingEncoder, texts: list[str]) -> RaggedEmbeddings:
        encoded.extend(texts)
        return encode(encoder, texts)

    monkeypatch.setattr(CuttingEncoder, "encode_query", counted)
    times = []
    for k in (1, 8):
        encoded.clear()
        answer = json.loads(jcb_search("query", built, "wild bridges", "-k", k, "--json", "--explain").out)
        assert [len(hit["explanation"]) for hit in answer["hits"]] == [2] * k
        times.append(encoded.count("wild bridges"))
    assert times[0] == times[1]


def test_by_parent_gives_each_parent_once(jcb_index: Command, jcb_search: Command, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.txt").write_text(f"{name} river and lake " * 20)
    options = ("--split-tokens", 10, "--centroids", 4, "-q")
    assert jcb_index("build", folder, tmp_path / "index", *options).code == 0
    answer = json.loads(jcb_search("query", tmp_path / "index", "river", "--by", "parent", "--json").out)
    assert sorted(hit["parent"] for hit in answer["hits"]) == ["one.txt", "two.txt"]
    assert all(hit["id"] == f"{hit['parent']}#{hit['position']}" for hit in answer["hits"])


def test_a_query_that_is_cut_says_so_and_is_no_error(jcb_search: Command, built: Path) -> None:
    outcome = jcb_search("query", built, "wild animals " * 6, "--json")
    assert outcome.code == 0
    assert outcome.err == "warning: the query is longer than the encoder takes: 4 tokens cut off\n"
    assert json.loads(outcome.out)["query_tokens_cut"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text", "-k", "0"], "-k is 0; it must be at least 1"),
        (["text", "-k", "-3"], "-k is -3"),
        (["text", "-k", "ten"], "Invalid value for '-k'"),
        (["  \t"], "the query is blank"),
        ([""], "the query is blank"),
        (["text", "--by", "author"], "--by is 'author'"),
        (["text", "--threads", "0"], "--threads is 0"),
        (["text", "--backend", "abacus"], "abacus"),
        (["two", "words"], "unexpected extra argument"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_be_asked_is_one_line(jcb_search: Command, built: Path, arguments: list[str], message: str) -> None:
    outcome = jcb_search("query", built, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_what_is_no_index_is_one_line(jcb_search: Command, tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "other.txt").touch()
    for name in ("nothing", "file.txt", "folder"):
        outcome = jcb_search("query", tmp_path / name, "text")
        assert (outcome.code, outcome.out) == (2, "")
        assert name in outcome.err
        assert outcome.err.count("\n") == 1


def test_an_index_of_vectors_asks_for_a_model(jcb_search: Command, cutting_model: None, tmp_path: Path) -> None:
    with IndexWriter.create(tmp_path / "index", dim=DIM, centroids=1) as writer:
        writer.add_vectors(["a"], np.eye(DIM, dtype=np.float32), np.array([0, DIM]))
    outcome = jcb_search("query", tmp_path / "index", "text")
    assert (outcome.code, outcome.out) == (2, "")
    assert "names no encoder" in outcome.err
    assert jcb_search("query", tmp_path / "index", "text", "--model", "cutting").code == 0


def hits(*found: Hit) -> Hits:
    return Hits(found, exact=True, recall=None, backend="reference", version=1)


def test_an_approximate_answer_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_hits(Hits((), exact=False, recall=None, backend="reference", version=1), None, 0.001)
    assert capsys.readouterr().out.endswith(": approximate, recall not measured; reference\n")


def test_a_query_that_is_not_utf8_names_the_byte(jcb_search: Command, built: Path) -> None:
    outcome = jcb_search("query", built, b"caf\xe9 pets".decode("utf-8", "surrogateescape"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "error: the query is not UTF-8: byte 0xe9 at position 3; check the encoding of the terminal\n"
    )


def test_wrong_usage_points_to_the_help_of_the_command(jcb_search: Command, built: Path) -> None:
    outcome = jcb_search("query", built, "cat", "-k", "abc")
    assert outcome.code == 2
    assert outcome.err.endswith("; see jcb-search query --help\n")
    assert jcb_search("query", built, "--", "-5 degrees").code == 0


def test_long_texts_are_shortened_at_words_and_ids_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    hit = Hit("folder/" + "x" * 100, 1.5, 1, "several words " * 500, title="T")
    print_hits(hits(hit), None, 0.001)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f" 1. 1.500  {hit.id}  T"
    assert len(lines) == 6
    assert all(len(line) <= 80 and line.startswith("    several") for line in lines[1:3])
    assert lines[3].endswith(" ...")
    assert set(lines[3].split()) == {"several", "words", "..."}


def test_what_was_indexed_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hit = Hit("id\x1b[2J", 1.0, 1, "text \x1b]0;owned\x07 [bold]markup[/bold] :smile:", title="a\rb\x9b")
    print_hits(hits(hit), None, 0.001)
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert "[bold]markup[/bold] :smile:" in out


def test_wide_characters_count_as_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_hits(hits(Hit("a", 1.0, 1, "日本語" * 100)), None, 0.001)
    lines = capsys.readouterr().out.splitlines()
    assert 30 < len(lines[1]) <= 42


def test_no_hit_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_hits(hits(), None, 0.001)
    assert capsys.readouterr().out == "0 hits in 1.0 ms: exact; reference\n"
