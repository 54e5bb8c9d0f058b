"""`jcb-index models`: what is known of models that have names."""

from __future__ import annotations

import json
from dataclasses import asdict

from jcb_engine.encoder.known_models import KNOWN_MODELS, KnownModel


def models(*, as_json: bool) -> None:
    """Print three lines for each model."""
    if as_json:
        print(json.dumps([asdict(model) for model in KNOWN_MODELS], indent=2))
        return
    for model in KNOWN_MODELS:
        print("\n".join(_lines(model)))
    print()
    print("Any other checkpoint in one of their layouts loads by its hub name or folder.")


def _lines(model: KnownModel) -> list[str]:
    *first, last = map(str, model.dims)
    dims = f"{', '.join(first)} or {last}" if first else last
    return [
        model.name,
        f"  {dims} dimensions, {model.languages}, {model.licence}",
        f"  tokens: query {_length(model.query_length)}, document {_length(model.document_length)}, "
        f"at most {model.longest:,}",
    ]


def _length(length: int | None) -> str:
    return "as its files say" if length is None else f"{length:,}"
