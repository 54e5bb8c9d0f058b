"""Backbones: packed token ids -> hidden states. One module for each way to compute them."""

from jcb_engine.encoder.backbones.packing import Backbone, Packed

__all__ = ["Backbone", "Packed"]
