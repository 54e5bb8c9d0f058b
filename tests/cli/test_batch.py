"""`jcb-search batch`: queries in three forms, a TREC run whose order survives sorting, errors before any work."""

from __future__ import annotations

import gzip
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jcb_engine.cli.queries import BatchQuery, read_queries
from jcb_engine.cli.trec_run import run_lines
from jcb_engine.errors import InputError
from jcb_engine.types import Hit, Hits
from tests.cli.conftest import Command


def hits(scores: list[float], ids: list[str] | None = None) -> Hits:
    names = ids or [f"d{number}" for number in range(len(scores))]
    found = [Hit(name, score, rank, "") for rank, (name, score) in enumerate(zip(names, scores, strict=True), start=1)]
    return Hits(tuple(found), exact=False, recall=None, backend="reference", version=1)


def sorted_as_trec_eval_does(lines: list[str]) -> list[str]:
    """Document ids by descending 32-bit score, then by descending id; ranks and order of lines are ignored."""
    rows = [line.split() for line in reversed(lines)]
    rows.sort(key=lambda row: (float(np.float32(row[4])), row[2]), reverse=True)
    return [row[2] for row in rows]


descending_scores = st.lists(
    st.sampled_from([3.0, 2.5, 1e-30, 0.0, -0.0, -1.25]) | st.floats(-40, 40, width=32), max_size=40
).map(lambda scores: sorted(scores, reverse=True))


@settings(deadline=None)
@given(descending_scores)
def test_the_order_of_a_run_survives_sorting_by_score_and_id(scores: list[float]) -> None:
    answer = hits(scores)
    assert sorted_as_trec_eval_does(list(run_lines("q", answer, "tag"))) == [hit.id for hit in answer]


def test_scores_that_differ_are_printed_as_they_are() -> None:
    scores = [24.813272, 24.81327, 3.1415927]
    printed = [np.float32(line.split()[4]) for line in run_lines("q", hits(scores), "tag")]
    assert printed == [np.float32(score) for score in scores]


def test_equal_scores_are_lowered_by_the_least_step() -> None:
    printed = [np.float32(line.split()[4]) for line in run_lines("q", hits([2.0, 2.0, 2.0, 1.5]), "tag")]
    assert printed[0] == 2.0
    assert printed[1] == np.nextafter(np.float32(2), np.float32(0))
    assert printed[2] == np.nextafter(printed[1], np.float32(0))
    assert printed[3] == 1.5


def test_a_document_id_with_white_space_cannot_stand_in_a_run() -> None:
    with pytest.raises(InputError, match=r"document id 'my file.txt' .* white space"):
        list(run_lines("q", hits([1.0], ["my file.txt"]), "tag"))


def test_who_has_such_ids_is_told_the_ways_out() -> None:
    with pytest.raises(InputError, match=r"index the texts under other ids, or .* jcb-search query --json"):
        list(run_lines("q", hits([1.0], ["my file.txt"]), "tag"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "q.jsonl",
            b'{"_id": "a", "text": "x y"}\n\n{"id": 7, "text": "z", "metadata": {}}\n',
            [("a", "x y"), ("7", "z")],
        ),
        ("q.tsv", b"a\tx y\r\n7\tz\tw\r\n", [("a", "x y"), ("7", "z\tw")]),
        ("q.txt", b"\xef\xbb\xbfx y\n\n z \n", [("1", "x y"), ("3", "z")]),
        ("q.jsonl.gz", b'{"_id": "a", "text": "x y"}\n', [("a", "x y")]),
        # white space of other scripts: an ideographic space, a no-break space
        ("q.jsonl", '\u3000\n{"_id": "a", "text": "x y"}\n\xa0\n'.encode(), [("a", "x y")]),
        ("q.txt", "x y\n\u3000\n\xa0z\n".encode(), [("1", "x y"), ("3", "z")]),
    ],
)
def test_queries_are_read_in_three_forms(
    tmp_path: Path, name: str, content: bytes, expected: list[tuple[str, str]]
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_queries(str(path), None) == [BatchQuery(*pair) for pair in expected]


def test_the_form_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "q"
    path.write_text("{a}\tb\n")
    assert read_queries(str(path), "lines") == [BatchQuery("1", "{a}\tb")]
    assert read_queries(str(path), "tsv") == [BatchQuery("{a}", "b")]
    with pytest.raises(InputError, match="unknown form of queries 'csv'; known are jsonl, tsv, lines"):
        read_queries(str(path), "csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no query"),
        (b"\n \n", "holds no query"),
        ("\u3000\n".encode(), "holds no query"),
        (b'{"id": "a", "text": "x", "m": ' + b"[" * 400 + b"]" * 400 + b"}\n", ":1: 'm' is nested too deeply"),
        (b'{"id": "a", "body": "x"}\n', "rename the one that holds the text, or name it in a build"),
        (b'{"id": "a", "text": "x"}\n{"id": "b"}\n', ":2: no field 'text'"),
        (b'{"id": "a", "text": "x"}\nbroken\n', ":2: not JSON"),
        (b'{"id": "a", "text": " "}\n', ":1: query 'a' is blank"),
        (b"a\tx\na\ty\n", ":2: query id 'a' came before"),
        (b"a\tx\nno tab\n", ":2: no tab"),
        (b"a b\tx\n", ":1: query id 'a b' .* white space"),
        (b"\tx\n", ":1: query id '' is empty"),
        (b"a\tx\nb\t\n", ":2: query 'b' is blank"),
        (b"fine\ncaf\xe9\n", ":2: not UTF-8"),
        (b"pets\nq2\tfoo bar\n", ":2: has a tab, and the first line has none: say what the lines are"),
    ],
)
def test_bad_queries_are_errors_with_their_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "queries"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_queries(str(path), None)


