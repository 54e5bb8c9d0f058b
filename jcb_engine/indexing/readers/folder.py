"""A folder of text files (.txt, .md, .html, .htm, .pdf), or one such file: each file is a document.

Folders inside are read too. Names that begin with a dot are skipped, as are files of other types. The order is that
of the relative paths, which are the ids; so the same folder gives the same index on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from jcb_engine.errors import InputError
from jcb_engine.indexing.readers.fields import UnusableRecordError
from jcb_engine.indexing.readers.html_file import read_html
from jcb_engine.indexing.readers.pdf_file import read_pdf
from jcb_engine.indexing.readers.records import GUESSED_FIELDS, BadRecord, Fields, OnBad, SourceDocument
from jcb_engine.indexing.readers.streams import STDIN, unreadable
from jcb_engine.indexing.readers.text_file import read_text
from jcb_engine.types import Document

# (title, text) of a file; raises UnusableRecordError or InputError
FileReader: TypeAlias = Callable[[Path], tuple[str, str]]

FILE_READERS: Mapping[str, FileReader] = MappingProxyType(
    {".txt": read_text, ".md": read_text, ".html": read_html, ".htm": read_html, ".pdf": read_pdf}
)


def read_folder(source: str, fields: Fields, on_bad: OnBad) -> Iterator[SourceDocument]:
    """Documents of the files under a folder, or of one file.

    A file that cannot be used goes to `on_bad`. Raises InputError when there is nothing to read: no such folder, no
    permission, no file of a known type; and when `fields` names any, since files have none.
    """
    if source == STDIN:
        raise InputError("a folder cannot be read from standard input; give its path")
    if fields != GUESSED_FIELDS:
        raise InputError("a folder of files has no fields to name; leave out the options for id, title and text")
    root = Path(source)
    found = 0
    for relative in [""] if _is_file(root) else _paths(root, ""):
        found += 1
        path = root / relative
        try:
            document = _document(path, relative or root.name)
        except (UnusableRecordError, InputError) as error:
            on_bad(BadRecord(os.fsencode(path).decode(errors="replace"), str(error)))
            continue
        yield SourceDocument(document, str(path))
    if not found:
        raise InputError(f"no file to read in {source}; known types are {', '.join(FILE_READERS)}")


def _is_file(root: Path) -> bool:
    """Whether a source is one file; raises InputError for one that no reader takes, or that may not be looked at."""
    try:
        is_file = root.is_file()
    except OSError as error:
        raise unreadable(str(root), error) from error
    if is_file and root.suffix.lower() not in FILE_READERS:
        raise InputError(
            f"'{root.name}' is no file that a folder may hold; known types are {', '.join(FILE_READERS)}; rename it, "
            "or give its own format"
        )
    return is_file


def _document(path: Path, relative: str) -> Document:
    try:
        relative.encode()
    except UnicodeEncodeError:
        raise UnusableRecordError("the name of the file is not UTF-8; rename it, since it becomes the id") from None
    title, text = FILE_READERS[path.suffix.lower()](path)
    return Document(id=relative, text=text, title=title)


def _paths(root: Path, prefix: str) -> Iterator[str]:
    """Relative paths of the files to read under a folder, in the order of the paths as strings.

    A folder sorts with its slash, as in the whole path. Links to folders are not followed: they may run in circles.
    """
    try:
        with os.scandir(root / prefix) as entries:
            names = sorted(_sort_name(entry) for entry in entries if _is_wanted(entry))
    except (OSError, ValueError) as error:
        raise unreadable(str(root / prefix), error) from error
    for name in names:
        if name.endswith("/"):
            yield from _paths(root, prefix + name)
        elif Path(name).suffix.lower() in FILE_READERS:
            yield prefix + name


def _is_wanted(entry: os.DirEntry[str]) -> bool:
    """Folders, files and links (a broken one is reported when read); neither hidden names nor pipes and devices."""
    if entry.name.startswith("."):
        return False
    return entry.is_dir(follow_symlinks=False) or entry.is_symlink() or entry.is_file()


def _sort_name(entry: os.DirEntry[str]) -> str:
    return f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
