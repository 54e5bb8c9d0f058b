"""Commits for ever and prints each version once it is acknowledged; to be killed."""

from __future__ import annotations

import os
import sys

from .sample_index import commit_sample


def main() -> None:
    path = sys.argv[1]
    while True:
        # Versions alternate between markers, so that folders are met, reused and collected.
        version = commit_sample(path, os.getpid() % 5 + int.from_bytes(os.urandom(1)) % 3)
        os.write(1, f"{version}\n".encode())


main()
