"""Fine-tuning over epochs of instructions, under DeepSpeed when asked or when several processes run.

Knows a backbone, an instruction source and the settings. After each epoch it hands over to its caller, who may score
the model, save it and stop. Refuses to know RecBole, metrics and which epoch was best.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from recbole_lcrec.config.settings import TuningSettings
from recbole_lcrec.instructions.mixture import InstructionSource
from recbole_lcrec.llm.backbone import Backbone
from recbole_lcrec.llm.checkpoints import Checkpoints, Progress
from recbole_lcrec.llm.collator import InstructionCollator, PlannedInstructions
from recbole_lcrec.llm.launch import launched, resolve_precision
from recbole_lcrec.llm.steps import StepPlan
from recbole_lcrec.llm.tuner import Tuner, peak_memory
from recbole_lcrec.runtime.processes import from_first_process, process_count

__all__ = ["AfterEpoch", "EpochReport", "finetune", "step_plan"]


@dataclass(frozen=True)
class EpochReport:
    """What an epoch of tuning came to.

    Attributes:
        epoch: from 0.
        loss: mean of the optimizer steps' losses, nats per response token.
        seconds: wall time, validation and checkpoints left out.
        rows: instructions of all processes; likewise below.
        tokens: of prompts and responses.
        places: tokens and padding.
        peak_memory: most bytes that this process has held so far, of the GPU, else of main memory.
        save: writes the model and tokenizer of this moment into an existing folder, in Hugging Face's form. Every
            process must call it; the first one writes.
    """

    epoch: int
    loss: float
    seconds: float
    rows: int
    tokens: int
    places: int
    peak_memory: int
    save: Callable[[Path], None]

    def rates(self) -> dict[str, float]:
        """Samples and tokens per second, share of padding among all places, peak memory in GiB."""
        seconds = max(self.seconds, 1e-9)
        return {
            "samples/s": self.rows / seconds,
            "tokens/s": self.tokens / seconds,
            "padding": 1 - self.tokens / max(self.places, 1),
            "peak memory, GiB": self.peak_memory / 2**30,
        }

    def in_words(self) -> str:
        """:meth:`rates`, for the log."""
        rates = self.rates()
        return (
            f"{rates['samples/s']:,.1f} samples/s, {rates['tokens/s']:,.0f} tokens/s, padding {rates['padding']:.1%}, "
            f"peak memory {rates['peak memory, GiB']:.2f} GiB"
        )


AfterEpoch = Callable[[EpochReport], bool]
"""Called in every process after each epoch; True stops the tuning."""


def step_plan(source: InstructionSource, settings: TuningSettings, seed: int) -> StepPlan:
    """The optimizer steps of a run.

    Args:
        source: the instructions.
        settings: ``train_batch_size`` rows x ``tuning_accumulation_steps`` x processes make a step.
        seed: of the order.

    Raises:
        ValueError: an epoch has no instruction.
    """
    sizes = tuple(source.size(epoch) for epoch in range(settings.epochs))
    if not all(sizes):
        raise ValueError("there is nothing to tune on: no user has two interactions before the held-out ones")
    return StepPlan(sizes, settings.batch_size * settings.accumulation_steps * process_count(), seed)


@contextmanager
def _as_saved(model: Any) -> Iterator[None]:
    """Takes off the half precision that accelerate puts around the forward pass: scores are the saved model's."""
    wrapped = model.__dict__.get("forward")
    if not hasattr(model, "_original_forward") or wrapped is None:
        yield
        return
    model.forward = model._original_forward
    try:
        yield
    finally:
        model.forward = wrapped


@contextmanager
def _recomputing(model: Any, wanted: bool) -> Iterator[None]:
    """Has activations recomputed in backward passes, when wanted, until the tuning ends."""
    if not wanted:
        yield
        return
    model.gradient_checkpointing_enable()
    try:
        yield
    finally:
        model.gradient_checkpointing_disable()


