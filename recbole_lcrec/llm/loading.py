"""Load Hugging Face models and tokenizers; damaged files and missing weights are errors."""

from __future__ import annotations

from collections.abc import Mapping
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from recbole_lcrec.config.values import first_line
from recbole_lcrec.runtime.errors import RunAborted
from recbole_lcrec.runtime.memory import is_out_of_memory

__all__ = ["load_model", "load_pretrained"]

_DAMAGE = (KeyError, RuntimeError, EOFError, SafetensorError, UnpicklingError)
_ENDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def _not_loaded(name: str, saved: bool, problem: str) -> ValueError:
    """Return the error for a saved run or for a base model."""
    return ValueError(
        f"{f'the saved run {name}' if saved else f'base_model = {name!r}'} could not be loaded: {problem}"
    )


def _remedy_for_damage(saved: bool) -> str:
    return "restore the run's own files, or tune again" if saved else "download or save the model again, or use another"


def load_pretrained(loader: Any, name: str, saved: bool = False, **options: Any) -> Any:
    """Call ``from_pretrained`` of one of transformers' Auto classes.

    Args:
        loader: the Auto class.
        name: name of the model on the hub, or its folder.
        saved: whether it is a run's own folder, which decides the wording of errors.
        options: options of the loader.

    Raises:
        ValueError: it cannot be loaded.
        RunAborted: it does not fit in memory.
    """
    try:
        return loader.from_pretrained(name, **options)
    except _DAMAGE as err:
        if is_out_of_memory(err):
            raise RunAborted(f"not enough memory to load {name}: {first_line(err)}") from err
        raise _not_loaded(name, saved, f"{first_line(err)}; {_remedy_for_damage(saved)}") from err
    except (OSError, ValueError, ImportError) as err:  # transformers' message names the remedy
        raise _not_loaded(name, saved, first_line(err)) from err


def load_model(name: str, attention: str, dtype: torch.dtype | str, saved: bool = False) -> PreTrainedModel:
    """Load a base model, or the whole model of a saved run, and check that the checkpoint holds every weight.

    ``generation_config.json`` is ignored: this package never samples, and transformers refuses to write some values
    that it reads.

    Args:
        name: name of the model on the hub, or its folder.
        attention: name of the attention implementation in transformers.
        dtype: dtype of the weights; ``auto``: as saved.
        saved: whether it is a run's own folder.

    Raises:
        ValueError: it cannot be loaded, or its weights do not match its configuration.
        RunAborted: it does not fit in memory.
    """
    model, report = load_pretrained(
        AutoModelForCausalLM,
        name,
        saved,
        attn_implementation=attention,
        dtype=dtype,
        generation_config=GenerationConfig(),
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below with their names
    )
    _require_weights(model, report, name, saved)
    model.generation_config = GenerationConfig(**{end: getattr(model.config, end, None) for end in _ENDS})
    return model


def _require_weights(model: PreTrainedModel, report: Mapping[str, Any], name: str, saved: bool) -> None:
    """Check that no weight is missing from the checkpoint; transformers would initialise it at random.

    A base model's checkpoint may hold more weights than the model, such as buffers of older versions; a run's holds
    exactly the model's. Of tied weights the report names none if one of them is present.
    """
    missing = report["missing_keys"]
    shapes = [f"{key} {list(found)}, not {list(expected)}" for key, found, expected in report["mismatched_keys"]]
    unexpected = report["unexpected_keys"] if saved else ()
    kinds = {"missing": missing, "of the wrong shape": shapes, "unexpected": unexpected}
    found = [f"{len(keys)} {kind}, first {sorted(keys)[:3]}" for kind, keys in kinds.items() if keys]
    if not found:
        return
    head = model.get_output_embeddings()
    heads = tuple(f"{place}." for place, module in model.named_modules() if module is head)
    remedy = _remedy_for_damage(saved)
    if not saved and not shapes and all(key.startswith(heads) for key in missing):
        remedy = "this model was saved without its output head and cannot generate text; use one saved with its head"
    problem = f"its weights do not match the {type(model).__name__} in its config.json ({'; '.join(found)})"
    raise _not_loaded(name, saved, f"{problem}; {remedy}")
