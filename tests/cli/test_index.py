"""`jcb-index build`, `info` and `verify`: what they make, print, warn about and refuse."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from jcb_engine.cli.progress import TerminalProgress, shown_progress
from jcb_engine.encoder import encoder as encoder_module
from jcb_engine.storage import Snapshot
from tests.cli.conftest import Command


def stored_ids(path: Path) -> list[str]:
    with Snapshot.open(path) as snapshot:
        return [
            document.id for segment in snapshot.segments for batch in segment.documents.iterate() for document in batch
        ]


def test_build_reports_what_was_made(jcb_index: Command, corpus: Path, tmp_path: Path) -> None:
    outcome = jcb_index("build", corpus, tmp_path / "index", "--nbits", 2, "--centroids", 16)
    assert (outcome.code, outcome.err) == (0, "")
    assert "12 documents, 83 tokens" in outcome.out
    assert "32 dimensions at 2 bits, 16 centroids, version 1" in outcome.out
    assert "bytes per token" in outcome.out
    assert stored_ids(tmp_path / "index") == [f"d{number}" for number in range(12)]


def test_build_reports_as_json(jcb_index: Command, corpus: Path, tmp_path: Path) -> None:
    outcome = jcb_index("build", corpus, tmp_path / "index", "--centroids", 16, "--json")
    report = json.loads(outcome.out)
    assert (report["documents"], report["tokens"], report["nbits"], report["version"]) == (12, 83, 4, 1)
    assert report["bytes"]["total"] == sum(size for part, size in report["bytes"].items() if part != "total")
    assert report["bad_records"] == 0


def test_quiet_prints_nothing_but_warnings(jcb_index: Command, tmp_path: Path) -> None:
    source = tmp_path / "c.jsonl"
    source.write_text('{"id": "a", "text": "one two"}\n{"id": "b", "text": ""}\nbroken\n')
    outcome = jcb_index("build", source, tmp_path / "index", "--quiet", "--skip-bad", 1, "--centroids", 1)
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err.splitlines() == [
        f"warning: 1 bad record skipped; the first: {source}:3: not JSON: Expecting value at column 1; "
        "expected one object per line",
        "warning: 1 document without a token: stored, but never a hit",
    ]


def test_cut_and_unknown_tokens_are_warned_about(jcb_index: Command, tmp_path: Path) -> None:
    source = tmp_path / "c.jsonl"
    source.write_text(json.dumps({"id": "a", "text": "word x1 " * 40}))
    outcome = jcb_index("build", source, tmp_path / "index", "-q", "--centroids", 1)
    assert outcome.code == 0
    assert "1 document longer than the encoder takes: 30 tokens cut off; --split-tokens" in outcome.err
    assert "50% of the tokens are unknown" in outcome.err
    assert "--model" in outcome.err


def test_a_folder_is_split_into_passages_and_other_sources_are_not(jcb_index: Command, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    words = " ".join(chr(97 + number % 26) * (1 + number // 26) for number in range(450))
    (folder / "long.txt").write_text(words)
    outcome = jcb_index("build", folder, tmp_path / "index", "--centroids", 4)
    assert "3 passages" in outcome.out
    assert stored_ids(tmp_path / "index") == ["long.txt#0", "long.txt#1", "long.txt#2"]
    outcome = jcb_index("build", folder, tmp_path / "index", "--centroids", 4, "--split-tokens", 0, "--overwrite")
    assert stored_ids(tmp_path / "index") == ["long.txt"]
    source = tmp_path / "c.jsonl"
    source.write_text(json.dumps({"id": "a", "text": words}))
    jcb_index("build", source, tmp_path / "whole", "--centroids", 4)
    assert stored_ids(tmp_path / "whole") == ["a"]
    jcb_index("build", source, tmp_path / "parts", "--centroids", 4, "--split-tokens", 50, "--split-overlap", 0)
    assert len(stored_ids(tmp_path / "parts")) == 9


def test_fields_are_named_by_option(jcb_index: Command, tmp_path: Path) -> None:
    source = tmp_path / "c.csv"
    source.write_text("key,head,body\na,T,one two\n")
    options = ("--id-field", "key", "--title-field", "head", "--text-field", "body", "--centroids", 1, "-q")
    assert jcb_index("build", source, tmp_path / "index", *options).code == 0
    with Snapshot.open(tmp_path / "index") as snapshot:
        document = snapshot.segments[0].documents.get([0])[0]
    assert (document.id, document.title, document.text) == ("a", "T", "one two")


def test_standard_input_is_a_source(jcb_index: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"id": "a", "text": "one two"}\n')))
    assert jcb_index("build", "-", tmp_path / "index", "-q", "--centroids", 1).code == 0
    assert stored_ids(tmp_path / "index") == ["a"]


def test_python_docs_need_no_source(jcb_index: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "thing.py").write_text('"""A module about things."""\n')
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(library))
    outcome = jcb_index("build", "--from", "python-docs", tmp_path / "index", "-q", "--centroids", 1)
    assert (outcome.code, outcome.err) == (0, "")
    assert stored_ids(tmp_path / "index") == ["thing"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build"], "build needs a source and an index: jcb-index build SOURCE INDEX"),
        (["build", "c.jsonl"], "build needs a folder for the index: jcb-index build c.jsonl INDEX"),
        (["build", "--from", "python-docs"], "build needs a folder for the index"),
        (["build", "missing.jsonl", "index"], "no file or folder missing.jsonl"),
        (["build", "c.docx", "index"], "unknown type of file: c.docx"),
        (["build", "c.jsonl", "index", "--from", "xml"], "unknown format 'xml'"),
        (["build", "c.jsonl", "index", "--max-ram", "much"], "'much' is no size"),
        (["build", "c.jsonl", "index", "--max-ram", "1kB"], "a build needs"),
        (["build", "c.jsonl", "index", "--nbits", "3"], "nbits is 3"),
        (["build", "c.jsonl", "index", "--skip-bad", "-1"], "-1 records to skip"),
        (["build", "c.jsonl", "index", "--on-duplicate", "merge"], "error, skip or last"),
        (["build", "c.jsonl", "index", "--split-tokens", "-1"], "--split-tokens is -1"),
        (["build", "c.jsonl", "index", "--split-tokens", "5", "--split-overlap", "5"], "allowed are 0 to 4"),
        (["build", "c.jsonl", "index", "--split-tokens", "0", "--split-overlap", "5"], "leave one out"),
        (["build", "c.jsonl", "index", "--nbits", "two"], "Invalid value for '--nbits'"),
        (["build", "empty.jsonl", "index"], "nothing to index"),
        (["build", "bad.jsonl", "index"], "bad.jsonl:1: not JSON"),
        (["build", "twice.jsonl", "index"], "twice.jsonl:2: "),
        (["build", "c.docx", "index", "--from", "folder"], "'c.docx' is no file that a folder may hold"),
        (["build", "c.jsonl", "index", "--max-ram", "9" * 400], "more than any machine has"),
        (["build", "c.jsonl", "a\0b"], "NUL"),
        (["build", "c.jsonl", ""], "build needs a folder for the index"),
        (["build", "", "index"], "build needs a source and an index"),
    ],
)
def test_what_cannot_be_built_is_one_line_and_leaves_no_index(
    jcb_index: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.jsonl").write_text('{"id": "a", "text": "one two"}\n')
    Path("c.docx").touch()
    Path("empty.jsonl").touch()
    Path("bad.jsonl").write_text("not json\n")
    Path("twice.jsonl").write_text('{"id": "a", "text": "one"}\n{"id": "a", "text": "two"}\n')
    outcome = jcb_index(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert jcb_index("info", "index").code == 2


def test_duplicates_are_skipped_or_replace_when_asked(jcb_index: Command, tmp_path: Path) -> None:
    source = tmp_path / "c.jsonl"
    source.write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": "b"}\n{"id": "a", "text": "two"}\n')
    for choice, text in (("skip", "one"), ("last", "two")):
        path = tmp_path / choice
        outcome = jcb_index("build", source, path, "-q", "--on-duplicate", choice, "--centroids", 1)
        assert outcome.err == "warning: 1 document had an id that came before\n"
        with Snapshot.open(path) as snapshot:
            assert [document.text for document in snapshot.segments[0].documents.get([0, 1])] == [text, "b"]


@pytest.mark.parametrize(
    ("source", "options", "reason"),
    [
        ("docs", [], "as a folder is by default; "),
        ("docs", ["--split-tokens", 5], "split into passages; "),
        ("c.jsonl", ["--split-overlap", 5], "split into passages; "),
    ],
)
def test_passages_replace_nothing_and_the_error_says_what_to_do(
    jcb_index: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    options: list[object],
    reason: str,
) -> None:
    monkeypatch.setattr(encoder_module, "load_model", _not_to_be_loaded)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("one two")
    (tmp_path / "c.jsonl").write_text('{"id": "a", "text": "one two"}\n')
    outcome = jcb_index("build", tmp_path / source, tmp_path / "index", "--on-duplicate", "last", *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert reason in outcome.err
    assert "--split-tokens 0" in outcome.err
    assert outcome.err.count("\n") == 1


def test_whole_files_of_a_folder_may_replace_earlier_ones(jcb_index: Command, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("one two")
    options = ("--on-duplicate", "last", "--split-tokens", 0, "--centroids", 1, "-q")
    assert jcb_index("build", tmp_path / "docs", tmp_path / "index", *options).code == 0


def test_what_needs_no_model_to_be_refused_is_refused_before_it_is_loaded(
    jcb_index: Command, corpus: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_module, "load_model", _not_to_be_loaded)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    for index, message in ((built, "overwrite"), (tmp_path / "other", "thesis.txt")):
        outcome = jcb_index("build", corpus, index, "-q")
        assert (outcome.code, message in outcome.err) == (2, True)
    monkeypatch.setitem(sys.modules, "faiss", None)
    outcome = jcb_index("build", corpus, tmp_path / "new", "-q")
    assert outcome.code == 2
    assert "faiss is not installed" in outcome.err
    assert not (tmp_path / "new").exists()


def _not_to_be_loaded(*_: object) -> None:
    raise AssertionError("a model was loaded")


def test_max_ram_promises_no_more_than_it_bounds(jcb_index: Command) -> None:
    assert "Bounds the training sample" in " ".join(jcb_index("build", "--help").out.split())


def test_an_index_is_replaced_only_when_asked(jcb_index: Command, corpus: Path, built: Path) -> None:
    outcome = jcb_index("build", corpus, built, "-q")
    assert outcome.code == 2
    assert "overwrite" in outcome.err
    assert jcb_index("build", corpus, built, "-q", "--overwrite", "--centroids", 16).code == 0


def test_progress_is_shown_on_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with shown_progress(quiet=False) as progress:
        assert progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with shown_progress(quiet=True) as progress:
        assert progress is None


def test_progress_shows_stages_counts_and_rates() -> None:
    written = io.StringIO()
    columns = [TextColumn("{task.description} {task.fields[done]} {task.fields[rate]}")]
    with Progress(*columns, console=Console(file=written, force_terminal=True, width=60)) as display:
        progress = TerminalProgress(display)
        progress.stage("reading", None)
        for _ in range(5):
            progress.advance(1000)
        progress.stage("compressing", 5000)
        progress.advance(2500)
        progress.finish()
    assert "reading 5,000 docs" in written.getvalue()
    assert "compressing 2,500 docs" in written.getvalue()
    assert "/s" in written.getvalue()


def test_info_tells_where_the_bytes_go(jcb_index: Command, built: Path) -> None:
    outcome = jcb_index("info", built)
    assert (outcome.code, outcome.err) == (0, "")
    assert all(len(line) <= 80 for line in outcome.out.splitlines()[1:])
    words = outcome.out.split()
    assert all(word in words for word in ("documents", "tokens", "vectors", "postings", "codec", "total", "encoder"))
    described = json.loads(jcb_index("info", built, "--json").out)
    assert (described["documents"], described["tokens"], described["dim"]) == (12, 83, 32)
    files = sum(path.stat().st_size for folder in ("codec", "segments") for path in (built / folder).rglob("*.*"))
    assert described["bytes"]["total"] == files


def test_verify_says_sound_damaged_or_unreadable_by_its_exit_code(
    jcb_index: Command, built: Path, tmp_path: Path
) -> None:
    outcome = jcb_index("verify", built)
    assert (outcome.code, outcome.err) == (0, "")
    assert "sound, version 1" in outcome.out
    codes = next(built.glob("segments/*/codes.bin"))
    content = bytearray(codes.read_bytes())
    content[70] ^= 1
    codes.chmod(0o644)
    codes.write_bytes(content)
    outcome = jcb_index("verify", built)
    assert (outcome.code, outcome.err) == (1, "")
    assert "damaged, 1 problem" in outcome.out
    assert "codes.bin" in outcome.out
    report = json.loads(jcb_index("verify", built, "--json").out)
    assert (report["sound"], len(report["problems"])) == (False, 1)
    outcome = jcb_index("verify", tmp_path / "nowhere")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
