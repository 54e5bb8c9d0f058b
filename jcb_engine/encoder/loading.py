"""From a name, a path or an object to an encoder. A new layout is one module of layouts/ and one branch here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from jcb_engine.encoder.hub import HubAccess
from jcb_engine.encoder.known_models import consider_told, tell_licence
from jcb_engine.encoder.layouts import Layout, backbone_folder, recognise
from jcb_engine.encoder.model import EncoderModel
from jcb_engine.encoder.model_files import fetch_small_files, fetch_weights, read_json
from jcb_engine.encoder.objects import ObjectModel
from jcb_engine.encoder.options import EncoderOptions
from jcb_engine.encoder.record import EncoderRecord
from jcb_engine.errors import EncoderError, InputError, MissingDependencyError
from jcb_engine.types import TokenEncoder

_MINI = re.compile(r"mini(?:@(?P<version>.*))?")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
WHAT_LOADS = (
    "'mini', 'mini@<version>', the folder or the hub name ('owner/name') of a late-interaction checkpoint (jcb-index "
    "models lists known ones) or of a sentence-transformers model, or an object with encode_query and encode_document"
)


def load_model(
    source: str | os.PathLike[str] | TokenEncoder, dim: int | None, options: EncoderOptions, access: HubAccess
) -> EncoderModel:
    """Raises InputError for what names no encoder, EncoderError for one that cannot be loaded."""
    if not isinstance(source, str | os.PathLike):
        # a class has the methods of its objects, too
        if isinstance(source, TokenEncoder) and not isinstance(source, type):
            options.require_only((), "an object, which encodes as it was made")
            return ObjectModel(source, dim)
        raise InputError(f"a {type(source).__name__} came as an encoder; what loads is {WHAT_LOADS}")
    name = os.fspath(source)
    mini = _MINI.fullmatch(name) if isinstance(source, str) else None
    folder = _expanded(name)
    is_here = bool(mini) or (bool(name) and folder.is_dir())
    if is_here and access.revision is not None:
        raise InputError(f"revision {access.revision!r} is asked of '{name}', which is not on the hub; leave it out")
    if mini:
        return _load_mini(dim, mini["version"], options, access)
    if is_here:
        return _load_folder(_Files(folder.resolve(), None, recognise(folder, str(folder))), dim, options)
    if not isinstance(source, str) or not _HUB_NAME.fullmatch(name):
        raise EncoderError(f"there is no model folder '{name}'; what loads is {WHAT_LOADS}")
    return _load_from_hub(name, dim, options, access)


def load_with_new_heads(
    source: str | os.PathLike[str], dims: Sequence[int], seed: int, options: EncoderOptions, access: HubAccess
) -> EncoderModel:
    """A bare encoder with untrained heads. Raises InputError, EncoderError as `layouts.bare.read` does."""
    name = os.fspath(source)
    folder = _expanded(name)
    hub_name = None
    if not folder.is_dir():
        if not isinstance(source, str) or not _HUB_NAME.fullmatch(name):
            raise EncoderError(f"there is no model folder '{name}'; expected one, or a hub name ('owner/name')")
        folder, hub_name = fetch_weights(name, access), name
    try:
        from jcb_engine.encoder.checkpoint_model import model_of
        from jcb_engine.encoder.layouts import bare
    except ModuleNotFoundError as error:
        raise _missing(error, f"'{name}'", "models") from error
    files = _Files(folder.resolve(), hub_name, Layout.BARE)
    tell_licence(files.name, read_json(files.folder / "config.json", dict))
    return model_of(bare.read(files.folder, files.name, files.revision, dims, seed), None, options)


def load_record(record: EncoderRecord, access: HubAccess) -> EncoderModel:
    """What loads today under a record's name, with its settings. Raises EncoderError where it cannot be loaded."""
    if record.family == ObjectModel.FAMILY:
        raise EncoderError(
            f"the index was made with an object of {record.name}, which cannot be loaded by name; pass such an object"
        )
    consider_told(record.name)  # when the index was made
    return load_model(record.name, record.dim, options_of(record), access)


