"""What tuning measured on an index: curves of recall against cost, kept in the manifest under `tuning`.

    k               hits that were asked for; the curve says nothing about another number
    stage           the way of finding candidates, such as "centroids Flat"
    query_source    such as "file queries.tsv" or "300 passages of the index as queries, seed 0"
    queries         how many
    version         the manifest version that was measured
    content         xxh3-128 of what that version held: ids of codecs, ids of segments in their order, tombstones
    created         UTC time
    machine         processor and cores, for the times
    backend         kernels, such as "cpu/avx2"
    threads         of the kernels; null where the backend does not say
    asked_recall    what the curve was made for
    points          [{probes, documents, margin, recall, standard_error, cost, median_ms}], by rising cost; documents
                    null is exact search, the last point; probes null where the stage has none; margin null: no stop

A curve belongs to a version as long as `content` is what that version holds: a commit of other segments keeps it, and
it then counts as not measured. There is one curve for a pair of k and stage.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from jcb_engine.storage.fields import Field
from jcb_engine.storage.layout import CONTENT_ID
from jcb_engine.types import JsonValue

MAX_CURVES = 64
MAX_POINTS = 256
_LARGEST = 1e18
_LARGEST_COUNT = 1 << 40


@dataclass(frozen=True, slots=True)
class TunedPoint:
    """Settings of a search, and what they were measured to find and to cost.

    probes: None where the stage has none. documents: None scores every document. margin: see Narrowing; None: no stop.
    recall: mean share of the exact k best that were found; standard_error: of that mean.
    cost: a count of work per query that does not depend on the machine (search/tuning/cost.py).
    median_ms: of a single query, encoding apart, on the machine that the curve names.
    """

    probes: int | None
    documents: int | None
    margin: float | None
    recall: float
    standard_error: float
    cost: float
    median_ms: float

    @property
    def is_exact(self) -> bool:
        return self.documents is None


@dataclass(frozen=True, slots=True)
class TuningCurve:
    """One measurement; fields as in the comment of this module."""

    k: int
    stage: str
    query_source: str
    queries: int
    version: int
    content: str
    created: str
    machine: str
    backend: str
    threads: int | None
    asked_recall: float
    points: tuple[TunedPoint, ...]

    def to_json(self) -> dict[str, JsonValue]:
        return {**asdict(self), "points": [asdict(point) for point in self.points]}


def curves_with(curves: tuple[TuningCurve, ...], curve: TuningCurve) -> tuple[TuningCurve, ...]:
    """The curves and a new one, which takes the place of one with its k and stage; ordered by these."""
    others = [other for other in curves if (other.k, other.stage) != (curve.k, curve.stage)]
    return tuple(sorted([*others, curve], key=lambda one: (one.k, one.stage)))


def tuning_json(curves: tuple[TuningCurve, ...]) -> list[JsonValue]:
    return [curve.to_json() for curve in curves]


def read_tuning(field: Field) -> tuple[TuningCurve, ...]:
    """All curves, every value checked. Raises CorruptIndexError with the name of the field."""
    curves = tuple(_curve(element) for element in field.elements(MAX_CURVES))
    if len({(curve.k, curve.stage) for curve in curves}) != len(curves):
        raise field.problem("has two curves for one k and stage")
    return curves


_CURVE_FIELDS = frozenset(TuningCurve.__slots__)
_POINT_FIELDS = frozenset(TunedPoint.__slots__)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_SHORT_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,300}")


def _curve(field: Field) -> TuningCurve:
    field.check_no_more_than(_CURVE_FIELDS)
    points = tuple(_point(element) for element in field.member("points").elements(MAX_POINTS))
    _check_points(points, field.member("points"))
    return TuningCurve(
        k=field.member("k").integer(1),
        stage=field.member("stage").string(_SHORT_TEXT),
        query_source=field.member("query_source").string(_SHORT_TEXT),
        queries=field.member("queries").integer(1),
        version=field.member("version").integer(0),
        content=field.member("content").string(CONTENT_ID),
        created=field.member("created").string(_TIME),
        machine=field.member("machine").string(_SHORT_TEXT),
        backend=field.member("backend").string(_SHORT_TEXT),
        threads=_count_or_none(field.member("threads")),
        asked_recall=field.member("asked_recall").number(0, 1),
        points=points,
    )


def _check_points(points: tuple[TunedPoint, ...], field: Field) -> None:
    """Raise CorruptIndexError unless costs rise and exact search, with recall 1, is the last and no other point."""
    if [point.is_exact for point in points] != [False] * (len(points) - 1) + [True]:
        raise field.problem("must end with exact search (documents null), and have it nowhere else")
    if points[-1].recall != 1 or points[-1].standard_error != 0:
        raise field.problem("give exact search a recall other than 1")
    costs = [point.cost for point in points]
    if costs != sorted(costs):
        raise field.problem("are not ordered by cost")


def _point(field: Field) -> TunedPoint:
    field.check_no_more_than(_POINT_FIELDS)
    margin = field.member("margin")
    return TunedPoint(
        probes=_count_or_none(field.member("probes")),
        documents=_count_or_none(field.member("documents")),
        margin=None if margin.is_null() else margin.number(-_LARGEST, _LARGEST),
        recall=field.member("recall").number(0, 1),
        standard_error=field.member("standard_error").number(0, 1),
        cost=field.member("cost").number(0, _LARGEST),
        median_ms=field.member("median_ms").number(0, _LARGEST),
    )


def _count_or_none(field: Field) -> int | None:
    return None if field.is_null() else field.integer(1, _LARGEST_COUNT)


def short_text(text: str) -> str:
    """Text as a curve may hold it: no control characters, at most 300 characters, "unknown" where nothing is left."""
    kept = "".join(found[0] for found in re.finditer(_SHORT_TEXT, text))
    return kept[:300] or "unknown"
