"""How models come from the hub, and how a failure is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jcb_engine.errors import EncoderError, MissingDependencyError


@dataclass(frozen=True, slots=True)
class HubAccess:
    """How the hub is asked: a commit, tag or branch; a token for private models; only what is in the cache."""

    revision: str | None = None
    token: str | bool | None = None
    local_files_only: bool = False


def download_file(name: str, file: str, access: HubAccess) -> Path:
    """One file of a model, from the cache where it is there. Raises EncoderError where it cannot be had."""

    def fetch() -> str:
        from huggingface_hub import hf_hub_download

        return hf_hub_download(
            name, file, revision=access.revision, token=access.token, local_files_only=access.local_files_only
        )

    return _fetched(fetch, f"{file} of '{name}'")


def download_folder(name: str, patterns: list[str], ignored: list[str], access: HubAccess) -> Path:
    """The files of a model that match patterns, as a folder. Raises EncoderError where they cannot be had."""

    def fetch() -> str:
        from huggingface_hub import snapshot_download

        return snapshot_download(
            name,
            revision=access.revision,
            token=access.token,
            local_files_only=access.local_files_only,
            allow_patterns=patterns,
            ignore_patterns=ignored,
        )

    return _fetched(fetch, f"'{name}'")


def _fetched(fetch: Callable[[], str], what: str) -> Path:
    try:
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingDependencyError(
            f"huggingface_hub is needed to fetch {what}; install it with: pip install 'jcb-engine[mini]'"
        ) from error
    try:
        return Path(fetch())
    except LocalEntryNotFoundError as error:
        raise EncoderError(
            f"{what} is not in the hub's cache on this machine and cannot be downloaded "
            "(no network, HF_HUB_OFFLINE, or local_files_only)"
        ) from error
    # HTTP failures are OSErrors: no such model or revision, a gated one without a token, a full disk
    except (OSError, HFValidationError) as error:
        raise EncoderError(f"{what} cannot be fetched from the hub: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