class _Epochs(TrainerCallback):
    """Draws the bar, hands over to the caller after each epoch, and keeps checkpoints."""

    def __init__(
        self, tuner: Tuner, after_epoch: AfterEpoch, checkpoints: Checkpoints | None, show_progress: bool
    ) -> None:
        self.tuner = tuner
        self.after_epoch = after_epoch
        self.checkpoints = checkpoints
        self.show_progress = show_progress
        self.started = perf_counter()
        self.bar: Any = None

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        plan, step = self.tuner.plan, state.global_step
        if self.bar is None:
            epoch = plan.epoch_of(step)
            first = plan.first_step(epoch)
            steps = int(plan.ends[epoch]) - first
            self.bar = tqdm(
                total=steps, initial=step - first, ncols=100, desc=f"Train {epoch:>5}", disable=not self.show_progress
            )
            self.started = perf_counter()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.bar.update()
        done, plan = state.global_step, self.tuner.plan
        ended = done in plan.ends
        if ended or (self.checkpoints is not None and self.checkpoints.due(done)):
            self.tuner.require_finite_weights()
            self.tuner.sums["seconds"] += perf_counter() - self.started
            if ended:
                self._hand_over(plan.epoch_of(done - 1), done, control)
            self._keep(done)
            self.started = perf_counter()

    def _hand_over(self, epoch: int, done: int, control: TrainerControl) -> None:
        self.bar.close()
        self.bar = None
        tuner, sums = self.tuner, self.tuner.total_sums()
        tuner.sums = dict.fromkeys(tuner.sums, 0.0)
        steps = done - tuner.plan.first_step(epoch)
        counts = {name: round(sums[name]) for name in ("rows", "tokens", "places")}
        memory = peak_memory(tuner.args.device)
        report = EpochReport(
            epoch, sums["loss"] / steps, sums["seconds"], **counts, peak_memory=memory, save=tuner.save
        )
        with _as_saved(tuner.model):
            control.should_training_stop |= self.after_epoch(report)

    def _keep(self, done: int) -> None:
        if self.checkpoints is None:
            return
        tuner = self.tuner
        sums, owner = tuner.total_sums(), tuner.is_world_process_zero()
        tuner.restore_sums(sums)
        with self.checkpoints.keep(done, sums, owner, tuner.accelerator.wait_for_everyone) as folder:
            tuner.write_checkpoint(folder)


def _arguments(
    settings: TuningSettings,
    precision: str,
    deepspeed: dict[str, Any] | None,
    device: torch.device,
    folder: str,
    seed: int,
    max_grad_norm: float,
) -> TrainingArguments:
    on_cpu = device.type != "cuda"
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=1,
        per_device_train_batch_size=settings.batch_size * settings.accumulation_steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_ratio,
        max_grad_norm=max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        dataloader_num_workers=settings.workers,
        deepspeed=deepspeed,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and process_count() > 1 else None,
        seed=seed,
        data_seed=seed,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        log_level="error",
    )


def finetune(
    backbone: Backbone,
    source: InstructionSource,
    settings: TuningSettings,
    deepspeed: dict[str, Any] | None,
    device: torch.device,
    seed: int,
    max_grad_norm: float,
    show_progress: bool,
    after_epoch: AfterEpoch,
    checkpoints: Checkpoints | None = None,
    resume: Progress | None = None,
) -> None:
    """Tunes the model in place by Eq. 7: the negative log-likelihood of the responses.

    The loss of an optimizer step is the mean over the response tokens of its whole batch, over forward passes and
    processes. transformers seeds Python's, NumPy's and PyTorch's global generators by ``seed`` and leaves them so.

    Args:
        backbone: model and tokenizer; the model is changed.
        source: the instructions.
        settings: how to tune.
        deepspeed: a DeepSpeed configuration, or None.
        device: where the model lies.
        seed: of the order of the instructions and of dropout.
        max_grad_norm: gradients are scaled down to this norm; 0 leaves them.
        show_progress: whether to draw a progress bar.
        after_epoch: see :data:`AfterEpoch`.
        checkpoints: where to keep checkpoints, the first process's choice; None: nowhere.
        resume: how far the run had come; it must be the same one, which :func:`read_progress` makes sure of.

    Raises:
        ValueError: there is nothing to train on, or an instruction is too long.
        DivergedError: the loss is not finite any more.
    """
    plan = step_plan(source, settings, seed)
    precision = resolve_precision(settings.precision, device)
    getLogger().info(
        f"Tuning on {_counted(plan.sizes)} instructions an epoch, {plan.rows_per_step} per optimizer step, "
        f"{len(plan):,} steps, {precision}, "
        + (f"DeepSpeed ZeRO-{deepspeed.get('zero_optimization', {}).get('stage', 0)}" if deepspeed else "no DeepSpeed")
        + f", {process_count()} process(es)"
    )
    with (
        launched(device) if deepspeed is not None else nullcontext(),
        _recomputing(backbone.model, settings.gradient_checkpointing),
        torch.autograd.set_detect_anomaly(False),  # which RecBole's SINE turns on for all, when it is imported
        tempfile.TemporaryDirectory() as folder,
    ):
        tuner = Tuner(
            backbone,
            plan,
            PlannedInstructions(source, plan.sizes),
            InstructionCollator(backbone.tokenizer, settings.max_length),
            settings.batch_size,
            settings.batch_tokens,
            _arguments(settings, precision, deepspeed, device, folder, seed, max_grad_norm),
        )
        if checkpoints is not None:
            checkpoints = replace(checkpoints, folder=from_first_process(checkpoints.folder))
        tuner.add_callback(_Epochs(tuner, after_epoch, checkpoints, show_progress))
        if resume is not None:
            tuner.restore_sums(resume.sums)
        try:
            tuner.train(resume_from_checkpoint=str(resume.written) if resume is not None else None)
        finally:
            tuner.accelerator.unwrap_model(backbone.model, keep_fp32_wrapper=False)


def _counted(sizes: tuple[int, ...]) -> str:
    """Sizes of epochs in words: one number, or those that differ."""
    distinct = list(dict.fromkeys(sizes))
    return ", then ".join(f"{size:,}" for size in distinct)
