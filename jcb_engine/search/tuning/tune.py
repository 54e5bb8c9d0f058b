"""From queries to a curve: exact search once, a survey of many settings, the promising ones measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jcb_engine.errors import InputError
from jcb_engine.search.candidates import CandidateSettings
from jcb_engine.search.query import QueryVectors
from jcb_engine.search.tuning.choice import standard_error
from jcb_engine.search.tuning.cost import search_cost
from jcb_engine.search.tuning.measuring import SearchNumbers, exact_documents, median_milliseconds, recall_of
from jcb_engine.search.tuning.queries import TuningQueries
from jcb_engine.search.tuning.settings import documents_to_try, probes_to_try
from jcb_engine.search.tuning.stops import settings_with_stops, survey_stops
from jcb_engine.search.tuning.survey import Finding, Surveyed, promising, survey
from jcb_engine.storage import TunedPoint
from jcb_engine.types import Float32Array, Int64Array


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning needs of a searcher. numbers: searches for recall; hits: what a user waits for, timed."""

    finding: Finding
    numbers: SearchNumbers
    hits: Callable[[QueryVectors, int, CandidateSettings | None], object]
    rotate: Callable[[Float32Array], Float32Array]
    documents: Int64Array  # those that are not deleted


def measure(
    tuned: Tuned,
    queries: TuningQueries,
    k: int,
    asked: float,
    defaults: CandidateSettings,
    tell: Callable[[str], object],
) -> tuple[TunedPoint, ...]:
    """Points of a curve for k hits, by rising cost, exact search last; the default settings are among them."""
    tell(f"exact search of {len(queries.vectors):,} queries")
    wanted = exact_documents(tuned.numbers, queries, k)
    if any(len(documents) == 0 for documents in wanted):
        raise InputError("this index has no document that a search could find: there is nothing to tune")
    surveyed = _survey(tuned, queries, wanted, k, asked, defaults, tell)
    chosen = promising(surveyed, asked)
    known = {one.settings for one in chosen}
    chosen += [one for one in surveyed if one.settings == defaults and one.settings not in known]
    points = []
    for one in chosen:
        tell(f"{one.settings.documents:,} documents of {one.settings.probes} probes")
        recalls = recall_of(tuned.numbers, queries, wanted, k, one.settings)
        points.append((one, float(recalls.mean()), standard_error(recalls)))
    tell("times")
    times = median_milliseconds(tuned.hits, queries.vectors, k, [*(one.settings for one in chosen), None])
    exact_cost = search_cost(float(tuned.finding.token_counts[tuned.documents].sum()), 0, 0)
    found = [
        TunedPoint(
            one.settings.probes if tuned.finding.has_probes else None,
            one.settings.documents,
            one.settings.margin,
            recall,
            error,
            one.cost,
            milliseconds,
        )
        for (one, recall, error), milliseconds in zip(points, times, strict=False)
        if one.cost < exact_cost
    ]
    found.sort(key=lambda point: (point.cost, point.probes or 0, point.documents or 0))
    return (*found, TunedPoint(None, None, None, 1.0, 0.0, exact_cost, times[-1]))


def _survey(
    tuned: Tuned,
    queries: TuningQueries,
    wanted: Sequence[Int64Array],
    k: int,
    asked: float,
    defaults: CandidateSettings,
    tell: Callable[[str], object],
) -> list[Surveyed]:
    finding, total = tuned.finding, len(tuned.documents)
    documents = documents_to_try(k, total)
    if defaults.documents < total:
        documents = sorted({*documents, defaults.documents})
    if not documents:  # so few that every search scores them all
        return []
    if finding.has_probes:
        probes = sorted({*probes_to_try(len(finding.posting_lengths)), defaults.probes})
    else:
        probes = [defaults.probes]
    rotated = tuned.rotate(queries.vectors.vectors)
    surveyed: list[Surveyed] = []
    for count in probes:
        tell(f"survey of {count} probes" if finding.has_probes else "survey")
        surveyed += survey(finding, rotated, queries.vectors.offsets, wanted, count, documents)
    tell("survey of adaptive stops")
    tried = settings_with_stops(promising(surveyed, asked), asked, total)
    return surveyed + survey_stops(finding, rotated, queries.vectors.offsets, wanted, k, tried)


def machine_name() -> str:
    """Processor and number of usable cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    return f"{names[0] if names else platform.machine() or 'unknown processor'}, {cores} cores"
