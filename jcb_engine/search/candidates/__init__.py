"""The first stage: which documents are worth scoring. One interface, one file per way of finding them."""

from jcb_engine.search.candidates.muvera import MuveraStage
from jcb_engine.search.candidates.probing import CentroidProbing
from jcb_engine.search.candidates.stage import CandidateSettings, CandidateStage

__all__ = ["CandidateSettings", "CandidateStage", "CentroidProbing", "MuveraStage"]