def options_of(record: EncoderRecord) -> EncoderOptions:
    """The options that make a checkpoint encode as a record says."""
    if record.family in ("mini", "multi-vector"):
        return EncoderOptions(query_length=record.query_length, document_length=record.document_length)
    if record.family == "colbert":
        return EncoderOptions(
            query_length=record.query_length,
            document_length=record.document_length,
            query_expansion=record.query_expansion,
            attends_to_expansion=record.attends_to_expansion if record.query_expansion else None,
            punctuation=record.punctuation,  # type: ignore[arg-type]  # checked by EncoderOptions
            special_tokens_as_text=record.special_tokens_as_text,
            language=record.language,
        )
    return EncoderOptions(pooling=record.pooling)  # type: ignore[arg-type]


def _expanded(name: str) -> Path:
    """The path that a name stands for, `~` as the home folder where there is one."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~user of a user who does not exist
        return Path(name)


def _load_mini(dim: int | None, version: str | None, options: EncoderOptions, access: HubAccess) -> EncoderModel:
    if version is not None and not version.isdecimal():
        raise InputError(f"'mini@{version}' names no version; a number follows the @, as in 'mini@1'")
    try:
        from jcb_engine.encoder.mini import load_mini
    except ModuleNotFoundError as error:
        raise _missing(error, "'mini'", "mini") from error
    return load_mini(dim, None if version is None else int(version), options, access)


class _Files:
    """A model's folder, its name on the hub where it has one, and its layout."""

    def __init__(self, folder: Path, hub_name: str | None, layout: Layout) -> None:
        self.folder, self.hub_name, self.layout = folder, hub_name, layout

    @property
    def name(self) -> str:
        return self.hub_name or str(self.folder)

    @property
    def revision(self) -> str | None:
        """A folder of the hub's cache is named by the commit."""
        return self.folder.name if self.hub_name else None


def _load_from_hub(name: str, dim: int | None, options: EncoderOptions, access: HubAccess) -> EncoderModel:
    folder = fetch_small_files(name, access)
    layout = recognise(folder, name)
    _require_pooling(layout, name, options)  # before gigabytes are fetched for nothing
    home = backbone_folder(folder).relative_to(folder).as_posix()
    return _load_folder(_Files(fetch_weights(name, access, home), name, layout), dim, options)


def _load_folder(files: _Files, dim: int | None, options: EncoderOptions) -> EncoderModel:
    _require_pooling(files.layout, files.name, options)
    tell_licence(files.name, read_json(files.folder / "config.json", dict))
    try:
        return _load_layout(files, dim, options)
    except ModuleNotFoundError as error:
        raise _missing(error, f"'{files.name}'", "models") from error


def _require_pooling(layout: Layout, name: str, options: EncoderOptions) -> None:
    if layout is Layout.BARE and options.pooling is None:
        raise EncoderError(
            f"'{name}' is an encoder without a trained projection; expected a late-interaction model; to search it "
            "with one vector per text, say how with pooling='mean' or 'cls'"
        )


def _load_layout(files: _Files, dim: int | None, options: EncoderOptions) -> EncoderModel:
    if files.layout in (Layout.SINGLE_VECTOR, Layout.BARE):
        from jcb_engine.encoder.single_vector import SingleVectorModel

        return SingleVectorModel(files.folder, files.hub_name, dim, options)
    from jcb_engine.encoder.layouts.reading import read_checkpoint

    checkpoint = read_checkpoint(files.layout, files.folder, files.name, files.revision)
    if checkpoint is not None:
        from jcb_engine.encoder.checkpoint_model import model_of

        return model_of(checkpoint, dim, options)
    from jcb_engine.encoder.multi_vector import MultiVectorModel

    return MultiVectorModel(files.folder, files.hub_name, dim, options)


def _missing(error: ModuleNotFoundError, needing: str, extra: str) -> Exception:
    """What to tell of a module that is not there: one of ours is a defect, not a missing extra."""
    if error.name is None or error.name.partition(".")[0] == "jcb_engine":
        return error
    return MissingDependencyError(
        f"{needing} needs the package {error.name}; install it with: pip install 'jcb-engine[{extra}]'"
    )
