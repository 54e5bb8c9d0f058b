"""The commands `jcb-index` and `jcb-search`: the only package that uses typer and prints."""

from time import perf_counter

# Before anything else is imported, so that a command can say how long its imports took.
STARTED = perf_counter()

__all__ = ["STARTED"]
