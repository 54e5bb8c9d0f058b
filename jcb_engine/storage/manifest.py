"""The manifest: the one small file that says what an index is. Publishing it is the commit.

File: 32 hex digits, the xxh3-128 of everything after the first newline; newline; one JSON object; newline.

    format_version      0: without a promise that later versions read it
    min_reader_version  the oldest reader that understands this index
    writer              package version that wrote it, such as "jcb-engine 0.1.0"
    version             the number in the file's name
    created             UTC time, such as "2026-11-22T19:38:53Z"; from SOURCE_DATE_EPOCH when that is set
    encoder             what made the vectors (opaque here), or null
    settings            what the index was built with (opaque here)
    codecs              {id: {files: {name: {size, xxh3_128}}, properties: {opaque}}}
    segments            [{id, codec, documents, tokens, statistics: {opaque}, files: {name: {size, xxh3_128}},
                          tombstones: null or {name, size, xxh3_128}}]
    tuning              curves of recall against cost (tuning.py); left out while nothing has been measured

File names are plain names inside codec/<id>/, segments/<id>/ and tombstones/. A reader of this version refuses fields
that it does not know; a newer format names the oldest reader that may pass over its additions.
History: 0, the first.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from jcb_engine.errors import CorruptIndexError, IndexTooNewError, IndexTooOldError, InputError
from jcb_engine.storage.checksum import FileRecord, canonical_json, hash_bytes
from jcb_engine.storage.fields import Field
from jcb_engine.storage.layout import CONTENT_ID, TOMBSTONE_NAME
from jcb_engine.storage.tuning import TuningCurve, read_tuning, tuning_json
from jcb_engine.types import JsonValue

FORMAT_VERSION = 0
OLDEST_READABLE_FORMAT = 0
MAX_MANIFEST_BYTES = 16 << 20  # ten thousand segments; parsed, a hostile one takes some twenty times its size
MAX_DOCUMENTS = 1 << 32  # postings hold document numbers as uint32
_HASH_DIGITS = 32


@dataclass(frozen=True, slots=True)
class CodecRecord:
    """A codec as the manifest names it."""

    id: str
    files: Mapping[str, FileRecord]
    properties: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class TombstonesRecord:
    """The file of a segment's deleted rows."""

    name: str
    file: FileRecord


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A segment as the manifest names it."""

    id: str
    codec: str
    documents: int
    tokens: int
    statistics: Mapping[str, JsonValue]
    files: Mapping[str, FileRecord]
    tombstones: TombstonesRecord | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of an index."""

    version: int
    created: str
    writer: str
    encoder: Mapping[str, JsonValue] | None
    settings: Mapping[str, JsonValue]
    codecs: Mapping[str, CodecRecord]
    segments: tuple[SegmentRecord, ...]
    format_version: int = FORMAT_VERSION
    min_reader_version: int = FORMAT_VERSION
    tuning: tuple[TuningCurve, ...] = ()

    @property
    def content(self) -> str:
        """32 hex digits that stand for what a search goes over: codecs, segments in their order, deleted rows."""
        segments: list[JsonValue] = [
            [segment.id, None if segment.tombstones is None else segment.tombstones.file.xxh3_128]
            for segment in self.segments
        ]
        return hash_bytes(canonical_json({"codecs": sorted(self.codecs), "segments": segments}))

    def to_bytes(self) -> bytes:
        """The file. InputError when an opaque part is not JSON or the whole is too large to be read again."""
        body = canonical_json(_manifest_json(self)) + b"\n"
        if len(body) > MAX_MANIFEST_BYTES:
            raise InputError(
                f"the manifest would have {len(body):,} bytes; at most {MAX_MANIFEST_BYTES:,}: store smaller settings"
            )
        return hash_bytes(body).encode("ascii") + b"\n" + body

    @staticmethod
    def from_bytes(data: bytes, name: str) -> Manifest:
        """Parse and check every field. CorruptIndexError (names file and field), IndexTooNewError, IndexTooOldError."""
        root = Field(_parse(_checked_body(data, name), name), name, "")
        format_version = root.member("format_version").integer(0)
        _check_versions(root, format_version, name)
        if format_version <= FORMAT_VERSION:
            root.check_no_more_than(_MANIFEST_FIELDS)
        codecs = {key: _codec_record(key, field) for key, field in root.member("codecs").items()}
        segments = tuple(_segment_record(field, codecs) for field in root.member("segments").elements())
        _check_unique(segments, name)
        encoder = root.member("encoder")
        return Manifest(
            version=root.member("version").integer(0),
            created=root.member("created").string(_TIME),
            writer=root.member("writer").string(_WRITER),
            encoder=None if encoder.is_null() else encoder.json_object(),
            settings=root.member("settings").json_object(),
            codecs=codecs,
            segments=segments,
            format_version=format_version,
            min_reader_version=root.member("min_reader_version").integer(0),
            tuning=read_tuning(root.member("tuning")) if root.has("tuning") else (),
        )


_MANIFEST_FIELDS = frozenset(
    [
        "format_version",
        "min_reader_version",
        "writer",
        "version",
        "created",
        "encoder",
        "settings",
        "codecs",
        "segments",
        "tuning",
    ]
)
_CODEC_FIELDS = frozenset(["files", "properties"])
_SEGMENT_FIELDS = frozenset(["id", "codec", "documents", "tokens", "statistics", "files", "tombstones"])
_FILE_FIELDS = frozenset(["size", "xxh3_128"])
_TOMBSTONES_FIELDS = _FILE_FIELDS | {"name"}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_WRITER = re.compile(r"[ -~]{1,100}")


