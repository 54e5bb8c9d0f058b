"""Running a command: errors become one line and an exit code, never a traceback."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Sequence

import typer

from jcb_engine.errors import JcbError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it
PIPE_CLOSED = 141  # 128 + SIGPIPE
USAGE_ERROR = 2
OUTPUT_FAILED = 2

# What a disk that is full, over its quota, broken or closed says to a write.
_WRITE_FAILURES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})

# Unknown options, missing arguments and the like. typer exports only their subclass.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def run(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. arguments: None takes those of the process."""
    _print_anything()
    _show_log()
    try:
        result = app(args=arguments, prog_name=name, standalone_mode=False)
        if sys.stdout is not None:  # a process may be started without one
            sys.stdout.flush()
    except JcbError as error:
        return _failed(str(error), error.exit_code)
    except _UsageError as error:
        return _failed(_usage_message(error, name), USAGE_ERROR)
    except (KeyboardInterrupt, typer.Abort):
        return _failed_with("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _pipe_closed()
    except OSError as error:
        # standard output is the one file without a name that a command writes to
        if error.filename is not None or error.errno not in _WRITE_FAILURES:
            raise
        _let_output_go_nowhere()
        return _failed(f"cannot write to standard output: {error.strerror}", OUTPUT_FAILED)
    except SystemExit as error:
        # typer's own answer to a closed pipe
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return _pipe_closed()
    if result == INTERRUPTED:  # typer's own answer to an interrupt
        return _failed_with("interrupted", INTERRUPTED)
    return result if isinstance(result, int) else 0


def _usage_message(error: Exception, name: str) -> str:
    """What was wrong with the arguments, and the help of the very command."""
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    dash = "; a text that begins with a dash goes behind --" if message.startswith("No such option") else ""
    return f"{message.rstrip('.?')}{dash}; see {name if context is None else context.command_path} --help"


def warn(message: str) -> None:
    """One line to stderr about something that is no error."""
    print(f"warning: {_one_line(message)}", file=sys.stderr)


def _failed(message: str, exit_code: int) -> int:
    return _failed_with(f"error: {_one_line(message)}", exit_code)


def _failed_with(line: str, exit_code: int) -> int:
    print(line, file=sys.stderr)
    return exit_code


def _one_line(message: str) -> str:
    return printable(" ".join(message.split()))


def printable(text: str) -> str:
    """Text without characters that steer a terminal: what was indexed may come from anywhere."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


class _Warnings(logging.Handler):
    """What the engine logs, as warnings of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


def _show_log() -> None:
    log = logging.getLogger("jcb_engine")
    if not any(isinstance(handler, _Warnings) for handler in log.handlers):
        log.addHandler(_Warnings(logging.WARNING))
    log.propagate = False


def _print_anything() -> None:
    """Print what the encoding of the terminal lacks as an escape instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _pipe_closed() -> int:
    """The reader of the pipe has left."""
    _let_output_go_nowhere()
    return PIPE_CLOSED


def _let_output_go_nowhere() -> None:
    """So that the flush at exit does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
