"""The documentation strings of Python source files, by default of the standard library of the running Python.

Thousands of real English passages that need no download. Files are parsed with `ast`; nothing is imported or run.

A document is one module, class, function or method that has a documentation string:
    id, title   its qualified name, such as `datetime.datetime.strptime`; a function inside a function is
                `outer.<locals>.inner`, as in `__qualname__`
    text        the documentation string, with the indentation of the source taken off
    metadata    module, kind ("module", "class", "function", "method"), file (relative, with slashes), line
The order is that of the file names, then of the lines. Where a name is defined again (overloads, the branches of an
`if`), an equal text is left out and a different one gets the id `<name>~2`, `<name>~3` ...
"""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from jcb_engine.errors import InputError
from jcb_engine.indexing.readers.records import BadRecord, OnBad, SkipBad, SourceDocument
from jcb_engine.types import Document

# Tests document themselves, not the library; packages installed beside it are not the standard library.
SKIPPED_FOLDERS = frozenset({"__pycache__", "dist-packages", "idle_test", "site-packages", "test", "tests"})

_Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def read_python_docs(source: str | Path | None = None, *, on_bad: OnBad | None = None) -> Iterator[SourceDocument]:
    """Documents of a folder of Python sources; None: the standard library of the running Python.

    on_bad: called with every file that does not parse; None: the first one raises.
    Raises InputError for a folder without Python sources, such as a Python that was installed without its library.
    """
    folder = _standard_library() if source is None else Path(source)
    files = _python_files(folder)
    if not files:
        raise InputError(_no_sources(folder, of_standard_library=source is None))
    return _read(folder, files, SkipBad() if on_bad is None else on_bad)


def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _no_sources(folder: Path, *, of_standard_library: bool) -> str:
    if not of_standard_library:
        return f"no Python files (*.py) in {folder}; a folder with sources is expected"
    return (
        f"this Python has no sources of its standard library in {folder}; "
        "use a Python installed with them, or give a folder of Python files"
    )


def _python_files(folder: Path) -> list[str]:
    """Paths of the *.py files below a folder, relative with slashes, in order; empty for what is no folder."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in names if name.endswith(".py")]
    return sorted(found)


def _read(folder: Path, files: list[str], on_bad: OnBad) -> Iterator[SourceDocument]:
    texts_of_name: dict[str, list[str]] = {}
    for file in files:
        try:
            tree = _parse(folder / file)
        except (SyntaxError, ValueError, RecursionError, OSError) as error:
            on_bad(BadRecord(file, f"no Python source: {error}"))
            continue
        for document in _documents(tree, file):
            texts = texts_of_name.setdefault(document.id, [])
            if document.text not in texts:
                texts.append(document.text)
                yield _numbered(document, len(texts))


def _parse(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        # invalid escapes in a source are its author's business
        warnings.simplefilter("ignore")
        return ast.parse(path.read_bytes(), filename=path.name)


def _numbered(document: Document, occurrence: int) -> SourceDocument:
    place = f"{document.metadata['file']}:{document.metadata['line']}"
    if occurrence == 1:
        return SourceDocument(document, place)
    identity = f"{document.id}~{occurrence}"
    return SourceDocument(Document(identity, document.text, document.title, document.metadata), place)


def _documents(tree: ast.Module, file: str) -> Iterator[Document]:
    module = _module_name(file)
    yield from _document(tree, name=module, module=module, kind="module", file=file)
    yield from _members(tree, prefix=module, in_class=False, module=module, file=file)


def _module_name(file: str) -> str:
    parts = file.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _members(parent: ast.AST, *, prefix: str, in_class: bool, module: str, file: str) -> Iterator[Document]:
    """Documents of what is defined in a node, in branches of `if`, `try` or `with` too."""
    for node in ast.iter_child_nodes(parent):
        if not isinstance(node, _Definition):
            yield from _members(node, prefix=prefix, in_class=in_class, module=module, file=file)
            continue
        name = f"{prefix}.{node.name}"
        is_class = isinstance(node, ast.ClassDef)
        kind = "class" if is_class else "method" if in_class else "function"
        yield from _document(node, name=name, module=module, kind=kind, file=file)
        inside = name if is_class else f"{name}.<locals>"
        yield from _members(node, prefix=inside, in_class=is_class, module=module, file=file)


def _document(node: ast.Module | _Definition, *, name: str, module: str, kind: str, file: str) -> Iterator[Document]:
    text = ast.get_docstring(node)
    if not text:
        return
    line = 1 if isinstance(node, ast.Module) else node.lineno
    yield Document(name, text, name, {"module": module, "kind": kind, "file": file, "line": line})
