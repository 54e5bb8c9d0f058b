"""Queries -> hits: candidates through their centroids, exact MaxSim on the survivors."""

from jcb_engine.search.explain import Explanation, Match
from jcb_engine.search.searcher import Searcher

__all__ = ["Explanation", "Match", "Searcher"]
