"""Bytes and lines of a source: a file, a gzip file or standard input."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from jcb_engine.errors import InputError

STDIN = "-"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def place_name(source: str) -> str:
    """How messages call a source."""
    return "stdin" if source == STDIN else source


@contextmanager
def opened(source: str) -> Iterator[BinaryIO]:
    """The bytes of a source, decompressed where its name ends in `.gz`; standard input stays open afterwards."""
    if source == STDIN:
        yield sys.stdin.buffer
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - closed below; an error of the reader is none of opening
    except (OSError, ValueError) as error:
        raise unreadable(source, error) from error
    with file:
        # gzip.GzipFile reads like any binary file, which its declared type does not say
        yield cast("BinaryIO", gzip.GzipFile(fileobj=file)) if source.lower().endswith(".gz") else file


def numbered_lines(source: str) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1, as bytes with their ends; a byte order mark is taken off.

    Raises InputError when the file cannot be opened or breaks off (a damaged gzip file, an I/O error).
    """
    number = 0
    with opened(source) as file:
        try:
            for line in file:
                number += 1
                yield number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
        except (OSError, EOFError, zlib.error) as error:
            where = f"{place_name(source)}:{number + 1}"
            raise InputError(f"{where}: cannot read on: {error}; is the file complete?") from error


def read_bytes(path: Path) -> bytes:
    """All bytes of a file. Raises InputError."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise unreadable(str(path), error) from error


def unreadable(source: str, error: OSError | ValueError) -> InputError:
    """The error for a file that cannot be opened; ValueError is what Python raises for a path with a NUL in it."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return InputError(f"cannot read {source}: {reason}")


def decode_reason(error: UnicodeDecodeError) -> str:
    """Why bytes are not text, for a BadRecord."""
    byte = error.object[error.start]
    return f"not UTF-8: byte 0x{byte:02x} at byte {error.start + 1} of the line; save the file as UTF-8"
