"""The parts of a saved run one by one: settings, device, tokenizer, language model."""

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
    "place_of",
    "require_tokenizer",
    "run_choice",
]

_VOCABULARIES = ("tokenizer.*", "vocab*", "*.model", "*.tiktoken")
"""What tokenizers call their vocabulary; one of today's is all in ``tokenizer.json``."""


def changed_settings(config: Config, changes: Mapping[str, Any], *stages: type[StageSettings]) -> list[Any]:
    """Return stages of a run's settings, changed.

    Args:
        config: of the run.
        changes: values by their keys.
        stages: whose keys may be changed.

    Returns:
        The settings of each stage.

    Raises:
        ValueError: a key is none of theirs, or a value is out of range.
    """
    keys = keys_of(stages)
    unknown = next((key for key in changes if key not in keys), None)
    if unknown is not None:
        can = f"of a saved run only {', '.join(keys)} can be changed" if keys else "it has none that can be changed"
        raise ValueError(f"{unknown} is no setting of decoding{did_you_mean(unknown, keys)}; {can}")
    values = {**{key: config[key] for key in keys}, **changes}
    return [stage.from_config(values) for stage in stages]


def place_of(config: Config, device: str | torch.device | None) -> torch.device:
    """Return the requested device; None: the run's.

    Raises:
        ValueError: it is no device, or neither the CPU nor a GPU that is there.
    """
    try:
        place = torch.device(config["device"] if device is None else device)
    except RuntimeError as err:
        raise ValueError(f"device = {device!r} is no device ({first_line(err)}); give cpu, cuda or cuda:1") from err
    if place.type not in ("cpu", "cuda"):
        raise ValueError(f"device = {str(place)!r}: models run on the CPU or a GPU; give cpu, cuda or cuda:1")
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device = {str(place)!r}: there is no GPU that PyTorch can use; give cpu")
    count = torch.cuda.device_count()
    if place.type == "cuda" and (place.index or 0) >= count:
        raise ValueError(f"device = {str(place)!r}: PyTorch sees {count} GPUs, numbered from 0; give one of them")
    return place


def require_tokenizer(folder: Path) -> None:
    """Makes sure that a run's folder holds a tokenizer.

    Raises:
        ValueError: a file is missing.
    """
    missing = None
    if not (folder / "tokenizer_config.json").is_file():
        missing = folder / "tokenizer_config.json"
    elif not any(path.is_file() for name in _VOCABULARIES for path in folder.glob(name)):
        missing = folder / "tokenizer.json"
    if missing is not None:
        raise ValueError(f"{missing} is missing; put the run's own tokenizer back")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a run.

    Raises:
        ValueError: it is missing or cannot be read.
    """
    require_tokenizer(folder)
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as err:
        raise ValueError(f"the tokenizer in {folder} cannot be read: {first_line(err)}") from err


def load_model(
    folder: Path, config: Config, tuning: TuningSettings, base_model: str | None, device: torch.device
) -> PreTrainedModel:
    """The model of a run in evaluation mode; an adapter's base is held as it was in the tuning.

    Args:
        folder: of the run.
        config: of the run.
        tuning: of the run.
        base_model: where an adapter's base model is now; None: where it was.
        device: where the model goes.

    Raises:
        ValueError: the model cannot be loaded, or ``base_model`` is given for a whole one.
    """
    adapter = is_adapter_folder(folder)
    if base_model is not None and not adapter:
        raise ValueError(f"base_model = {base_model!r}: {folder} holds a whole model, no adapter; leave it out")
    dtype = weight_dtype(tuning.precision, device, deepspeed=False, lora=True) if adapter else None
    model = load_saved(folder, config.stage(BackboneSettings).attention, base_model, dtype)
    placed: Any = model.to(device)  # type: ignore[arg-type]
    return placed.eval()


def run_choice(path: str, item_ids: Sequence[str]) -> np.ndarray:
    """The rows of the items in the run's ``decoding_allowed_items``, ascending int64.

    Raises:
        ValueError: the file cannot be used, or names an item that the run does not know.
    """
    try:
        return allowed_rows(Path(path), item_ids)
    except ValueError as err:
        raise ValueError(
            f"decoding_allowed_items = {path!r}: {err} (or load the run with decoding_allowed_items=None)"
        ) from err