def creation_time() -> str:
    """Now in UTC, or the time that SOURCE_DATE_EPOCH names (seconds since 1970), for equal bytes from equal input."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        moment = datetime.now(UTC)
    else:
        try:
            moment = datetime.fromtimestamp(int(epoch), UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise InputError(
                f"SOURCE_DATE_EPOCH is {epoch!r}; expected whole seconds since 1970, or unset it"
            ) from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def _manifest_json(manifest: Manifest) -> JsonValue:
    return {
        "format_version": manifest.format_version,
        "min_reader_version": manifest.min_reader_version,
        "writer": manifest.writer,
        "version": manifest.version,
        "created": manifest.created,
        "encoder": manifest.encoder,
        "settings": manifest.settings,
        "codecs": {
            key: {"files": _files_json(codec.files), "properties": codec.properties}
            for key, codec in manifest.codecs.items()
        },
        "segments": [_segment_json(segment) for segment in manifest.segments],
        **({"tuning": tuning_json(manifest.tuning)} if manifest.tuning else {}),
    }


def _segment_json(segment: SegmentRecord) -> JsonValue:
    tombstones = segment.tombstones
    return {
        "id": segment.id,
        "codec": segment.codec,
        "documents": segment.documents,
        "tokens": segment.tokens,
        "statistics": segment.statistics,
        "files": _files_json(segment.files),
        "tombstones": None if tombstones is None else {"name": tombstones.name, **_file_json(tombstones.file)},
    }


def _files_json(files: Mapping[str, FileRecord]) -> Mapping[str, JsonValue]:
    return {name: _file_json(record) for name, record in files.items()}


def _file_json(record: FileRecord) -> Mapping[str, JsonValue]:
    return {"size": record.size, "xxh3_128": record.xxh3_128}


def _checked_body(data: bytes, name: str) -> bytes:
    stated, newline, body = data[:_HASH_DIGITS], data[_HASH_DIGITS : _HASH_DIGITS + 1], data[_HASH_DIGITS + 1 :]
    if newline != b"\n" or stated != hash_bytes(body).encode("ascii"):
        raise CorruptIndexError(
            f"{name} is damaged: its first line is not the checksum of the rest; restore the index from a copy or "
            "build it again"
        )
    return body


def _parse(body: bytes, name: str) -> object:
    try:
        return json.loads(body, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise CorruptIndexError(f"{name} is not the JSON of a manifest: {error}") from error


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has the same key twice")
    return members


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not a JSON number")


def _check_versions(root: Field, format_version: int, name: str) -> None:
    needed = root.member("min_reader_version").integer(0)
    if needed > FORMAT_VERSION:
        raise IndexTooNewError(
            f"{name} needs a reader of format {needed}; this version of jcb-engine reads up to format "
            f"{FORMAT_VERSION}: install a newer jcb-engine"
        )
    if format_version < OLDEST_READABLE_FORMAT:
        raise IndexTooOldError(
            f"{name} has format {format_version}; this version of jcb-engine reads from format "
            f"{OLDEST_READABLE_FORMAT}: build the index again, or use the jcb-engine that wrote it"
        )


def _codec_record(key: str, field: Field) -> CodecRecord:
    field.check_key(key, CONTENT_ID)
    field.check_no_more_than(_CODEC_FIELDS)
    return CodecRecord(key, _file_records(field.member("files")), field.member("properties").json_object())


def _segment_record(field: Field, codecs: Mapping[str, CodecRecord]) -> SegmentRecord:
    field.check_no_more_than(_SEGMENT_FIELDS)
    codec = field.member("codec").string(CONTENT_ID)
    if codec not in codecs:
        raise field.member("codec").problem(f"is {codec}, which is not among the codecs")
    tombstones = field.member("tombstones")
    return SegmentRecord(
        id=field.member("id").string(CONTENT_ID),
        codec=codec,
        documents=field.member("documents").integer(0, MAX_DOCUMENTS),
        tokens=field.member("tokens").integer(0),
        statistics=field.member("statistics").json_object(),
        files=_file_records(field.member("files")),
        tombstones=None if tombstones.is_null() else _tombstones_record(tombstones),
    )


def _tombstones_record(field: Field) -> TombstonesRecord:
    field.check_no_more_than(_TOMBSTONES_FIELDS)
    return TombstonesRecord(field.member("name").string(TOMBSTONE_NAME), _file_record(field))


def _file_records(field: Field) -> Mapping[str, FileRecord]:
    records = {}
    for name, member in field.items():
        member.check_plain_name(name)
        member.check_no_more_than(_FILE_FIELDS)
        records[name] = _file_record(member)
    return records


def _file_record(field: Field) -> FileRecord:
    return FileRecord(field.member("size").integer(0), field.member("xxh3_128").string(CONTENT_ID))


def _check_unique(segments: tuple[SegmentRecord, ...], name: str) -> None:
    ids = [segment.id for segment in segments]
    if len(set(ids)) != len(ids):
        raise CorruptIndexError(f"{name}: segments names the same id twice")
