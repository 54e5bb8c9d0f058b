"""Adaptive stops (search/stopping.py): margins calibrated, their recall and cost surveyed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jcb_engine.kernels import RAW_BITS
from jcb_engine.search.candidates import CandidateSettings
from jcb_engine.search.lists import by_query
from jcb_engine.search.narrowing import Narrowing
from jcb_engine.search.query import blocks_of_tokens
from jcb_engine.search.stopping import first_places, worth_scoring
from jcb_engine.search.tuning.cost import SECOND_ROUND, search_cost
from jcb_engine.search.tuning.survey import Finding, Surveyed
from jcb_engine.types import Float32Array, Int64Array, Uint32Array

_QUANTILES = (0.6, 0.7, 0.8, 0.9, 0.95)
_WIDER = (1.0, 1.5, 2.0)  # with a stop more documents may be kept: most of them are passed over


def settings_with_stops(fixed: Sequence[Surveyed], asked: float, documents: int) -> list[CandidateSettings]:
    """Settings to try with stops: those with a recall near `asked` or better, as wide or wider."""
    near = [one.settings for one in fixed if one.recall >= 1 - 3 * (1 - asked)][:3]
    tried = {CandidateSettings(one.probes, int(one.documents * wider)) for one in near for wider in _WIDER}
    return sorted((one for one in tried if one.documents < documents), key=lambda one: (one.probes, one.documents))


def survey_stops(
    finding: Finding,
    vectors: Float32Array,
    offsets: Int64Array,
    wanted: Sequence[Int64Array],
    k: int,
    tried: Sequence[CandidateSettings],
) -> list[Surveyed]:
    """Each of the settings with margins of several quantiles. Arguments as `survey` has them; none for a raw codec."""
    if finding.codec.nbits == RAW_BITS:
        return []
    surveyed: list[Surveyed] = []
    for settings in tried:
        kept = _scored(finding, vectors, offsets, settings)
        lengths = np.diff(offsets)
        margins = np.quantile(_rises(kept, wanted, lengths), _QUANTILES).astype(np.float32)
        for margin in np.unique(margins).tolist():
            recalls, costs = np.zeros(len(wanted)), np.zeros(len(wanted))
            for number, (one, exact) in enumerate(zip(kept, wanted, strict=True)):
                taken = one.taken(k, margin * lengths[number])
                recalls[number] = np.isin(exact, one.documents[taken]).mean()
                tokens = float(finding.token_counts[one.documents[taken]].sum())
                costs[number] = search_cost(tokens, one.tokens_narrowed, one.postings) + SECOND_ROUND
            with_stop = CandidateSettings(settings.probes, settings.documents, margin)
            surveyed.append(Surveyed(with_stop, recalls, float(costs.mean())))
    return surveyed


class _Scored:
    """The kept documents of one query [M], with both of their scores."""

    def __init__(
        self,
        documents: Uint32Array,
        centroid_scores: Float32Array,
        scores: Float32Array,
        tokens_narrowed: float,
        postings: float,
    ) -> None:
        self.documents, self.centroid_scores, self.scores = documents, centroid_scores, scores
        self.tokens_narrowed, self.postings = tokens_narrowed, postings

    def taken(self, k: int, margin: float) -> Int64Array:
        """Places of the documents that are scored with a stop."""
        first = first_places(self.centroid_scores, k)
        others = worth_scoring(self.centroid_scores, first, self.scores[first], k, margin)
        return np.concatenate([first, np.flatnonzero(others)])


def _scored(finding: Finding, vectors: Float32Array, offsets: Int64Array, settings: CandidateSettings) -> list[_Scored]:
    narrowing = Narrowing(finding.backend, finding.store, finding.codec)
    found: list[_Scored] = []
    for first, last in blocks_of_tokens(offsets, len(offsets) - 1):
        own_offsets = offsets[first : last + 1] - offsets[first]
        own = np.ascontiguousarray(vectors[offsets[first] : offsets[last]])
        table = finding.backend.centroid_scores(finding.store, own, "fast")
        pools = finding.stage.find(own, own_offsets, table, settings, finding.mask)
        narrowed = narrowing.keep(pools, table, own_offsets, settings.documents)
        assert narrowed.scores is not None, "raw codecs are left out"
        scores = finding.backend.maxsim_quantized(finding.store, own, own_offsets, narrowed.lists, "fast", table)
        postings = finding.postings_read(own, own_offsets, table, settings)
        pool_tokens = np.concatenate([[0], np.cumsum(finding.token_counts[pools.documents])])[pools.list_offsets]
        for (documents, fast), (_, centroid_scores), tokens, read in zip(
            by_query(narrowed.lists, scores),
            by_query(narrowed.lists, narrowed.scores),
            np.diff(pool_tokens).tolist(),
            postings.tolist(),
            strict=True,
        ):
            found.append(_Scored(documents, centroid_scores, fast, float(tokens), float(read)))
    return found


def _rises(kept: Sequence[_Scored], wanted: Sequence[Int64Array], lengths: Int64Array) -> Float32Array:
    """How far hits lie above their centroid-only scores, per query token; one 0 where no hit was kept."""
    rises = [np.zeros(0, np.float32)]
    for one, exact, length in zip(kept, wanted, lengths.tolist(), strict=True):
        hits = np.isin(one.documents, exact)
        rises.append(((one.scores - one.centroid_scores)[hits] / np.float32(length)).astype(np.float32))
    joined = np.concatenate(rises)
    return joined if len(joined) else np.zeros(1, np.float32)
