"""Checks of the counting models' inputs before any data are read."""

from __future__ import annotations

from typing import Any

from recbole_lcrec.config.settings import TextSettings
from recbole_lcrec.preparation.locate import require_dataset, require_item_texts

__all__ = ["check_inputs"]


def check_inputs(config: Any) -> None:
    """Check that there are item texts to compare.

    Args:
        config: a :class:`recbole_lcrec.config.configurator.Config`.

    Raises:
        ValueError: there is no file with item texts, or it lacks a column that the settings name.
    """
    files, text = require_dataset(config), config.stage(TextSettings)
    absent = (
        f"{config.label} compares item texts, but {files.item_texts} does not exist; add the file, or use CoVisit, "
        "which reads no texts"
    )
    require_item_texts(files, text, (config["field_separator"], config["encoding"]), absent)
