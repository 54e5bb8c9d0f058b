"""What an index is: counts, codec, encoder, and where its bytes go. Needs neither torch nor faiss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jcb_engine.storage.snapshot import Snapshot
from jcb_engine.storage.tuning import TuningCurve
from jcb_engine.types import JsonValue

# Arrays of a segment by what they are for. A token's vector is its code, its centroid and its two scalars.
_VECTOR_FILES = ("codes", "centroid_ids", "sigmas", "norms")
_POSTING_FILES = ("posting_offsets", "posting_documents")
_OFFSET_FILES = ("doc_offsets", "parents")
_ENCODING_FILES = ("encodings",)


@dataclass(frozen=True, slots=True)
class CurveInfo:
    """A curve of recall against cost, and whether it was measured on what this version holds."""

    is_current: bool
    curve: TuningCurve


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """Sizes are bytes on disk. bytes_per_token counts everything by its part; "vectors" is what compression decides."""

    path: str
    version: int
    created: str
    documents: int
    documents_with_vectors: int
    tokens: int
    segments: int
    dim: int
    nbits: int
    centroids: int
    faiss_factory: str
    muvera: Mapping[str, JsonValue] | None
    encoder: Mapping[str, JsonValue] | None
    bytes: Mapping[str, int]
    bytes_per_token: Mapping[str, float]
    tuning: tuple[CurveInfo, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def describe_index(snapshot: Snapshot, path: str) -> IndexInfo:
    manifest = snapshot.manifest
    codecs = {segment.codec_id for segment in snapshot.segments}
    codec = snapshot.codec(next(iter(sorted(codecs))))
    sizes = _sizes(snapshot)
    tokens = sum(segment.token_count for segment in snapshot.segments)
    properties = codec.properties
    return IndexInfo(
        path=path,
        version=snapshot.version,
        created=manifest.created,
        documents=sum(segment.document_count for segment in snapshot.segments),
        documents_with_vectors=sum(
            _whole(segment.statistics, "documents_with_vectors") for segment in snapshot.segments
        ),
        tokens=tokens,
        segments=len(snapshot.segments),
        dim=_whole(properties, "dim"),
        nbits=_whole(properties, "nbits"),
        centroids=len(codec.array("centroids")),
        faiss_factory=str(manifest.settings.get("faiss_factory", "Flat")),
        muvera=_members(manifest.settings.get("muvera")),
        encoder=manifest.encoder,
        bytes=sizes,
        bytes_per_token={name: size / max(1, tokens) for name, size in sizes.items()},
        tuning=tuple(CurveInfo(curve.content == manifest.content, curve) for curve in manifest.tuning),
    )


def _sizes(snapshot: Snapshot) -> dict[str, int]:
    sizes = {"vectors": 0, "postings": 0, "encodings": 0, "offsets": 0, "documents": 0, "codec": 0}
    for segment in snapshot.segments:
        for name, size in segment.file_sizes().items():
            sizes[_part(name)] += size
    for codec in snapshot.manifest.codecs.values():
        sizes["codec"] += sum(entry.size for entry in codec.files.values())
    return {**sizes, "total": sum(sizes.values())}


def _part(file_name: str) -> str:
    stem = file_name.partition(".")[0]
    if stem in _VECTOR_FILES:
        return "vectors"
    if stem in _POSTING_FILES:
        return "postings"
    if stem in _ENCODING_FILES:
        return "encodings"
    return "offsets" if stem in _OFFSET_FILES else "documents"


def _members(value: JsonValue) -> Mapping[str, JsonValue] | None:
    return value if isinstance(value, Mapping) else None


def _whole(values: Mapping[str, JsonValue], name: str) -> int:
    value = values.get(name, 0)
    return value if isinstance(value, int) else 0
