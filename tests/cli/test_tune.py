"""`jcb-index tune`: what it prints, publishes, draws and refuses; and what search makes of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from jcb_engine.storage import Snapshot, Transaction
from tests.cli.conftest import Command, Outcome

WORDS = [
    "river",
    "lake",
    "bridge",
    "stone",
    "printing",
    "book",
    "animal",
    "wild",
    "old",
    "garden",
    "tower",
    "forest",
    "letter",
]


@pytest.fixture
def large(tmp_path: Path, jcb_index: Command) -> Path:
    """An index of 400 documents, more than a default search scores."""
    source = tmp_path / "large.jsonl"
    lines = [
        json.dumps({"id": f"d{number}", "text": " ".join(WORDS[(number * step) % 13] for step in range(1, 9))})
        for number in range(400)
    ]
    source.write_text("\n".join(lines))
    assert jcb_index("build", source, tmp_path / "large", "--centroids", 13, "-q").code == 0
    return tmp_path / "large"


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "queries.tsv"
    path.write_text("".join(f"q{number}\t{WORDS[number]} {WORDS[-number]}\n" for number in range(12)))
    return path


def test_a_tuned_index_is_searched_by_recall_and_says_so(
    jcb_index: Command, jcb_search: Command, large: Path, queries: Path, tmp_path: Path
) -> None:
    outcome = jcb_index("tune", large, "--queries", queries, "--recall", 0.5, "--k", 3)
    assert outcome.code == 0
    assert outcome.err == "warning: 12 queries can assure little; some hundred are better\n"
    lines = outcome.out.splitlines()
    assert lines[0] == "recall@3 against exact search: file queries.tsv; version 1"
    assert sum("<-" in line for line in lines[2:-2]) <= 1
    assert "all   1.0000" in outcome.out
    assert all(len(line) <= 120 for line in lines[:-1])

    answer = json.loads(jcb_search("query", large, "old river", "-k", 3, "--recall", 0.5, "--json").out)
    with Snapshot.open(large) as snapshot:
        (curve,) = snapshot.manifest.tuning
    assert answer["exact"] or answer["recall"] in [point.recall for point in curve.points]
    assert (curve.k, curve.queries, curve.query_source) == (3, 12, "file queries.tsv")
    shown = jcb_search("query", large, "old river", "-k", 3, "--recall", 0.5).out
    assert ("exact" if answer["exact"] else f"approximate, recall {answer['recall']:.3f}") in shown
    run = jcb_search("batch", large, queries, "-k", 3, "--recall", 0.5, "--output", tmp_path / "run")
    assert run == Outcome(0, "", "")
    assert len((tmp_path / "run").read_text().splitlines()) == 36


def test_json_is_the_record_and_names_the_choice(jcb_index: Command, large: Path) -> None:
    outcome = jcb_index("tune", large, "--sample", 20, "--seed", 5, "--json")
    curve = json.loads(outcome.out)
    assert curve["query_source"].startswith("20 passages of the index as queries")
    assert curve["query_source"].endswith("seed 5")
    assert curve["points"][-1]["documents"] is None
    assert 0 <= curve["chosen"] < len(curve["points"])


def test_info_says_whether_recall_is_measured(jcb_index: Command, large: Path, corpus: Path) -> None:
    assert "recall     not measured (jcb-index tune)" in jcb_index("info", large).out
    assert jcb_index("tune", large, "--sample", 20).code == 0
    text = jcb_index("info", large).out
    assert "k=10: " in text
    assert " measured, version 1, centroids Flat\n             20 passages of the index" in text
    assert json.loads(jcb_index("info", large, "--json").out)["tuning"][0]["is_current"] is True
    assert jcb_index("build", corpus, large, "--centroids", 4, "--overwrite", "-q").code == 0
    text = jcb_index("info", large).out
    assert "recall     k=10: not measured since version 1 (jcb-index tune --k 10)" in text


def test_a_recall_that_is_not_measured_is_refused_with_what_to_do(
    jcb_search: Command, built: Path, queries: Path
) -> None:
    for arguments in (["query", built, "wild", "--recall", 0.9], ["batch", built, queries, "-k", 10, "--recall", 0.9]):
        outcome = jcb_search(*arguments)
        assert (outcome.code, outcome.out) == (2, "")
        assert "this index is not tuned; run `jcb-index tune INDEX --k 10 --recall 0.9`" in outcome.err
        assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recall", "0"], "--recall is 0; it must be above 0 and at most 1"),
        (["--recall", "99"], "--recall is 99"),
        (["--recall", "nan"], "--recall is nan"),
        (["--k", "0"], "--k is 0"),
        (["--sample", "0"], "--sample is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--threads", "0"], "--threads is 0"),
        (["--queries", "missing.tsv"], "missing.tsv"),
        (["--queries", "empty.tsv"], "holds no query"),
        (["--queries", "bad.tsv"], "bad.tsv:2"),
        (["--plot", "curve.docx"], "must end in .png, .svg, .pdf"),
        (["--plot", "nowhere/curve.png"], "there is no folder"),
    ],
)
def test_what_cannot_be_tuned_is_one_line_and_publishes_nothing(
    jcb_index: Command,
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.tsv").touch()
    Path("bad.tsv").write_text("a\tx\nb\n")
    outcome = jcb_index("tune", built, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    with Snapshot.open(built) as snapshot:
        assert snapshot.version == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recall", "1.5"], "--recall is 1.5"),
        (["--recall", "0.9", "--exact"], "leave out --recall, or --exact"),
        (["--recall", "0.9", "--by", "parent"], "never measured with by='parent'"),
    ],
)
def test_a_recall_that_cannot_be_asked_for_is_one_line(
    jcb_search: Command, built: Path, arguments: list[str], message: str
) -> None:
    outcome = jcb_search("query", built, "wild", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_an_index_that_is_being_written_is_not_tuned(jcb_index: Command, built: Path) -> None:
    with Transaction.begin(built, overwrite=True):
        outcome = jcb_index("tune", built)
    assert (outcome.code, outcome.out) == (2, "")
    assert "is being written by process" in outcome.err


def test_without_matplotlib_a_plot_names_the_extra_and_nothing_is_measured(
    jcb_index: Command, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = jcb_index("tune", built, "--plot", tmp_path / "curve.png")
    assert (outcome.code, outcome.out) == (2, "")
    assert "pip install 'jcb-engine[plot]'" in outcome.err
    with Snapshot.open(built) as snapshot:
        assert snapshot.version == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_plot_is_a_picture(jcb_index: Command, large: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="no matplotlib here: pip install '.[plot]'")
    outcome = jcb_index("tune", large, "--sample", 30, "--plot", tmp_path / "curve.png")
    assert outcome.code == 0
    data = (tmp_path / "curve.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 10_000
