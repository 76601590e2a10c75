"""Check from the files' headers that the columns which RecBole's keys name are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_lcrec.config.values import did_you_mean
from recbole_lcrec.data.atomic_header import atomic_columns

__all__ = ["require_named_fields", "require_written_names"]

_TOKENS, _NUMBERS, _ANY = ("token", "token_seq"), ("float", "float_seq"), ("token", "token_seq", "float", "float_seq")
_NAMING = {
    "alias_of_user_id": _TOKENS,
    "alias_of_item_id": _TOKENS,
    "val_interval": _ANY,
    "threshold": ("float",),
    "normalize_field": _NUMBERS,
    "numerical_features": _NUMBERS,
    "discretization": _NUMBERS,
    "seq_len": ("token_seq", "float_seq"),
}
_WRITTEN = {"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "TIME_FIELD": "timestamp"}


def require_named_fields(config: Any, folder: Path) -> None:
    """Check that the columns which RecBole's keys name are in the files, are read, and have the type that is needed.

    Args:
        config: a :class:`recbole_lcrec.config.configurator.Config`.
        folder: contains the data set's atomic files.

    Raises:
        ValueError: names the key, and the file that is missing, or the column, the files and their columns.
    """
    more = _more_files(config, folder)
    named = {key: list(config[key] or ()) for key in _NAMING}
    weights = config["preload_weight"] or {}
    named["preload_weight"] = [*weights, *weights.values()]
    if not any(named.values()):
        return
    files = _headers(config, folder, more)
    for key, fields in named.items():
        for field in fields:
            _require(config, key, field, files)


def _more_files(config: Any, folder: Path) -> tuple[str, ...]:
    """Return the endings of the further files that keys name, all of which must exist."""
    suffixes, split = config["additional_feat_suffix"] or (), config["benchmark_filename"] or ()
    suffixes = (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)
    parts = tuple(f"{each}.inter" for each in split)
    for key, endings in (("additional_feat_suffix", suffixes), ("benchmark_filename", parts)):
        for ending in endings:
            path = folder / f"{config['dataset']}.{ending}"
            if not path.is_file():
                raise ValueError(f"{key} = {config[key]!r}: there is no file {path}; add it, or remove {key}")
    return (*suffixes, *parts)


def _headers(config: Any, folder: Path, more: tuple[str, ...]) -> dict[str, tuple[Path, dict[str, str]]]:
    """Return each file's ending -> its path and the types of its columns; files that are split count as ``inter``."""
    paths = {}
    for ending in ("inter", "item", "user", *(config["load_col"] or ()), *more):
        path = folder / f"{config['dataset']}.{ending}"
        if path.is_file():
            paths["inter" if ending.endswith(".inter") else ending] = path
    form = config["field_separator"], config["encoding"]
    return {ending: (path, atomic_columns(path, *form)) for ending, path in paths.items()}


def _require(config: Any, key: str, field: str, files: Mapping[str, tuple[Path, dict[str, str]]]) -> None:
    homes = [ending for ending, (_, columns) in files.items() if field in columns]
    if not homes:
        every = [name for _, columns in files.values() for name in columns]
        listed = "; ".join(f"{path} has {', '.join(columns)}" for path, columns in files.values())
        raise ValueError(f"{key} = {config[key]!r}: there is no column {field!r}{did_you_mean(field, every)}; {listed}")
    if key != "seq_len" and not any(_is_read(config, ending, field) for ending in homes):
        path, _ = files[homes[0]]
        raise ValueError(
            f"{key} = {config[key]!r}: the column {field!r} of {path} is not read; add it to {homes[0]} of load_col, "
            f"which is {config['load_col']!r}"
        )
    path, columns = files[homes[0]]
    kinds = _NAMING.get(key, _ANY)
    if key == "val_interval":
        kinds = _NUMBERS if isinstance(config[key][field], str) else _TOKENS
    if columns[field] not in kinds:
        hint = "; numbers are kept by an interval, tokens by a list of them" if key == "val_interval" else ""
        raise ValueError(
            f"{key} = {config[key]!r}: the column {field!r} of {path} is of type {columns[field]}, but must be "
            f"{' or '.join(kinds)}{hint}"
        )


def _is_read(config: Any, ending: str, field: str) -> bool:
    load, unload = config["load_col"], config["unload_col"] or {}
    listed = "*" if load is None else load.get(ending, ())
    return (listed == "*" or field in listed) and field not in unload.get(ending, ())


def require_written_names(config: Any) -> None:
    """Check, for data in another form, that users, items and times are called as in the atomic files made of them.

    Raises:
        ValueError: a key names another column.
    """
    for key, name in _WRITTEN.items():
        if config[key] != name:
            raise ValueError(
                f"{key} = {config[key]!r}: data set {config['dataset']!r} has no atomic files yet, and those made of "
                f"it call this column {name!r}; remove {key}"
            )
