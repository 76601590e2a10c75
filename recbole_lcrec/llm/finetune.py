"""Fine-tune a language model on epochs of instructions, with DeepSpeed if configured.

After each epoch a callback may evaluate the model, save it, and stop the tuning; metrics and the choice of the best
epoch are up to the caller.
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
from recbole_lcrec.instructions.sources import InstructionSource
from recbole_lcrec.llm.backbone import Backbone
from recbole_lcrec.llm.checkpoints import Checkpoints, Progress
from recbole_lcrec.llm.collator import InstructionCollator, PlannedInstructions
from recbole_lcrec.llm.deepspeed_environment import deepspeed_environment
from recbole_lcrec.llm.devices import resolve_precision
from recbole_lcrec.llm.duration import DurationEstimate, Validations
from recbole_lcrec.llm.steps import StepPlan
from recbole_lcrec.llm.tuner import Tuner, peak_memory
from recbole_lcrec.runtime.processes import from_first_process, process_count

__all__ = ["AfterEpoch", "EpochReport", "TuningRun", "finetune", "step_plan"]


@dataclass(frozen=True)
class EpochReport:
    """The loss and the throughput of one epoch.

    Attributes:
        epoch: number of the epoch, from 0.
        loss: mean of the optimizer steps' losses, nats per response token.
        seconds: wall time without validation and checkpoints.
        rows: instructions, summed over all processes.
        tokens: tokens of prompts and responses, summed over all processes.
        places: tokens including padding, summed over all processes.
        peak_memory: peak memory of this process so far in bytes, of the GPU if there is one.
        save: writes the current model and tokenizer to an existing folder in Hugging Face's format. Every process
            must call it; the first one writes.
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
        """Return samples and tokens per second, the proportion of padding, and peak memory in GiB."""
        seconds = max(self.seconds, 1e-9)
        return {
            "samples/s": self.rows / seconds,
            "tokens/s": self.tokens / seconds,
            "padding": 1 - self.tokens / max(self.places, 1),
            "peak memory, GiB": self.peak_memory / 2**30,
        }

    def in_words(self) -> str:
        """Return :meth:`rates` as one line for the log."""
        rates = self.rates()
        return (
            f"{rates['samples/s']:,.1f} samples/s, {rates['tokens/s']:,.0f} tokens/s, padding {rates['padding']:.1%}, "
            f"peak memory {rates['peak memory, GiB']:.2f} GiB"
        )


AfterEpoch = Callable[[EpochReport], bool]
"""Called in every process after each epoch; True stops the tuning."""


@dataclass(frozen=True, kw_only=True)
class TuningRun:
    """A tuning: its instructions, settings and device.

    Attributes:
        source: the instructions.
        settings: epochs, batches, optimizer and precision.
        deepspeed: a DeepSpeed configuration; None: run without DeepSpeed.
        device: the model's device.
        seed: seeds the order of the instructions and dropout.
        max_grad_norm: gradients are clipped to this norm; 0: no clipping.
        show_progress: whether to draw a progress bar.
        checkpoints: where to save checkpoints, taken from the first process; None: nowhere.
        resume: the checkpoint to resume from; :func:`read_progress` checks that it belongs to this run. None: start
            from the first step.
        validations: estimates the validations of the run, see :class:`DurationEstimate`.
    """

    source: InstructionSource
    settings: TuningSettings
    deepspeed: dict[str, Any] | None
    device: torch.device
    seed: int
    max_grad_norm: float
    show_progress: bool = False
    checkpoints: Checkpoints | None = None
    resume: Progress | None = None
    validations: Validations | None = None


def step_plan(source: InstructionSource, settings: TuningSettings, seed: int) -> StepPlan:
    """Plan the optimizer steps of a run.

    A step has ``train_batch_size`` x ``tuning_accumulation_steps`` x processes rows.

    Args:
        source: the instructions.
        settings: epochs and batch sizes.
        seed: seeds the order of the instructions.

    Raises:
        ValueError: an epoch has no instructions.
    """
    sizes = tuple(source.size(epoch) for epoch in range(settings.epochs))
    if not all(sizes):
        raise ValueError(
            "there is nothing to tune on: no user has two interactions before the held-out ones; use a data set with "
            "longer histories"
        )
    return StepPlan(sizes, settings.batch_size * settings.accumulation_steps * process_count(), seed)


@contextmanager
def _as_saved(model: Any) -> Iterator[None]:
    """Remove accelerate's autocast from the forward pass, so that scores are those of the saved model."""
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
def _gradient_checkpointing(model: Any, enabled: bool) -> Iterator[None]:
    """Turn gradient checkpointing on, if enabled, and off again at the end."""
    if not enabled:
        yield
        return
    model.gradient_checkpointing_enable()
    try:
        yield
    finally:
        model.gradient_checkpointing_disable()


