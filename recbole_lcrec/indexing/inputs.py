"""Checks of the index stage's inputs, before any data are read.

Index file, embedding file, text encoder, columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_lcrec.config.settings import IndexSettings, TextSettings
from recbole_lcrec.data.atomic_header import require_columns
from recbole_lcrec.indexing.embeddings import check_embedding_inputs
from recbole_lcrec.indexing.methods import check_index_method, index_method
from recbole_lcrec.preparation.locate import DataFiles, require_item_texts

__all__ = ["check_index_inputs", "index_problems"]


def check_index_inputs(settings: IndexSettings, text: TextSettings, files: DataFiles, form: tuple[str, str]) -> None:
    """Check that an index is given or can be learned.

    Args:
        settings: the index method and its inputs.
        text: the text encoder and the fields it reads.
        files: the files of the data set.
        form: RecBole's ``field_separator`` and ``encoding``.

    Raises:
        ValueError: an unknown index method; a missing index file, item file, text column, embedding file or text
            encoder; or a key that would have no effect. The message names it and the remedy.
    """
    check_index_method(settings.method)
    if settings.file is not None and not Path(settings.file).is_file():
        raise ValueError(f"index_file = {settings.file!r}: there is no such file; leave the key out to learn an index")
    if settings.label_field and files.atomic:
        if not files.item_texts.is_file():
            raise ValueError(
                f"index_label_field = {settings.label_field!r}: there is no {files.item_texts} to read labels from"
            )
        require_columns(files.item_texts, [settings.label_field], *form, "index_label_field")
    _check_unused(settings, files.index)
    if settings.method == "auto" and (settings.file or files.index):
        return
    if not index_method(settings.resolved().method).needs_embeddings:
        return
    check_embedding_inputs(text, settings)
    if settings.embedding_file is not None:
        return
    absent = (
        f"{files.item_texts} does not exist, so there are no texts to learn an item index from; put it there, or a "
        f"published index as {files.folder / (files.name + '.index.json')}"
    )
    require_item_texts(files, text, form, absent)


def index_problems(values: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the index keys of a configuration beyond the type and range of each value.

    Args:
        values: the merged configuration, flat keys.
    """
    method = values.get("index_method")
    if not isinstance(method, str) or not method.strip():
        return []  # reported by IndexSettings
    try:
        check_index_method(method)
    except ValueError as err:
        return [str(err)]
    return []


def _check_unused(settings: IndexSettings, found: Path | None) -> None:
    """Reject files that are named for the index and would have no effect."""
    given = settings.file or found if settings.method == "auto" else None
    if settings.file is not None and settings.method != "auto":
        raise ValueError(
            f"index_file = {settings.file!r} gives an index, and index_method = {settings.method!r} learns another: "
            "leave one of the two keys out"
        )
    if settings.embedding_file is not None and (given or not index_method(settings.resolved().method).needs_embeddings):
        source = (
            f"the index is given in {given}" if given else f"index_method = {settings.method!r} needs no embeddings"
        )
        raise ValueError(
            f"index_embedding_file = {settings.embedding_file!r} would not be used, for {source}: leave it out, or set "
            "index_method=rqvae"
        )
