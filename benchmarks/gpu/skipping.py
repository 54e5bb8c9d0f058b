"""What a machine cannot do, which is no failure."""

from __future__ import annotations


class SkippedError(Exception):
    """A step that this machine cannot do, and why. What fails after it has begun is no such step."""
