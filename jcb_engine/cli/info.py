"""`jcb-index info`: what an index holds, what made it, where its bytes go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from jcb_engine.cli.numbers import bytes_text, count_text
from jcb_engine.cli.running import printable
from jcb_engine.storage import IndexInfo, Snapshot, describe_index
from jcb_engine.types import JsonValue

# Parts of an index with what they hold, in the order shown.
_PARTS = {
    "vectors": "codes, centroid ids, scalars",
    "postings": "which documents a centroid touches",
    "encodings": "one vector per document (MUVERA)",
    "offsets": "where documents begin, parents",
    "documents": "ids, titles, texts, metadata",
    "codec": "centroids, rotation, levels",
    "total": "",
}


def info(path: Path, *, as_json: bool) -> None:
    """Print the description of an index. Raises the errors of opening it."""
    with Snapshot.open(path) as snapshot:
        description = describe_index(snapshot, str(path))
    if as_json:
        print(json.dumps(description.to_json(), ensure_ascii=False, indent=2))
        return
    for line in _lines(description):
        print(line)


def _lines(index: IndexInfo) -> list[str]:
    without = index.documents - index.documents_with_vectors
    lines = [
        f"{index.path}, version {index.version}, made {index.created}",
        f"  documents  {index.documents:,}" + (f" ({without:,} without a token, never a hit)" if without else ""),
        f"  tokens     {index.tokens:,} in {count_text(index.segments, 'segment')}",
        f"  vectors    {index.dim} dimensions at {count_text(index.nbits, 'bit')}, {index.centroids:,} centroids "
        f"({index.faiss_factory})",
        f"  encoder    {_encoder_text(index.encoder)}",
        *_tuning_lines(index),
        "",
        f"  {'part':<10} {'size':>10} {'per token':>13}",
    ]
    for part, meaning in _PARTS.items():
        if part == "encodings":
            if index.muvera is None:
                continue
            meaning = f"{meaning}, {printable(str(index.muvera.get('factory')))}"
        size, per_token = index.bytes[part], index.bytes_per_token[part]
        lines.append(f"  {part:<10} {bytes_text(size):>10} {per_token:>7.2f} bytes  {meaning}".rstrip())
    return lines


def _tuning_lines(index: IndexInfo) -> list[str]:
    lines = [] if index.tuning else ["  recall     not measured (jcb-index tune)"]
    for tuned in index.tuning:
        curve = tuned.curve
        if tuned.is_current:
            measured = f"k={curve.k}: {count_text(len(curve.points), 'setting')} measured, version {curve.version}"
            lines += [
                f"  recall     {measured}, {printable(curve.stage)}",
                f"             {printable(curve.query_source)}",
            ]
        else:
            advice = f"jcb-index tune --k {curve.k}"
            lines.append(f"  recall     k={curve.k}: not measured since version {curve.version} ({advice})")
    return lines


def _encoder_text(encoder: Mapping[str, JsonValue] | None) -> str:
    if encoder is None:
        return "none: the index was made from vectors"
    lengths = [
        f"{kind} up to {length:,} tokens"
        for kind in ("query", "document")
        if isinstance(length := encoder.get(f"{kind}_length"), int)
    ]
    factor = encoder.get("token_pooling")
    pooling = [f"token pooling by {factor:g}"] if isinstance(factor, int | float) else []
    return printable(", ".join([str(encoder.get("name", "unnamed")), *lengths, *pooling]))
