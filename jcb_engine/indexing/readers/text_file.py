"""Plain text and Markdown files, taken as they are."""

from __future__ import annotations

from pathlib import Path

from jcb_engine.indexing.readers.fields import UnusableRecordError
from jcb_engine.indexing.readers.streams import read_bytes


def read_text(path: Path) -> tuple[str, str]:
    """("", text) of a UTF-8 file, a byte order mark taken off. Raises UnusableRecordError, InputError."""
    content = read_bytes(path)
    try:
        return "", content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UnusableRecordError(
            f"not UTF-8: byte 0x{error.object[error.start]:02x} in line {line}; save the file as UTF-8"
        ) from None
