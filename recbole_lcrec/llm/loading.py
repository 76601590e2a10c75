"""Hugging Face folders to models and tokenizers, whole or refused.

Knows what transformers tells of a checkpoint and what it keeps to itself. Refuses to know index tokens and adapters.
"""

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

__all__ = ["load_model", "load_part"]

_DAMAGE = (KeyError, RuntimeError, EOFError, SafetensorError, UnpicklingError)
_ENDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def _not_loaded(name: str, saved: bool, problem: str) -> ValueError:
    """What to raise, in the words for a saved run or for a base model."""
    return ValueError(
        f"{f'the saved run {name}' if saved else f'base_model = {name!r}'} could not be loaded: {problem}"
    )


def _whole(saved: bool) -> str:
    """What to do where files are damaged."""
    return "put the run's own files back, or tune again" if saved else "fetch or save the whole model, or name another"


def load_part(loader: Any, name: str, saved: bool = False, **options: Any) -> Any:
    """What an Auto class of transformers makes of a folder or of a name on the hub.

    Args:
        loader: the Auto class.
        name: of the model, or its folder.
        saved: whether it is a run's own folder, which decides the wording of errors.
        options: of the loader.

    Raises:
        ValueError: it cannot be loaded.
        RunAborted: memory does not suffice to load it.
    """
    try:
        return loader.from_pretrained(name, **options)
    except _DAMAGE as err:
        if is_out_of_memory(err):
            raise RunAborted(f"memory does not suffice to load {name}: {first_line(err)}") from err
        raise _not_loaded(name, saved, f"{first_line(err)}; {_whole(saved)}") from err
    except (OSError, ValueError, ImportError) as err:  # transformers says itself what can be done
        raise _not_loaded(name, saved, first_line(err)) from err


def load_model(name: str, attention: str, dtype: torch.dtype | str, saved: bool = False) -> PreTrainedModel:
    """A base model, or the whole model of a saved run, with every weight from the checkpoint.

    What ``generation_config.json`` says is passed over: nothing here samples, and transformers refuses to write some of
    the values that it reads.

    Args:
        name: of the model, or its folder.
        attention: transformers' name of the attention.
        dtype: of the weights; ``auto``: as saved.
        saved: whether it is a run's own folder.

    Raises:
        ValueError: it cannot be loaded, or its weights are not those of its configuration.
        RunAborted: memory does not suffice to load it.
    """
    model, report = load_part(
        AutoModelForCausalLM,
        name,
        saved,
        attn_implementation=attention,
        dtype=dtype,
        generation_config=GenerationConfig(),
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # the report names them, transformers' own error does not
    )
    _require_weights(model, report, name, saved)
    model.generation_config = GenerationConfig(**{end: getattr(model.config, end, None) for end in _ENDS})
    return model


def _require_weights(model: PreTrainedModel, report: Mapping[str, Any], name: str, saved: bool) -> None:
    """Refuses a model with weights that its checkpoint did not give: transformers has drawn them at random.

    A checkpoint of others may hold more than the model takes, as buffers of older versions; one of a run holds exactly
    its model. Tied weights need to be there once: the report does not name the others.
    """
    missing = report["missing_keys"]
    shapes = [f"{key} {list(found)}, not {list(wanted)}" for key, found, wanted in report["mismatched_keys"]]
    strange = report["unexpected_keys"] if saved else ()
    kinds = {"missing": missing, "of another shape": shapes, "unknown to it": strange}
    found = [f"{len(keys)} {kind}, first {sorted(keys)[:3]}" for kind, keys in kinds.items() if keys]
    if not found:
        return
    head = model.get_output_embeddings()
    heads = tuple(f"{place}." for place, module in model.named_modules() if module is head)
    remedy = _whole(saved)
    if not saved and not shapes and all(key.startswith(heads) for key in missing):
        remedy = "this is a backbone without its output head, which writes no text; name a model saved with its head"
    problem = f"its weights are not those of the {type(model).__name__} in its config.json ({'; '.join(found)})"
    raise _not_loaded(name, saved, f"{problem}; {remedy}")