def test_a_run_never_takes_the_place_of_its_queries(jcb_search: Command, built: Path, tmp_path: Path) -> None:
    queries = tmp_path / "queries.tsv"
    queries.write_text("q1\twild animals\n")
    (tmp_path / "link").symlink_to(queries)
    for output in (queries, tmp_path / "link"):
        outcome = jcb_search("batch", built, queries, "--output", output)
        assert (outcome.code, outcome.out) == (2, "")
        assert "the file of the queries; choose another" in outcome.err
    assert queries.read_text() == "q1\twild animals\n"


def test_a_run_is_printed(jcb_search: Command, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"q1\twild animals\nq2\tprinting books\n")))
    outcome = jcb_search("batch", built, "-", "-k", 2, "--tag", "mine")
    assert (outcome.code, outcome.err) == (0, "")
    rows = [line.split() for line in outcome.out.splitlines()]
    assert [(row[0], row[1], row[3], row[5]) for row in rows] == [
        ("q1", "Q0", "1", "mine"),
        ("q1", "Q0", "2", "mine"),
        ("q2", "Q0", "1", "mine"),
        ("q2", "Q0", "2", "mine"),
    ]
    assert (rows[0][2], rows[2][2]) == ("d1", "d3")


def test_a_run_is_written_whole_with_as_many_hits_as_asked_for(
    jcb_search: Command, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jcb_engine.cli.batch._QUERIES_AT_ONCE", 2)
    queries = tmp_path / "q.txt"
    queries.write_text("wild animals\n" * 4 + "rivers " * 12)
    run = tmp_path / "out.run"
    outcome = jcb_search("batch", built, queries, "--exact", "--output", run)
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "warning: 1 query longer than the encoder takes, cut\n"
    rows = [line.split() for line in run.read_text().splitlines()]
    assert len(rows) == 5 * 12
    assert {row[0] for row in rows} == {str(number) for number in range(1, 6)}
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.jsonl", "index", "q.txt", "out.run"}


@pytest.fixture
def one_query(tmp_path: Path) -> Path:
    path = tmp_path / "q.txt"
    path.write_text("wild animals\n")
    return path


def test_a_pipe_is_written_to_and_stays_a_pipe(
    jcb_search: Command, built: Path, one_query: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert jcb_search("batch", built, one_query, "-k", 1, "--output", pipe).code == 0
        assert os.read(reader, 1000).startswith(b"1 Q0 d1 1 ")
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_a_link_keeps_pointing_to_what_is_written(
    jcb_search: Command, built: Path, one_query: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "out.run", tmp_path / "out.run"
    link.symlink_to(target)
    for _ in ("target made", "target replaced"):
        assert jcb_search("batch", built, one_query, "-k", 1, "--output", link).code == 0
        assert link.is_symlink()
        assert target.read_text().startswith("1 Q0 d1 1 ")


def test_a_run_that_replaces_a_file_keeps_its_permissions(
    jcb_search: Command, built: Path, one_query: Path, tmp_path: Path
) -> None:
    run = tmp_path / "out.run"
    run.touch(0o600)
    assert jcb_search("batch", built, one_query, "-k", 1, "--output", run).code == 0
    assert (run.stat().st_mode & 0o777, run.read_text()[:5]) == (0o600, "1 Q0 ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["q.txt", "--output", "index"], "cannot write index"),
        (["a\0b"], "cannot read a b"),
        (["q.txt", "-k", "0"], "-k is 0"),
        (["missing.txt"], "cannot read missing.txt"),
        (["bad.tsv", "--output", "run"], "bad.tsv:2: no tab"),
        (["q.txt", "--tag", "my run"], "--tag 'my run'"),
        (["q.txt", "--output", "nowhere/run"], "cannot write nowhere/run"),
        (["q.txt", "--from", "xml"], "unknown form of queries 'xml'"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_writes_nothing(
    jcb_search: Command,
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("q.txt").write_text("wild animals\n")
    Path("bad.tsv").write_text("a\tx\nb\n")
    outcome = jcb_search("batch", built, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.jsonl", "index", "q.txt", "bad.tsv"}
