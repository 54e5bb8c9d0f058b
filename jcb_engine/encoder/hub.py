"""Where files of a model may come from, and how a failed download is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jcb_engine.errors import EncoderError, MissingDependencyError


@dataclass(frozen=True, slots=True)
class HubAccess:
    """How the hub is asked: a commit, tag or branch; a token for private models; only what is in the cache."""

    revision: str | None = None
    token: str | bool | None = None
    local_files_only: bool = False


def download(name: str, file: str, access: HubAccess) -> Path:
    """One file of a model on the hub, from the cache where it is there. Raises EncoderError where it cannot be had."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingDependencyError(
            "huggingface_hub is needed to fetch models; install it with: pip install 'jcb-engine[mini]'"
        ) from error
    try:
        path = hf_hub_download(
            name, file, revision=access.revision, token=access.token, local_files_only=access.local_files_only
        )
    except LocalEntryNotFoundError as error:
        raise EncoderError(
            f"{file} of '{name}' is not in the hub's cache on this machine and cannot be downloaded (no network, "
            "HF_HUB_OFFLINE, or local_files_only)"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise EncoderError(f"{file} of '{name}' cannot be fetched from the hub: {_first_line(error)}") from error
    return Path(path)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
