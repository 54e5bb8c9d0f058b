"""Layouts: how released checkpoints lie in a folder. One module for each; `read` finds the one that fits."""

from jcb_engine.encoder.layouts.recognition import Layout, backbone_folder, recognise

__all__ = ["Layout", "backbone_folder", "recognise"]
