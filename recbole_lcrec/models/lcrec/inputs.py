"""What LCRec needs, checked before any data are read.

Knows the settings of every stage and the checks that the stages offer. Refuses to load data and models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import DecodingSettings, LoraSettings, TuningSettings
from recbole_lcrec.data.item_choice import read_allowed
from recbole_lcrec.instructions.general import read_general
from recbole_lcrec.instructions.selection import task_problems
from recbole_lcrec.instructions.template_file import load_templates
from recbole_lcrec.instructions.templates import Templates
from recbole_lcrec.llm.adapters import check_lora
from recbole_lcrec.llm.backbone import check_base_model
from recbole_lcrec.llm.launch import check_deepspeed, deepspeed_config, require_one_gpu, resolve_precision
from recbole_lcrec.models.lcrec import dataset as data_stage
from recbole_lcrec.models.lcrec.prompt_writer import require_template
from recbole_lcrec.models.lcrec.resume import check_resume

__all__ = ["check_inputs", "checked_templates", "max_norm"]


def check_inputs(config: Any) -> None:
    """Makes sure that what the model needs can be had, before any data are read.

    Raises:
        ValueError: index, texts, base model, template file, template number, allowed items, DeepSpeed file, precision
            or GPUs; says which, and what to do.
    """
    unknown_tasks = task_problems({key: config[key] for key in ("tuning_tasks", "tuning_samples_per_task")})
    if unknown_tasks:
        raise ValueError("; ".join(unknown_tasks))
    check_base_model(config["base_model"])
    data_stage.check_inputs(config)
    tuning = TuningSettings.from_config(config)
    check_lora(LoraSettings.from_config(config), config["base_model"])
    decoding = DecodingSettings.from_config(config)
    templates = checked_templates(tuning, decoding)
    if decoding.allowed_items is not None:
        read_allowed(Path(decoding.allowed_items))
    if tuning.general_file is not None:
        read_general(Path(tuning.general_file), templates)
    resolve_precision(tuning.precision, config["device"])
    deepspeed = deepspeed_config(tuning.deepspeed, properties_dir() / "deepspeed")
    if deepspeed is not None:
        check_deepspeed(
            deepspeed, tuning, max_norm(config["clip_grad_norm"]), tuning.deepspeed or "zero2", config["device"]
        )
    require_one_gpu(config["device"])
    check_resume(tuning.resume)
    _check_validation(tuning, config["eval_step"])


def _check_validation(tuning: TuningSettings, eval_step: int) -> None:
    """Refuses a tuning without a single validation, of which nothing would be kept.

    Raises:
        ValueError: no epoch after those of streams is a multiple of ``eval_step``.
    """
    if eval_step and tuning.epochs // eval_step == tuning.stream_epochs // eval_step:
        raise ValueError(
            f"eval_step = {eval_step} validates none of the epochs {tuning.stream_epochs + 1} to {tuning.epochs}, so "
            "no model would be kept: lower eval_step, or raise epochs"
        )


def max_norm(clip: dict[str, Any] | None) -> float:
    """The norm that RecBole's ``clip_grad_norm`` scales gradients down to; 0 where it is None, which leaves them.

    Raises:
        ValueError: it asks for another norm than the Euclidean one.
    """
    if clip is None:
        return 0.0
    if set(clip) - {"max_norm", "norm_type"} or "max_norm" not in clip or clip.get("norm_type", 2) != 2:
        raise ValueError(f"clip_grad_norm = {clip!r}: expected {{'max_norm': 1.0}}, of the Euclidean norm, or None")
    return float(clip["max_norm"])


def checked_templates(tuning: TuningSettings, decoding: DecodingSettings) -> Templates:
    """The wordings of a run: the package's, or the user's own with the package's for what they lack.

    Raises:
        ValueError: the file cannot be used, ``decoding_template`` names none of the SEQ templates, or streams are to be
            tested by templates.
    """
    own = properties_dir() / "instructions" / "lcrec.yaml"
    templates = load_templates(Path(tuning.template_file or own), fallback=own)
    if tuning.seq_format == "stream" and decoding.eval_templates != "one":
        raise ValueError(
            f"eval_templates = {decoding.eval_templates!r}: tuning_seq_format = 'stream' writes histories without "
            "words, so there are no templates to compare; leave eval_templates out, or tune on instructions"
        )
    require_template(templates, decoding.template)
    return templates
