"""Parquet: values become JSON, broken rows and files are told, pyarrow is asked for by the name of its extra."""

from __future__ import annotations

import datetime
import decimal
import sys
from pathlib import Path
from typing import Any

import pytest

from jcb_engine.errors import InputError, MissingDependencyError
from jcb_engine.indexing.readers import GUESSED_FIELDS, BadRecord, Fields, SkipBad, SourceDocument, read_source
from jcb_engine.types import Document

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def read(path: Path, fields: Fields = GUESSED_FIELDS) -> tuple[list[SourceDocument], list[BadRecord]]:
    bad: list[BadRecord] = []
    return list(read_source(path, fields=fields, on_bad=bad.append)), bad


def test_rows_are_documents_with_their_numbers_over_row_groups(tmp_path: Path) -> None:
    count = 5000
    path = write(
        tmp_path / "corpus.parquet",
        {"id": list(range(count)), "title": [None, "T"] * (count // 2), "text": [f"text {n}" for n in range(count)]},
        row_group_size=700,
    )
    found, bad = read(path)
    assert bad == []
    assert [item.document.id for item in found] == [str(number) for number in range(count)]
    assert found[0] == SourceDocument(Document("0", "text 0"), f"{path}:row 1")
    assert found[-1] == SourceDocument(Document(str(count - 1), f"text {count - 1}", "T"), f"{path}:row {count}")


def test_values_of_other_types_become_json(tmp_path: Path) -> None:
    columns = {
        "key": ["a"],
        "body": ["x"],
        "day": [datetime.date(2024, 2, 29)],
        "time": [datetime.datetime(2024, 2, 29, 12, 30)],
        "price": [decimal.Decimal("1.50")],
        "missing": [float("nan")],
        "nested": [{"tags": ["a", None], "when": datetime.date(2020, 1, 1)}],
    }
    found, bad = read(write(tmp_path / "c.parquet", columns), Fields(id="key", text="body"))
    assert bad == []
    assert found[0].document.metadata == {
        "day": "2024-02-29",
        "time": "2024-02-29T12:30:00",
        "price": "1.50",
        "missing": None,
        "nested": {"tags": ["a", None], "when": "2020-01-01"},
    }


def test_bad_rows_are_reported_and_the_others_come(tmp_path: Path) -> None:
    broken = pa.array([b"x", b"caf\xe9", b"z", b"w"]).view(pa.string())
    path = write(tmp_path / "c.parquet", {"id": ["a", "b", None, "d"], "text": broken})
    found, bad = read(path)
    assert [item.document.id for item in found] == ["a", "d"]
    assert [record.place for record in bad] == [f"{path}:row 2", f"{path}:row 3"]
    assert "not UTF-8" in bad[0].reason
    assert "the id in 'id' is null" in bad[1].reason


def test_times_finer_than_a_microsecond_are_cut_to_it(tmp_path: Path) -> None:
    moment = pa.timestamp("ns")
    columns = {
        "id": ["a", "b"],
        "text": ["x", "y"],
        "at": pa.array([1_500_000_001, None], moment),
        "zoned": pa.array([1_500_000_001, None], pa.timestamp("ns", tz="+01:00")),
        "time": pa.array([1_500_000_001, None], pa.time64("ns")),
        "duration": pa.array([1_500_000_001, None], pa.duration("ns")),
        "list": pa.array([[1_500_000_001], None], pa.list_(moment)),
        "nested": pa.array([{"at": 1_500_000_001}, None], pa.struct([("at", moment)])),
    }
    found, bad = read(write(tmp_path / "c.parquet", columns))
    assert bad == []
    assert found[0].document.metadata == {
        "at": "1970-01-01T00:00:01.500000",
        "zoned": "1970-01-01T01:00:01.500000+01:00",
        "time": "00:00:01.500000",
        "duration": 1.5,
        "list": ["1970-01-01T00:00:01.500000"],
        "nested": {"at": "1970-01-01T00:00:01.500000"},
    }
    assert set(found[1].document.metadata.values()) == {None}


def test_times_of_an_unknown_zone_are_told_in_utc(tmp_path: Path) -> None:
    columns = {"id": ["a"], "text": ["x"], "at": pa.array([60], pa.timestamp("s", tz="Mars/Phobos"))}
    found, bad = read(write(tmp_path / "c.parquet", columns))
    assert bad == []
    assert found[0].document.metadata == {"at": "1970-01-01T00:01:00+00:00"}


def test_a_date_beyond_those_of_python_is_a_bad_row(tmp_path: Path) -> None:
    columns = {
        "id": ["a", "b", "c"],
        "text": ["x", "y", "z"],
        "day": pa.array([0, 2**30, 2**23], pa.date32()),
        "at": pa.array([0, 0, 2**51], pa.timestamp("ms")),
    }
    found, bad = read(write(tmp_path / "c.parquet", columns))
    assert [item.document.id for item in found] == ["a"]
    assert [record.place.rpartition(":")[2] for record in bad] == ["row 2", "row 3"]
    assert all("a value that Python cannot hold" in record.reason for record in bad)


def test_a_file_name_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .* as Parquet"):
        list(read_source(tmp_path / "caf\udce9", format="parquet", on_bad=SkipBad()))


def test_bytes_are_no_metadata(tmp_path: Path) -> None:
    _, bad = read(write(tmp_path / "c.parquet", {"id": ["a"], "text": ["x"], "image": [b"\x00"]}))
    assert "'image' is of type bytes, which metadata cannot hold" in bad[0].reason


def test_missing_columns_are_an_error_that_names_those_there(tmp_path: Path) -> None:
    path = write(tmp_path / "c.parquet", {"id": ["a"], "content": ["x"]})
    with pytest.raises(InputError, match=r"c\.parquet: no field 'text'; the fields here are id, content"):
        read(path)


def test_what_is_not_parquet_or_breaks_off_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    path.write_bytes(b"id,text\n")
    with pytest.raises(InputError, match=r"cannot read .*c\.parquet as Parquet"):
        read(path)
    write(path, {"id": ["a"] * 1000, "text": ["x" * 50] * 1000})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"cannot read .*c\.parquet as Parquet"):
        read(path)


def test_without_pyarrow_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "c.parquet", {"id": ["a"], "text": ["x"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"pyarrow.*jcb-engine\[readers\]"):
        read(path)
