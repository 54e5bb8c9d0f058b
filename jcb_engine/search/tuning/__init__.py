"""How much of exact search a setting finds, at what cost: measured, published, chosen by."""

from jcb_engine.search.tuning.applied import AppliedTuning, settings_of
from jcb_engine.search.tuning.choice import cheapest
from jcb_engine.search.tuning.queries import DEFAULT_SAMPLE, TuningQueries, passages_as_queries
from jcb_engine.search.tuning.survey import Finding
from jcb_engine.search.tuning.tune import Tuned, machine_name, measure

__all__ = [
    "AppliedTuning",
    "DEFAULT_SAMPLE",
    "Finding",
    "Tuned",
    "TuningQueries",
    "cheapest",
    "machine_name",
    "measure",
    "passages_as_queries",
    "settings_of",
]
