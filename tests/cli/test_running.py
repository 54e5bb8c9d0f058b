"""Errors are one line and an exit code; interrupts and closed pipes are quiet; nothing heavy is imported for help."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from jcb_engine.cli.running import printable, run
from jcb_engine.errors import CorruptIndexError, InputError

HEAVY = (
    "numpy",
    "rich",
    "torch",
    "faiss",
    "transformers",
    "jcb_engine.search.searcher",
    "jcb_engine.indexing",
    "jcb_engine.encoder",
)


def command(action: Callable[[], None]) -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(action)
    return app


def raising(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("two\nlines\x1b[31m"), 2, "error: two lines [31m\n"),
        (CorruptIndexError("damaged"), 1, "error: damaged\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (typer.Exit(7), 7, ""),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    assert run(command(raising(error)), "jcb", []) == code
    assert capsys.readouterr() == ("", line)


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(command(raising(ZeroDivisionError())), "jcb", [])


def test_wrong_usage_is_one_line_that_points_to_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(lambda: None), "jcb", ["--colour"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: No such option: --colour; a text that begins with a dash goes behind --")
    assert error.endswith("; see jcb --help\n")
    assert error.count("\n") == 1


def test_printable_leaves_letters_of_every_script_and_takes_out_what_steers_terminals() -> None:
    assert printable("héllo 日本 \U0001f600") == "héllo 日本 \U0001f600"
    assert printable("a\x1b]0;title\x07b\u202ec\r\n") == "a ]0;title b c  "


def imported_by(module: str, *arguments: str) -> set[str]:
    """Names of HEAVY modules that a command has imported when it ends."""
    script = (
        f"import json, sys\nfrom jcb_engine.cli.{module} import main\n"
        f"main({list(arguments)!r})\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(ended.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("index", ["--help"]),
        ("index", ["build", "--help"]),
        ("index", ["build", "missing.jsonl"]),
        ("search", ["--help"]),
        ("search", ["query", "--help"]),
        ("search", ["query", "index", " "]),
        ("search", ["query", "index", "text", "-k", "0"]),
    ],
)
def test_help_and_refusals_import_nothing_heavy(module: str, arguments: list[str]) -> None:
    assert imported_by(module, *arguments) == set()


@pytest.mark.parametrize(
    ("module", "arguments"), [("index", ["verify", "missing"]), ("search", ["query", "missing", "text"])]
)
def test_a_missing_index_is_told_before_models_are_imported(module: str, arguments: list[str]) -> None:
    assert imported_by(module, *arguments).isdisjoint({"torch", "faiss", "jcb_engine.encoder"})


@pytest.mark.parametrize("action", ["info", "verify"])
def test_info_and_verify_import_neither_torch_nor_faiss(built: Path, action: str) -> None:
    assert imported_by("index", action, str(built)).isdisjoint({"torch", "faiss", "transformers"})


def test_a_reader_that_leaves_ends_the_command_quietly(built: Path) -> None:
    script = "import sys; from jcb_engine.cli.index import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", script, "info", str(built), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, error = process.communicate()
    assert (process.returncode, error) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["verify"]])
@pytest.mark.parametrize("flags", [[], ["-u"]])
def test_an_output_that_is_full_is_one_line(built: Path, arguments: list[str], flags: list[str]) -> None:
    script = "import sys; from jcb_engine.cli.index import main; sys.exit(main(sys.argv[1:]))"
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, *flags, "-c", script, *arguments, str(built)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (
        2,
        "error: cannot write to standard output: No space left on device\n",
    )


def test_an_error_of_another_file_keeps_its_traceback() -> None:
    with pytest.raises(OSError, match="quota"):
        run(command(raising(OSError(errno.ENOSPC, "quota", "model.bin"))), "jcb", [])


def test_a_process_without_standard_output_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert run(command(lambda: None), "jcb", []) == 0


def test_a_terminal_that_lacks_a_character_gets_an_escape(built: Path) -> None:
    script = "import sys; from jcb_engine.cli.index import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run(
        [sys.executable, "-c", script, "info", "日本"],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert ended.returncode == 2
    assert rb"\u65e5\u672c" in ended.stderr
