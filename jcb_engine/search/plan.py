"""What a search was asked to do: arguments checked, settings chosen, and what was measured of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jcb_engine.errors import InputError
from jcb_engine.search.candidates import CandidateSettings, CandidateStage, CentroidProbing
from jcb_engine.search.subset import Subset
from jcb_engine.search.tuning.applied import AppliedTuning, settings_of

# Stated, conservative defaults for an index that is not tuned.
DEFAULT_PROBES = 16
DEFAULT_CANDIDATES = 320
CANDIDATES_PER_HIT = 8
_MOST = 2**31  # more candidates or probes than any index has


@dataclass(frozen=True, slots=True)
class Plan:
    """How to answer. recall: what these settings were measured to find; None: not measured, or exact.

    may_scan: everything may be searched where that costs less: not where the caller chose how many candidates.
    """

    settings: CandidateSettings
    exact: bool
    recall: float | None
    may_scan: bool = False


def plan_search(
    stage: CandidateStage,
    tuning: AppliedTuning,
    k: int,
    exact: bool,
    by: str | None,
    probes: int | None,
    candidates: int | None,
    recall: float | None,
    subset: Subset | None,
) -> Plan:
    """What to do, and what was measured of it. Raises InputError on what cannot be, or cannot be promised."""
    settings = checked_settings(k, by, probes, candidates)
    if probes is not None and not isinstance(stage, CentroidProbing):
        raise InputError(f"probes are of centroids, and the first stage here is {stage.name}: leave it out")
    unmeasured = f"by={by!r}" if by else "a subset" if subset is not None else None
    if recall is None:
        known = None if exact or unmeasured else tuning.recall_of(settings, int(k))
        return Plan(settings, exact, known, may_scan=probes is None and candidates is None)
    check_recall(recall)
    if exact or probes is not None or candidates is not None:
        raise InputError("recall chooses the settings: leave out exact, probes and candidates, or leave out recall")
    if recall == 1:
        return Plan(settings, True, None)
    if unmeasured:
        raise InputError(
            f"recall={recall:g} was never measured with {unmeasured}: leave out recall, or search with exact=True"
        )
    point = tuning.point_for(float(recall), int(k))
    if point.is_exact:
        return Plan(settings, True, None)
    return Plan(settings_of(point, settings), False, point.recall, may_scan=True)


def check_recall(recall: object) -> None:
    """Raise InputError unless it is a share above 0."""
    if isinstance(recall, bool) or not isinstance(recall, (int, float, np.number)) or not 0 < recall <= 1:
        raise InputError(f"recall is {recall!r}; it must be a number above 0 and at most 1")


def checked_settings(k: int, by: object, probes: int | None, candidates: int | None) -> CandidateSettings:
    """Raise InputError unless these are sensible; None takes the defaults."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise InputError(f"k is {k!r}; it must be a whole number of at least 1")
    if by not in (None, "parent"):
        raise InputError(f"by is {by!r}; it must be 'parent' or left out")
    for name, value in (("probes", probes), ("candidates", candidates)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1):
            raise InputError(f"{name} is {value!r}; it must be a whole number of at least 1")
    wanted = candidates if candidates is not None else max(DEFAULT_CANDIDATES, CANDIDATES_PER_HIT * int(k))
    return CandidateSettings(min(probes or DEFAULT_PROBES, _MOST), min(int(wanted), _MOST))
