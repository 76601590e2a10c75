"""Find a data set in any supported format, and convert it to atomic files if needed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from recbole_lcrec.config.settings import TextSettings
from recbole_lcrec.data.atomic_header import require_columns
from recbole_lcrec.preparation.amazon.files import RawFiles, find_raw
from recbole_lcrec.preparation.amazon.prepare import amazon_artifact
from recbole_lcrec.preparation.forms.convert import convert_published
from recbole_lcrec.preparation.named_fields import require_named_fields, require_written_names
from recbole_lcrec.runtime.artifacts import ArtifactStore

__all__ = [
    "DataFiles",
    "artifact_store",
    "find_data_files",
    "prepare_data_files",
    "require_dataset",
    "require_item_texts",
]

_METADATA = (".json", ".json.gz", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class DataFiles:
    """The files of one data set.

    Attributes:
        name: name of the data set, the stem of its files.
        folder: the user's folder with the files.
        atomic: whether there is a ``.inter`` file.
        index: the published ``.index.json``, if there is one.
        raw: Amazon's raw files, if there is neither ``.inter`` nor the published ``.inter.json``.
    """

    name: str
    folder: Path
    atomic: bool
    index: Path | None
    raw: RawFiles | None = None

    @property
    def item_texts(self) -> Path:
        """Path of the file with the item texts, which need not exist."""
        return self.folder / (f"{self.name}.item" if self.atomic else f"{self.name}.item.json")


def artifact_store(config: Any) -> ArtifactStore:
    """Return the artifact store in ``artifact_dir``, or by default under ``checkpoint_dir``."""
    return ArtifactStore(Path(config["artifact_dir"] or Path(config["checkpoint_dir"]) / "artifacts"))


def find_data_files(name: str, folder: Path) -> DataFiles:
    """Find a data set in a folder.

    Raises:
        ValueError: the data set does not exist in any format (the message lists the ways to get one), or only some of
            Amazon's raw files do.
    """
    index = folder / f"{name}.index.json"
    found_index = index if index.is_file() else None
    if (folder / f"{name}.inter").is_file():
        return DataFiles(name, folder, True, found_index)
    if (folder / f"{name}.inter.json").is_file():
        return DataFiles(name, folder, False, found_index)
    metadata = (path.name for path in (folder / "raw").glob("meta_*") if path.name.endswith(_METADATA))
    categories = {file.removeprefix("meta_").split(".")[0] for file in metadata}
    category = categories.pop() if len(categories) == 1 else None
    may_be_category = re.fullmatch(r"\w+", name) is not None  # so that files without metadata are reported
    raw = find_raw(name, folder / "raw", category=category) if category or categories or may_be_category else None
    if raw is not None:
        return DataFiles(name, folder, False, found_index, raw)
    raise ValueError(
        f"data set {name!r} was not found: neither {folder / (name + '.inter')} nor "
        f"{folder / (name + '.inter.json')} exists. Put RecBole atomic files ({name}.inter, {name}.item) or the "
        f"published LC-Rec files ({name}.inter.json, {name}.item.json, {name}.index.json) there, Amazon's raw files in "
        f"{folder / 'raw'} (download: python -m recbole_lcrec.data download {name} --data_path={folder.parent}), "
        f"set --data_path to the folder that contains {name}/, or try --dataset=ml-100k, which comes with RecBole"
    )


def require_dataset(config: Any) -> DataFiles:
    """Find the configured data set, and check that it has the columns that every model needs.

    Raises:
        ValueError: there is no such data set (see :func:`find_data_files`), its interactions lack a column, a key of
            RecBole names a column that is not there, or a file is not an atomic file.
    """
    files = find_data_files(config["dataset"], Path(config["data_path"]))
    if files.atomic:
        fields: dict[str, str | None] = {"USER_ID_FIELD": "token", "ITEM_ID_FIELD": "token"}
        if config["eval_args"]["order"] == "TO":
            fields["TIME_FIELD"] = None  # its values are checked when they are read
        form = (config["field_separator"], config["encoding"])
        for field, kind in fields.items():
            require_columns(files.folder / f"{files.name}.inter", [config[field]], *form, field, kind)
        items = files.folder / f"{files.name}.item"
        if items.is_file() and _reads_items(config["load_col"]):
            require_columns(items, [config["ITEM_ID_FIELD"]], *form, "ITEM_ID_FIELD", "token")
        require_named_fields(config, files.folder)
    else:
        require_written_names(config)
    return files


def require_item_texts(
    files: DataFiles,
    text: TextSettings,
    form: tuple[str, str],
    absent: str,
    required_by: str = "text_title_fields and text_description_fields ([] for none)",
) -> None:
    """Check that item texts can be read: that their file exists, and that an atomic file has the columns.

    Args:
        files: the files of the data set.
        text: the columns to read.
        form: RecBole's ``field_separator`` and ``encoding``.
        absent: the message where there is no file, with what needs the texts and the remedy.
        required_by: the parameters that need the columns, for the message.

    Raises:
        ValueError: the file or a column is missing.
    """
    if not files.item_texts.is_file() and files.raw is None:
        raise ValueError(absent)
    if files.atomic:
        columns = (*text.title_fields, *text.description_fields)
        require_columns(files.item_texts, columns, *form, required_by)


def _reads_items(load_col: Any) -> bool:
    """Return whether RecBole reads any column of the item file; None stands for all."""
    return load_col is None or load_col.get("item", []) != []


def prepare_data_files(config: Any) -> DataFiles:
    """Make sure that the data set exists as atomic files, and let ``data_path`` point to them.

    Other formats are converted once, into an artifact named by the content of the source files, so a changed source is
    converted again. The user's folder is only read.

    Returns:
        The source files of the data set.

    Raises:
        ValueError: the data set is missing or damaged.
    """
    files = require_dataset(config)
    if files.atomic:
        return files
    if files.raw is not None:
        prepared, _ = amazon_artifact(files.raw, artifact_store(config), show_progress=bool(config["show_progress"]))
        _point_at(config, prepared.path)
        return files
    sources = {
        suffix: path
        for suffix in ("inter.json", "item.json", "index.json", "item2id", "user2id")
        if (path := files.folder / f"{files.name}.{suffix}").is_file()
    }
    counts: dict[str, int] = {}
    artifact = artifact_store(config).get_or_build(
        "atomic",
        {"name": files.name, "form": 3, **sources},
        lambda folder: counts.update(convert_published(files.folder, files.name, folder)),
    )
    if counts:
        listed = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        getLogger().info(
            f"Converted {files.folder / files.name}.inter.json to atomic files in {artifact.path}: {listed}"
        )
    else:
        getLogger().info(f"Reusing the converted atomic files in {artifact.path}")
    _point_at(config, artifact.path)
    return files


def _point_at(config: Any, folder: Path) -> None:
    """Let RecBole read atomic files that this package wrote, with the encoding and separator used for them.

    Raises:
        ValueError: the files lack a column that a key of RecBole names.
    """
    config["data_path"] = str(folder)
    config["encoding"], config["field_separator"] = "utf-8", "\t"
    require_named_fields(config, folder)
