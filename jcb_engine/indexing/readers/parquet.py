"""Parquet, streamed by row groups; needs pyarrow (extra `[readers]`)."""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from jcb_engine.errors import InputError, MissingDependencyError
from jcb_engine.indexing.readers.fields import UnusableRecordError, document_from_record, resolve_fields
from jcb_engine.indexing.readers.records import BadRecord, Fields, OnBad, SourceDocument
from jcb_engine.indexing.readers.streams import STDIN

# Rows turned into Python objects at a time: a thousand web pages are a few MB.
_ROWS_IN_BATCH = 1024


def read_parquet(source: str, fields: Fields, on_bad: OnBad) -> Iterator[SourceDocument]:
    """Documents of a Parquet file, one per row; places count rows from 1.

    Dates and times in metadata become ISO 8601 strings, to the microsecond, those of a time zone that is unknown here
    in UTC; durations become seconds, decimals strings, a missing number (NaN) null.
    Raises InputError for a file that is not Parquet, breaks off, or whose columns lack the id or the text.
    """
    if source == STDIN:
        raise InputError("Parquet cannot be read from standard input (its index stands at the end); give a file")
    for row, record in enumerate(_rows(source, fields), start=1):
        place = f"{source}:row {row}"
        try:
            if isinstance(record, Exception):
                raise UnusableRecordError(_reason(record))
            document = document_from_record({name: _plain(value) for name, value in record.items()}, fields)
        except UnusableRecordError as error:
            on_bad(BadRecord(place, str(error)))
            continue
        yield SourceDocument(document, place)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason}"
    return f"a value that Python cannot hold: {error}"


def _rows(source: str, fields: Fields) -> Iterator[dict[str, object] | Exception]:
    """Rows as mappings; a row with broken UTF-8 or a date beyond all bounds comes as its error, the others follow."""
    pyarrow = _pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(source) as file:
            _check_columns(file.schema_arrow.names, fields, source)
            for batch in file.iter_batches(batch_size=_ROWS_IN_BATCH):
                yield from _rows_of_batch(_convertible(pyarrow, batch))
    except (pyarrow.ArrowException, OSError, UnicodeEncodeError) as error:
        raise InputError(f"cannot read {source} as Parquet: {error}") from error


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            "reading Parquet needs pyarrow, which is not installed: pip install 'jcb-engine[readers]'"
        ) from error
    return pyarrow


def _check_columns(names: list[str], fields: Fields, source: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{source}: the columns {', '.join(repeated)} come more than once; rename them")
    try:
        resolve_fields(fields, names)
    except UnusableRecordError as error:
        raise InputError(f"{source}: {error}") from None


def _rows_of_batch(batch: Any) -> Iterator[dict[str, object] | Exception]:
    # ValueError is broken UTF-8 and what Arrow refuses, OverflowError a date out of Python's range
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        # to_pylist fails as a whole, before the first row
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except (ValueError, OverflowError) as error:
                yield error


def _convertible(pyarrow: Any, batch: Any) -> Any:
    """The batch with columns of times as Python can hold them."""
    columns = []
    for column in batch.columns:
        wanted = _convertible_type(pyarrow, column.type)
        columns.append(column if wanted == column.type else column.cast(wanted, safe=False))
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _convertible_type(pyarrow: Any, type_: Any) -> Any:
    """Nanoseconds become microseconds, as fine as Python's times are; a zone that is unknown here becomes UTC."""
    types = pyarrow.types
    if types.is_timestamp(type_):
        unit = "us" if type_.unit == "ns" else type_.unit
        return pyarrow.timestamp(unit, tz=_known_zone(pyarrow, type_.tz))
    if types.is_duration(type_):
        return pyarrow.duration("us" if type_.unit == "ns" else type_.unit)
    if types.is_time64(type_):
        return pyarrow.time64("us")
    if types.is_list(type_) or types.is_large_list(type_):
        make = pyarrow.list_ if types.is_list(type_) else pyarrow.large_list
        return make(_convertible_field(pyarrow, type_.value_field))
    if types.is_struct(type_):
        return pyarrow.struct([_convertible_field(pyarrow, type_.field(at)) for at in range(type_.num_fields)])
    return type_


def _convertible_field(pyarrow: Any, field: Any) -> Any:
    return field.with_type(_convertible_type(pyarrow, field.type))


def _known_zone(pyarrow: Any, zone: str | None) -> str | None:
    """The zone, or UTC as a plain offset where the system has no rules for it: the moment stays the same."""
    if zone is None:
        return None
    try:
        pyarrow.scalar(0, pyarrow.timestamp("s", tz=zone)).as_py()
    except ValueError:
        return "+00:00"
    return zone


def _plain(value: object) -> object:
    """A value of Arrow as one of JSON where there is a customary form; else as it is."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value
