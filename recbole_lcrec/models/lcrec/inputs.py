"""Checks of LC-Rec's inputs before any data are read.

Files, models, templates, devices and settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_lcrec.config.counting_settings import RelatedSettings
from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import (
    BackboneSettings,
    IntentionSettings,
    LoraSettings,
    TextSettings,
    TuningSettings,
    WordingSettings,
)
from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.instructions.general import read_general
from recbole_lcrec.instructions.intentions.source import check_intentions
from recbole_lcrec.instructions.mixture import require_templates
from recbole_lcrec.instructions.selection import requested_families
from recbole_lcrec.instructions.template_file import load_templates
from recbole_lcrec.instructions.templates import Templates
from recbole_lcrec.llm.adapters import check_lora
from recbole_lcrec.llm.backbone import check_base_model
from recbole_lcrec.llm.deepspeed_files import check_deepspeed, deepspeed_config
from recbole_lcrec.llm.devices import require_one_gpu, resolve_precision
from recbole_lcrec.models.indexed_dataset import check_inputs as check_indexed
from recbole_lcrec.models.lcrec.prompt_writer import require_template
from recbole_lcrec.models.lcrec.resume import check_resume
from recbole_lcrec.models.lcrec.tuning_data import given_intentions
from recbole_lcrec.preparation.locate import DataFiles, require_dataset, require_item_texts

__all__ = ["check_inputs", "checked_templates", "max_norm", "task_key_problems", "unread_problems"]


def check_inputs(config: Any) -> None:
    """Check, before any data are read, that everything the model needs is there.

    Args:
        config: a :class:`recbole_lcrec.config.configurator.Config`.

    Raises:
        ValueError: a problem of clip_grad_norm, index, texts, base model, templates, template number, allowed items,
            DeepSpeed file, precision or GPUs.
    """
    files, device = require_dataset(config), config["device"]
    tuning, base_model = config.stage(TuningSettings), config.stage(BackboneSettings).base_model
    clip = max_norm(config["clip_grad_norm"])
    check_base_model(base_model)
    _check_task_texts(tuning.tasks, config.stage(TextSettings), files, (config["field_separator"], config["encoding"]))
    _check_user_texts(tuning.tasks, config.stage(IntentionSettings), files)
    check_indexed(config)
    check_lora(config.stage(LoraSettings), base_model)
    templates = checked_templates(tuning, config.stage(WordingSettings))
    require_templates(tuning, templates)
    if tuning.general_file is not None:
        read_general(Path(tuning.general_file), templates)
    resolve_precision(tuning.precision, device)
    deepspeed = deepspeed_config(tuning.deepspeed, properties_dir() / "deepspeed")
    if deepspeed is not None:
        check_deepspeed(deepspeed, tuning, clip, tuning.deepspeed or "zero2", device)
    require_one_gpu(device)
    check_resume(tuning.resume)


def _check_task_texts(tasks: str | Sequence[str], text: TextSettings, files: DataFiles, form: tuple[str, str]) -> None:
    """Refuse requested tasks with item texts if there is no file or column to read the texts from."""
    named = [family.name for family in requested_families(tasks) if tasks != "paper" and family.needs_item_texts]
    if not named:
        return
    absent = (
        f"tuning_tasks = {list(tasks)}: {', '.join(named)} cannot be built, because the item texts "
        f"{files.item_texts} do not exist; add the file, or leave {' and '.join(named)} out"
    )
    required_by = f"{', '.join(named)} of tuning_tasks through text_title_fields and text_description_fields"
    require_item_texts(files, text, form, absent, required_by)


def _check_user_texts(tasks: str | Sequence[str], intention: IntentionSettings, files: DataFiles) -> None:
    """Refuse tasks that need intentions or preferences if their source cannot supply any."""
    needing = [family.name for family in requested_families(tasks) if family.needs_user_texts]
    if not needing:
        return
    check_intentions(intention, given_intentions(intention, files))
    if intention.source == "none" and tasks != "paper":
        raise ValueError(
            f"tuning_tasks = {list(tasks)} contains {' and '.join(needing)}, but intention_source = 'none': set it to "
            f"extractive, file or llm, or leave {' and '.join(needing)} out"
        )


def unread_problems(values: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each key of RecBole's trainers that is given, but has no effect on LC-Rec's tuning.

    Args:
        values: the merged parameters.
    """
    own: dict[str, tuple[tuple[Any, ...], str]] = {
        "learner": (("adam", "adamw"), "is tuned by AdamW"),
        "enable_amp": ((False,), "takes its precision from tuning_precision"),
        "enable_scaler": ((False,), "takes its precision from tuning_precision"),
    }
    return [
        f"{key} = {values[key]!r} has no effect: the model {instead}; remove it, or give it to another model alone, as "
        f"SASRec.{key}"
        for key, (usual, instead) in own.items()
        if key in values and str(values[key]).lower() not in [str(value).lower() for value in usual]
    ]


def task_key_problems(values: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each key that is given for a task that is not tuned.

    Args:
        values: the merged parameters, ``tuning_tasks`` already without "auto".
    """
    tasks = values["tuning_tasks"]
    named = [str(task) for task in tasks] if isinstance(tasks, (list, tuple)) else []
    problems = []
    defaults = read_yaml(properties_dir() / str(RelatedSettings.default_file))
    changed = [key for key, default in defaults.items() if values.get(key, default) != default]
    if changed and "rel" not in named:
        problems.append(
            f"{', '.join(changed)} has no effect, because tuning_tasks = {tasks!r} does not contain rel: add rel, or "
            "leave the key out"
        )
    source = values["intention_source"]
    if source in ("llm", "file") and named and not {"ite", "per"} & set(named):
        problems.append(
            f"intention_source = {source!r} has no effect, because tuning_tasks = {tasks!r} contains neither ite nor "
            "per: add one, or set tuning_tasks to paper"
        )
    return problems


def max_norm(clip: dict[str, Any] | None) -> float:
    """Return the maximum norm of RecBole's ``clip_grad_norm``; 0 for None, which does not clip gradients.

    Raises:
        ValueError: ``clip`` names another norm than the Euclidean one.
    """
    if clip is None:
        return 0.0
    if set(clip) - {"max_norm", "norm_type"} or "max_norm" not in clip or clip.get("norm_type", 2) != 2:
        raise ValueError(f"clip_grad_norm = {clip!r}: expected {{'max_norm': 1.0}} (Euclidean norm), or None")
    return float(clip["max_norm"])


def checked_templates(tuning: TuningSettings, wording: WordingSettings) -> Templates:
    """Return the templates of a run: the package's, or those of ``tuning_template_file`` completed by the package's.

    Raises:
        ValueError: the file cannot be used, ``decoding_template`` is not the number of a SEQ template, or
            ``eval_templates`` is set for a model tuned on streams.
    """
    own = properties_dir() / "instructions" / "lcrec.yaml"
    templates = load_templates(Path(tuning.template_file or own), fallback=own)
    if tuning.seq_format == "stream" and wording.eval_templates != "one":
        raise ValueError(
            f"eval_templates = {wording.eval_templates!r}: tuning_seq_format = 'stream' writes histories without "
            "templates, so there are none to compare; remove eval_templates, or tune on instructions"
        )
    require_template(templates, wording.template)
    return templates
