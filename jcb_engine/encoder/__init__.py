"""Encoder: texts -> token vectors, by `mini`, a checkpoint in a released layout, or an object that encodes."""

from jcb_engine.encoder.encoder import Encoder
from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.encoder.tokens import Token

__all__ = ["Encoder", "EncoderRecord", "Token"]
