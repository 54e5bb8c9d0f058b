"""What was measured, applied to a search: the settings for a recall, the recall of settings, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence

from jcb_engine.errors import InputError
from jcb_engine.search.candidates import CandidateSettings
from jcb_engine.search.tuning.choice import cheapest
from jcb_engine.storage import TunedPoint, TuningCurve
from jcb_engine.storage.tuning import curves_with


class AppliedTuning:
    """The curves of an index for one way of finding candidates.

    content: what the open version holds; curves of another content are stale, and promise nothing.
    """

    def __init__(self, curves: Sequence[TuningCurve], stage: str, content: str) -> None:
        self._curves, self._stage, self._content = tuple(curves), stage, content
        own = [curve for curve in curves if curve.stage == stage]
        self._current = {curve.k: curve for curve in own if curve.content == content}
        self._stale = {curve.k: curve for curve in own if curve.content != content}

    def with_curve(self, curve: TuningCurve) -> AppliedTuning:
        """The same with one more curve."""
        return AppliedTuning(curves_with(self._curves, curve), self._stage, self._content)

    def point_for(self, recall: float, k: int) -> TunedPoint:
        """The cheapest point of the curve for k whose assured recall is at least `recall`; exact where none is.

        Raises InputError, with what to do, where no curve applies.
        """
        curve = self._current.get(k)
        if curve is not None:
            return cheapest(curve.points, recall)
        advice = f"run `jcb-index tune INDEX --k {k} --recall {recall:g}` (Searcher.tune), or search with exact=True"
        if k in self._stale:
            raise InputError(
                f"recall={recall:g} cannot be promised: the index has changed since it was tuned, on version "
                f"{self._stale[k].version}; {advice}"
            )
        known = ", ".join(str(number) for number in sorted(self._current))
        measured = f"only k={known} was measured" if known else "this index is not tuned"
        raise InputError(f"recall={recall:g} with k={k} cannot be promised: {measured}; {advice}")

    def recall_of(self, settings: CandidateSettings, k: int) -> float | None:
        """What these very settings were measured to find of the exact k best; None: not measured."""
        curve = self._current.get(k)
        for point in () if curve is None else curve.points:
            same_documents = (point.documents, point.margin) == (settings.documents, settings.margin)
            if same_documents and point.probes in (None, settings.probes):
                return point.recall
        return None


def settings_of(point: TunedPoint, defaults: CandidateSettings) -> CandidateSettings:
    """The settings of a point that is not exact; where the stage has no probes, those of the defaults stand in."""
    assert point.documents is not None, "exact search has no settings"
    return CandidateSettings(point.probes or defaults.probes, point.documents, point.margin)