class _EpochCallback(TrainerCallback):
    """Draws the progress bar, calls the caller after each epoch, and saves checkpoints."""

    def __init__(
        self,
        tuner: Tuner,
        after_epoch: AfterEpoch,
        checkpoints: Checkpoints | None,
        show_progress: bool,
        duration: DurationEstimate,
    ) -> None:
        self.tuner = tuner
        self.duration = duration
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
        self.started += self.duration.step_ended(done)
        ended = done in plan.ends
        if ended or (self.checkpoints is not None and self.checkpoints.due(done)):
            stopped = perf_counter()
            self.tuner.require_finite_weights()
            self.tuner.sums["seconds"] += perf_counter() - self.started
            if ended:
                self._report(plan.epoch_of(done - 1), done, control)
            self._save_checkpoint(done)
            self.started = perf_counter()
            self.duration.pause(self.started - stopped)

    def _report(self, epoch: int, done: int, control: TrainerControl) -> None:
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

    def _save_checkpoint(self, done: int) -> None:
        if self.checkpoints is None:
            return
        tuner = self.tuner
        sums, owner = tuner.total_sums(), tuner.is_world_process_zero()
        tuner.restore_sums(sums)
        with self.checkpoints.keep(done, sums, owner, tuner.accelerator.wait_for_everyone) as folder:
            tuner.write_checkpoint(folder)


def _arguments(run: TuningRun, precision: str, folder: str) -> TrainingArguments:
    settings, on_cpu = run.settings, run.device.type != "cuda"
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=1,
        per_device_train_batch_size=settings.batch_size * settings.accumulation_steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_ratio,
        max_grad_norm=run.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        dataloader_num_workers=settings.workers,
        deepspeed=run.deepspeed,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and process_count() > 1 else None,
        seed=run.seed,
        data_seed=run.seed,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        log_level="error",
    )


def finetune(backbone: Backbone, run: TuningRun, after_epoch: AfterEpoch) -> None:
    """Fine-tune the model in place by Eq. 7: minimise the negative log-likelihood of the responses.

    The loss of an optimizer step is the mean over the response tokens of its whole batch, across forward passes and
    processes. transformers seeds the global generators of Python, NumPy and PyTorch with ``run.seed``.

    Args:
        backbone: model and tokenizer; the model is changed.
        run: the data, the settings and where to run.
        after_epoch: called in every process after each epoch; True stops the tuning.

    Raises:
        ValueError: there is no data to tune on, or an instruction is too long.
        DivergedError: the loss, its gradient or a weight is not finite.
    """
    settings, deepspeed, checkpoints = run.settings, run.deepspeed, run.checkpoints
    plan = step_plan(run.source, settings, run.seed)
    precision = resolve_precision(settings.precision, run.device)
    getLogger().info(
        f"Tuning on {_sizes_in_words(plan.sizes)} instructions per epoch, {plan.rows_per_step} per optimizer step, "
        f"{len(plan):,} steps, {precision}, "
        + (f"DeepSpeed ZeRO-{deepspeed.get('zero_optimization', {}).get('stage', 0)}" if deepspeed else "no DeepSpeed")
        + f", {process_count()} process(es)"
    )
    with (
        deepspeed_environment(run.device) if deepspeed is not None else nullcontext(),
        _gradient_checkpointing(backbone.model, settings.gradient_checkpointing),
        torch.autograd.set_detect_anomaly(False),  # importing RecBole's SINE turns it on globally
        tempfile.TemporaryDirectory() as folder,
    ):
        tuner = Tuner(
            backbone,
            plan,
            PlannedInstructions(run.source, plan.sizes),
            InstructionCollator(backbone.tokenizer, settings.max_length),
            settings.batch_size,
            settings.batch_tokens,
            _arguments(run, precision, folder),
        )
        if checkpoints is not None:
            checkpoints = replace(checkpoints, folder=from_first_process(checkpoints.folder))
        duration = DurationEstimate(plan, settings.stream_epochs, run.validations)
        tuner.add_callback(_EpochCallback(tuner, after_epoch, checkpoints, run.show_progress, duration))
        if run.resume is not None:
            tuner.restore_sums(run.resume.sums)
        try:
            tuner.train(resume_from_checkpoint=str(run.resume.written) if run.resume is not None else None)
        finally:
            tuner.accelerator.unwrap_model(backbone.model, keep_fp32_wrapper=False)


def _sizes_in_words(sizes: tuple[int, ...]) -> str:
    """Return the distinct sizes of epochs, for the log."""
    distinct = list(dict.fromkeys(sizes))
    return ", then ".join(f"{size:,}" for size in distinct)
