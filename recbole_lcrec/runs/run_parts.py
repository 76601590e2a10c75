"""Loading of the single parts of a saved run.

Settings, device, tokenizer and language model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedModel

from recbole_lcrec.config.configurator import Config
from recbole_lcrec.config.settings import BackboneSettings, StageSettings, TuningSettings, keys_of
from recbole_lcrec.config.values import did_you_mean, first_line
from recbole_lcrec.data.item_choice import allowed_rows
from recbole_lcrec.llm.adapters import is_adapter_folder
from recbole_lcrec.llm.backbone import load_saved
from recbole_lcrec.llm.devices import weight_dtype

__all__ = [
    "changed_settings",
    "load_model",
    "load_tokenizer",
    "requested_device",
    "require_tokenizer",
    "run_allowed_rows",
]

_VOCABULARIES = ("tokenizer.*", "vocab*", "*.model", "*.tiktoken")
"""File name patterns of vocabularies; current tokenizers have everything in ``tokenizer.json``."""


def changed_settings(config: Config, changes: Mapping[str, Any], *stages: type[StageSettings]) -> list[Any]:
    """Return settings of a saved run with some values changed.

    Args:
        config: configuration of the run.
        changes: key -> new value.
        stages: the stages whose keys may be changed.

    Returns:
        The settings of each stage.

    Raises:
        ValueError: a key does not belong to ``stages``, or a value is out of range.
    """
    keys = keys_of(stages)
    unknown = next((key for key in changes if key not in keys), None)
    if unknown is not None:
        can = f"a saved run lets you change only {', '.join(keys)}" if keys else "this run has none to change"
        raise ValueError(f"{unknown} is not a decoding setting{did_you_mean(unknown, keys)}; {can}")
    values = {**{key: config[key] for key in keys}, **changes}
    return [stage.from_config(values) for stage in stages]


def requested_device(config: Config, device: str | torch.device | None) -> torch.device:
    """Return the requested device; the run's if ``device`` is None.

    Raises:
        ValueError: ``device`` is not a device, or neither the CPU nor an available GPU.
    """
    try:
        found = torch.device(config["device"] if device is None else device)
    except RuntimeError as err:
        raise ValueError(f"device = {device!r} is not a device ({first_line(err)}); give cpu, cuda or cuda:1") from err
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device = {str(found)!r}: models run on the CPU or a GPU; give cpu, cuda or cuda:1")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device = {str(found)!r}: there is no GPU that PyTorch can use; give cpu")
    count = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= count:
        raise ValueError(f"device = {str(found)!r}: PyTorch sees {count} GPUs, numbered from 0; give one of them")
    return found


def require_tokenizer(folder: Path) -> None:
    """Check that a run's folder contains a tokenizer.

    Raises:
        ValueError: a file is missing.
    """
    missing = None
    if not (folder / "tokenizer_config.json").is_file():
        missing = folder / "tokenizer_config.json"
    elif not any(path.is_file() for name in _VOCABULARIES for path in folder.glob(name)):
        missing = folder / "tokenizer.json"
    if missing is not None:
        raise ValueError(f"{missing} is missing; restore the run's own tokenizer")


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a run.

    Raises:
        ValueError: the tokenizer is missing or cannot be read.
    """
    require_tokenizer(folder)
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as err:
        raise ValueError(f"the tokenizer in {folder} cannot be read: {first_line(err)}") from err


def load_model(
    folder: Path, config: Config, tuning: TuningSettings, base_model: str | None, device: torch.device
) -> PreTrainedModel:
    """Load the language model of a run in evaluation mode; an adapter's base gets the number format of the tuning.

    Args:
        folder: folder of the run.
        config: configuration of the run.
        tuning: tuning settings of the run.
        base_model: current path of an adapter's base model; None: the path in the adapter's configuration.
        device: device of the model.

    Raises:
        ValueError: the model cannot be loaded, or ``base_model`` is given for a full model.
    """
    adapter = is_adapter_folder(folder)
    if base_model is not None and not adapter:
        raise ValueError(f"base_model = {base_model!r}: {folder} contains a full model, not an adapter; leave it out")
    dtype = weight_dtype(tuning.precision, device, deepspeed=False, lora=True) if adapter else None
    model = load_saved(folder, config.stage(BackboneSettings).attention, base_model, dtype)
    placed: Any = model.to(device)  # type: ignore[arg-type]
    return placed.eval()


def run_allowed_rows(path: str, item_ids: Sequence[str]) -> np.ndarray:
    """Return the rows of the items in the run's ``decoding_allowed_items``, int64, ascending.

    Raises:
        ValueError: the file cannot be used, or contains an item that the run does not know.
    """
    try:
        return allowed_rows(Path(path), item_ids)
    except ValueError as err:
        raise ValueError(
            f"decoding_allowed_items = {path!r}: {err} (or load the run with decoding_allowed_items=None)"
        ) from err
