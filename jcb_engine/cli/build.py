"""`jcb-index build`: a source of texts -> an index, with its report and warnings."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jcb_engine.cli.numbers import bytes_text, count_text, seconds_text
from jcb_engine.cli.progress import shown_progress
from jcb_engine.cli.running import warn

if TYPE_CHECKING:
    from jcb_engine.encoder import Encoder
    from jcb_engine.indexing import BuildOptions, BuildReport
    from jcb_engine.indexing.readers import Fields, SkipBad
    from jcb_engine.storage import IndexInfo

# Formats whose documents are whole files: they are split into passages unless told otherwise.
_LONG_FORMATS = frozenset({"folder"})
# Tokens of a passage where the encoder takes as many; shorter ones find the place, longer ones dilute nothing.
_PASSAGE_TOKENS = 200
_UNKNOWN_SHARE_WORTH_A_WARNING = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What the command line asked for. None: the default of the engine."""

    source: str
    index: Path
    format: str | None
    model: str
    dim: int | None
    encoding: dict[str, Any]
    fields: Fields
    skip_bad: int
    options: dict[str, Any]
    split_tokens: int | None
    split_overlap: int | None
    as_json: bool
    quiet: bool


def build(request: BuildRequest) -> None:
    """Build the index and print the report."""
    from jcb_engine.codec.kmeans import import_faiss
    from jcb_engine.indexing import BuildOptions, build_index
    from jcb_engine.indexing.readers import SkipBad, guess_format, read_source
    from jcb_engine.storage import check_target

    # everything that can be refused without loading a model is refused before
    options = BuildOptions(**request.options)
    kind = request.format or guess_format(request.source)
    bad = SkipBad(request.skip_bad)
    documents = read_source(request.source, format=kind, fields=request.fields, on_bad=bad)
    _check_splitting(request)
    _check_duplicates(options, request, kind)
    check_target(request.index, overwrite=options.overwrite)
    import_faiss()
    # pypdf logs every oddity of a file; what makes a file useless comes as a bad record
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)

    from jcb_engine.encoder import Encoder

    encoder = Encoder(request.model, dim=request.dim, **request.encoding)
    options = _with_splitting(options, request, kind, encoder)
    with shown_progress(quiet=request.quiet) as progress:
        report = build_index(documents, request.index, encoder, options, progress)
    _warn(report, bad, encoder, is_split=options.split_tokens is not None)
    _print(request, report, bad, is_split=options.split_tokens is not None)


def _check_splitting(request: BuildRequest) -> None:
    """Raise InputError for numbers that no text could be split by."""
    from jcb_engine.errors import InputError

    tokens, overlap = request.split_tokens, request.split_overlap
    if tokens is not None and tokens < 0:
        raise InputError(f"--split-tokens is {tokens}; allowed are 1 and more, or 0 to keep documents whole")
    if tokens == 0 and overlap is not None:
        raise InputError("--split-overlap came with --split-tokens 0, which keeps documents whole; leave one out")
    if overlap is not None and (overlap < 0 or (tokens is not None and overlap >= tokens)):
        below = f"{tokens - 1:,}" if tokens else "one less than --split-tokens"
        raise InputError(f"--split-overlap is {overlap}; allowed are 0 to {below}")


def _check_duplicates(options: BuildOptions, request: BuildRequest, kind: str) -> None:
    """Raise InputError where documents are to replace earlier ones and to be split, which cannot be done together."""
    from jcb_engine.errors import InputError

    is_split = bool(request.split_tokens) or _is_split_by_default(request, kind)
    if is_split and options.on_duplicate == "last":
        reason = f", as a {kind} is by default" if request.split_tokens is None and kind in _LONG_FORMATS else ""
        raise InputError(
            f"--on-duplicate last replaces whole documents, but these are split into passages{reason}; "
            "keep them whole with --split-tokens 0, or choose --on-duplicate error or skip"
        )


def _is_split_by_default(request: BuildRequest, kind: str) -> bool:
    return request.split_tokens is None and (kind in _LONG_FORMATS or request.split_overlap is not None)


def _with_splitting(options: BuildOptions, request: BuildRequest, kind: str, encoder: Encoder) -> BuildOptions:
    tokens = request.split_tokens
    if _is_split_by_default(request, kind):
        # a quarter of what the encoder takes is left to the title and to special tokens
        length = encoder.record.document_length
        tokens = _PASSAGE_TOKENS if length is None else max(1, min(_PASSAGE_TOKENS, length * 3 // 4))
    if not tokens:
        return options
    overlap = tokens // 5 if request.split_overlap is None else request.split_overlap
    return replace(options, split_tokens=tokens, split_overlap=overlap)


def _warn(report: BuildReport, bad: SkipBad, encoder: Encoder, *, is_split: bool) -> None:
    if bad.records:
        warn(f"{count_text(len(bad.records), 'bad record')} skipped; the first: {bad.records[0]}")
    if report.duplicates:
        warn(f"{count_text(report.duplicates, 'document')} had an id that came before")
    if report.empty_documents:
        warn(f"{count_text(report.empty_documents, 'document')} without a token: stored, but never a hit")
    if report.documents_cut:
        advice = "choose a smaller --split-tokens" if is_split else "--split-tokens makes passages of them"
        warn(
            f"{count_text(report.documents_cut, 'document')} longer than the encoder takes: "
            f"{count_text(report.tokens_cut, 'token')} cut off; {advice}"
        )
    if report.unknown_share is not None and report.unknown_share > _UNKNOWN_SHARE_WORTH_A_WARNING:
        warn(
            f"{report.unknown_share:.0%} of the tokens are unknown to '{encoder.record.name}': searches will be poor; "
            "choose a model for the language of these texts with --model"
        )


def _print(request: BuildRequest, report: BuildReport, bad: SkipBad, *, is_split: bool) -> None:
    info = _described(request.index)
    if request.as_json:
        values = {**report.to_json(), "path": str(request.index), "bad_records": len(bad.records), "bytes": info.bytes}
        print(json.dumps(values, ensure_ascii=False, indent=2))
    elif not request.quiet:
        noun = "passage" if is_split else "document"
        print(f"{request.index}: {count_text(report.documents, noun)}, {count_text(report.tokens, 'token')}")
        print(
            f"  {report.dim} dimensions at {count_text(report.nbits, 'bit')}, "
            f"{count_text(report.centroids, 'centroid')}, version {report.version}"
        )
        print(f"  {bytes_text(info.bytes['total'])}, {info.bytes_per_token['total']:.1f} bytes per token")
        print(f"  built in {seconds_text(report.seconds)}")


def _described(path: Path) -> IndexInfo:
    from jcb_engine.storage import Snapshot, describe_index

    with Snapshot.open(path) as snapshot:
        return describe_index(snapshot, str(path))
