"""Saved models, back to a configuration and the step that gives a freshly built model its weights.

Knows the two forms that trainers save: LCRec's folder and RecBole's pickled checkpoint. Refuses to know how data sets
and models are built.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from logging import getLogger
from pathlib import Path
from typing import Any

import torch

from recbole_lcrec.config.configurator import Config
from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.llm.adapters import is_adapter_folder
from recbole_lcrec.runs.run_parts import require_tokenizer
from recbole_lcrec.runs.saved import ALLOWED_FILE, allowed_file, require_own_index

__all__ = ["load_config", "load_folder", "load_pickle"]

Restore = Callable[[Any], None]


def load_folder(folder: Path) -> tuple[Config, Restore]:
    """Reads a folder that LCRec saved: ``config.yaml``, ``<dataset>.index.json``, a Hugging Face model and tokenizer.

    The configuration takes its base model and its item index from the folder, but for an adapter, whose base model
    stays where it was; the weights of a whole model are then read in the number format that they were saved in, so that
    the numbers are those of the run. Before that, index and tokenizer are compared with those of the run's trie.

    Raises:
        ValueError: a file is missing; the step itself raises one where the index or the tokenizer has changed.
    """
    if is_adapter_folder(folder):
        _present(folder / "adapter_model.safetensors")
        config, _ = load_config(folder)
        return config, _restore_from(folder, config["dataset"])
    config, _ = load_config(folder, {"base_model": str(folder), "lora_r": None})
    _present(folder / "config.json")
    _present(folder / "tokenizer_config.json")
    if not any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")):
        raise ValueError(f"{folder} holds no model.safetensors; the run that saved it may have been interrupted")
    require_tokenizer(folder)
    return config, _restore_from(folder, config["dataset"])


def _restore_from(folder: Path, dataset: str) -> Restore:
    def restore(model: Any) -> None:
        require_own_index(folder, dataset, model.tokenizer.get_vocab())
        model.load_weights(folder)

    return restore


def load_config(folder: Path, values: Mapping[str, Any] | None = None) -> tuple[Config, Path]:
    """Reads the configuration of a saved run, with the run's item index and its list of allowed items as given ones.

    Args:
        folder: with ``config.yaml`` and ``<dataset>.index.json``.
        values: parameters that differ from the run's.

    Returns:
        The configuration, and the file of the item index.

    Raises:
        ValueError: a file is missing.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder; give one that a run has saved")
    saved = read_yaml(_present(folder / "config.yaml"))
    if not saved.get("dataset"):
        raise ValueError(f"{folder / 'config.yaml'} names no dataset; it was not saved by a run")
    index = _present(folder / f"{saved['dataset']}.index.json")
    named = saved.get("decoding_allowed_items")
    allowed = allowed_file(folder, named)
    if allowed is not None and not (folder / ALLOWED_FILE).is_file():
        getLogger().warning(
            f"{folder} holds no {ALLOWED_FILE}, so decoding_allowed_items = {named!r} of its config.yaml is read from "
            "where that is now; put the list into the folder under that name"
        )
    no_embeddings = {"index_embedding_file": None, "index_embedding_ids": None}
    given = {"resume": None, "decoding_allowed_items": allowed, **no_embeddings, **(values or {})}
    given |= {"index_method": "auto", "index_file": str(index)}
    return Config(config_file_list=[folder / "config.yaml"], command_line=given), index


def load_pickle(path: Path) -> tuple[Config, Restore]:
    """Reads a checkpoint of RecBole's trainer. It is a pickle and can run any code: read only files that you trust.

    Raises:
        ValueError: it is no such checkpoint.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as err:
        raise ValueError(f"{path} cannot be read as a checkpoint: {err}") from err
    if not isinstance(checkpoint, dict) or not {"config", "state_dict"} <= set(checkpoint):
        raise ValueError(f"{path} is not a checkpoint of RecBole's trainer: it has no 'config' and 'state_dict'")
    saved = checkpoint["config"]
    if isinstance(saved, Config):
        saved.adapt_to_machine()
    elif not torch.cuda.is_available():
        saved["device"] = torch.device("cpu")
    if saved["train_stage"] == "finetune":
        saved["train_stage"] = "pretrain"  # all weights are in this file: the pre-trained one may be gone

    def restore(model: Any) -> None:
        model.load_state_dict(checkpoint["state_dict"])
        model.load_other_parameter(checkpoint.get("other_parameter"))

    return saved, restore


def _present(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"{path} is missing; the run that saved this folder may have been interrupted")
    return path
