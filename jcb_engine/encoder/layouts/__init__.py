"""Layouts: how released checkpoints lie in a folder. One module for each; `read` finds the one that fits."""

from jcb_engine.encoder.layouts.recognition import Layout, recognise

__all__ = ["Layout", "recognise"]
