"""Loading of a folder that LCRec saved.

Its configuration, and a function that restores the weights of a model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recbole_lcrec.config.configurator import Config
from recbole_lcrec.llm.adapters import is_adapter_folder
from recbole_lcrec.runs.run_parts import require_tokenizer
from recbole_lcrec.runs.saved import require_own_index
from recbole_lcrec.runs.saved_config import load_config, present

__all__ = ["load_folder"]

Restore = Callable[[Any], None]


def load_folder(folder: Path) -> tuple[Config, Restore]:
    """Read a folder that LCRec saved: ``config.yaml``, ``<dataset>.index.json``, a Hugging Face model and tokenizer.

    The configuration takes item index and base model from the folder; only the base model of an adapter is read from
    its own path. Weights of a full model are read in the number format of the saved file, so that the run's metrics are
    reproduced. Before that, index and tokenizer are compared with those of the run's trie.

    Returns:
        The configuration, and ``restore(model)``, which loads the weights into a newly built model.

    Raises:
        ValueError: a file is missing; ``restore`` raises it if the index or the tokenizer has changed.
    """
    if is_adapter_folder(folder):
        present(folder / "adapter_model.safetensors")
        config, _ = load_config(folder)
        return config, _restore_from(folder, config["dataset"])
    config, _ = load_config(folder, {"base_model": str(folder), "lora_r": None})
    present(folder / "config.json")
    present(folder / "tokenizer_config.json")
    if not any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")):
        raise ValueError(f"{folder} contains no model.safetensors; the run that saved it may have been interrupted")
    require_tokenizer(folder)
    return config, _restore_from(folder, config["dataset"])


def _restore_from(folder: Path, dataset: str) -> Restore:
    def restore(model: Any) -> None:
        require_own_index(folder, dataset, model.tokenizer.get_vocab())
        model.load_weights(folder)

    return restore
