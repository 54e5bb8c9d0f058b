"""Documentation strings become documents: each once, in order, under its qualified name, without running anything."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from textwrap import dedent

import pytest

from jcb_engine.errors import InputError
from jcb_engine.indexing.readers import python_docs
from jcb_engine.indexing.readers.python_docs import read_python_docs
from jcb_engine.indexing.readers.records import BadRecord, SourceDocument


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(content), encoding="utf-8")
    return folder


def documents(folder: Path) -> list[SourceDocument]:
    return list(read_python_docs(folder))


def test_module_class_method_and_function_are_documents_with_their_place(tmp_path: Path) -> None:
    source = '''\
        """About the module.

        A paragraph,
            indented.
        """
        raise SystemExit("a source is never run")

        class Thing:
            """About the class."""

            def method(self):
                """About the method."""

            if True:
                async def also(self): "In a branch."

        def outer():
            def inner():
                "About the inner one."

        def silent():
            return 1
        '''
    found = documents(write(tmp_path, {"package/part.py": source}))
    assert [(d.document.id, d.document.metadata["kind"], d.place) for d in found] == [
        ("package.part", "module", "package/part.py:1"),
        ("package.part.Thing", "class", "package/part.py:8"),
        ("package.part.Thing.method", "method", "package/part.py:11"),
        ("package.part.Thing.also", "method", "package/part.py:15"),
        ("package.part.outer.<locals>.inner", "function", "package/part.py:18"),
    ]
    first = found[0].document
    assert (first.title, first.text) == ("package.part", "About the module.\n\nA paragraph,\n    indented.")
    assert first.metadata == {"module": "package.part", "kind": "module", "file": "package/part.py", "line": 1}


def test_a_package_has_the_name_of_its_folder(tmp_path: Path) -> None:
    write(tmp_path, {"a/__init__.py": '"""A."""', "a/b/__init__.py": '"""B."""', "__init__.py": '"""Top."""'})
    assert [d.document.id for d in documents(tmp_path)] == ["__init__", "a", "a.b"]


def test_a_second_definition_gets_a_number_unless_it_says_the_same(tmp_path: Path) -> None:
    source = """\
        if one:
            def f(): "first"
        elif two:
            def f(): "second"
        else:
            def f(): "first"
        class C:
            def f(self): "third"
        """
    found = documents(write(tmp_path, {"m.py": source}))
    assert [(d.document.id, d.document.text) for d in found] == [
        ("m.f", "first"), ("m.f~2", "second"), ("m.C.f", "third"),
    ]  # fmt: skip
    assert found[1].document.title == "m.f"


def test_tests_and_installed_packages_are_left_out(tmp_path: Path) -> None:
    names = ["kept.py", "test/a.py", "x/tests/b.py", "idlelib/idle_test/c.py", "site-packages/d.py", "testing/e.py"]
    write(tmp_path, dict.fromkeys(names, '"""Text."""'))
    assert [d.document.id for d in documents(tmp_path)] == ["kept", "testing.e"]


def test_a_file_that_does_not_parse_is_named_and_may_be_skipped(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": '"""A."""', "b.py": "def (", "c.py": '"""C."""'})
    bad: list[BadRecord] = []
    assert [d.document.id for d in read_python_docs(tmp_path, on_bad=bad.append)] == ["a", "c"]
    assert [(record.place, record.reason.split(":")[0]) for record in bad] == [("b.py", "no Python source")]
    with pytest.raises(InputError, match=r"b\.py: no Python source"):
        documents(tmp_path)


def test_encodings_are_read_as_the_source_declares_them(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes('# -*- coding: latin-1 -*-\n"""Grüße"""'.encode("latin-1"))
    assert documents(tmp_path)[0].document.text == "Grüße"


def test_a_folder_without_sources_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"no Python files \(\*\.py\) in"):
        read_python_docs(tmp_path)
    monkeypatch.setattr(python_docs, "_standard_library", lambda: tmp_path)
    with pytest.raises(InputError, match="this Python has no sources of its standard library"):
        read_python_docs()


def test_the_standard_library_is_read_in_order_and_not_imported() -> None:
    # the first 500 documents spare the test the parsing of all the rest; "antigravity" opens a browser when imported
    found = [source.document for source in islice(read_python_docs(), 500)]
    files = [str(document.metadata["file"]) for document in found]
    assert files == sorted(files)
    assert len({document.id for document in found}) == 500
    assert "argparse.ArgumentParser" in {document.id for document in found}
    assert all(document.text.strip() for document in found)
    assert "antigravity" not in sys.modules
