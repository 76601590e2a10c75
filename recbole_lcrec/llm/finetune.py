"""Fine-tuning: transformers' Trainer over instructions, under DeepSpeed when asked or when several processes run.

Knows a backbone, an instruction source and the settings. After each epoch it hands over to its caller, who may score
the model, save it and stop. Refuses to know RecBole, metrics and which epoch was best.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from tqdm import tqdm
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from recbole_lcrec.instructions.mixture import InstructionSource
from recbole_lcrec.llm.backbone import Backbone, quiet
from recbole_lcrec.llm.collator import EpochInstructions, InstructionCollator
from recbole_lcrec.llm.launch import prepare_launch, resolve_precision
from recbole_lcrec.processes import process_count
from recbole_lcrec.settings import TuningSettings

__all__ = ["AfterEpoch", "EpochReport", "finetune"]


@dataclass(frozen=True)
class EpochReport:
    """What an epoch of tuning came to.

    Attributes:
        epoch: from 0.
        loss: mean of the optimizer batches' losses, nats per response token.
        seconds: wall time, validation left out.
        save: writes the model and tokenizer of this moment into an existing folder, in Hugging Face's form. Every
            process must call it; the first one writes.
    """

    epoch: int
    loss: float
    seconds: float
    save: Callable[[Path], None]


AfterEpoch = Callable[[EpochReport], bool]
"""Called in every process after each epoch; True stops the tuning."""


class _Tuner(Trainer):
    """transformers' Trainer that also adds up the loss of each optimizer step."""

    def __init__(self, backbone: Backbone, **kwargs: Any) -> None:
        super().__init__(model=backbone.model, processing_class=backbone.tokenizer, **kwargs)
        self.tokenizer = backbone.tokenizer
        self.loss_sum: torch.Tensor | float = 0.0

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self.loss_sum = self.loss_sum + loss.detach()
        return loss

    def mean_loss(self, steps: int) -> float:
        """Mean loss of the last ``steps`` optimizer steps, over all processes; starts the sum anew."""
        total = torch.as_tensor(self.loss_sum, device=self.args.device, dtype=torch.float32)
        self.loss_sum = 0.0
        return float(self.accelerator.gather(total).mean()) / max(steps, 1)

    def save(self, folder: Path) -> None:
        """Writes model and tokenizer as plain Hugging Face files, gathered from all processes."""
        weights = self.accelerator.get_state_dict(self.model_wrapped)
        if self.is_world_process_zero():
            model = self.accelerator.unwrap_model(self.model_wrapped)
            with quiet():
                model.save_pretrained(folder, state_dict=weights)
            self.tokenizer.save_pretrained(folder)


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


class _EpochCallback(TrainerCallback):
    """Shows the data set which epoch it is, draws the bar, and hands over to the caller after each epoch."""

    def __init__(self, data: EpochInstructions, after_epoch: AfterEpoch, show_progress: bool) -> None:
        self.data = data
        self.after_epoch = after_epoch
        self.show_progress = show_progress
        self.tuner: _Tuner | None = None
        self.started, self.first_step = perf_counter(), 0
        self.bar: Any = None

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        epoch = round(state.epoch or 0)
        self.data.set_epoch(epoch)
        self.started, self.first_step = perf_counter(), state.global_step
        steps = state.max_steps // max(round(state.num_train_epochs), 1)
        self.bar = tqdm(total=steps, ncols=100, desc=f"Train {epoch:>5}", disable=not self.show_progress)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.bar.update()

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.tuner is None:
            raise RuntimeError("the callback was not bound to its trainer")
        self.bar.close()
        loss = self.tuner.mean_loss(state.global_step - self.first_step)
        if not math.isfinite(loss):
            raise RuntimeError(f"the training loss of epoch {self.data.epoch} is {loss}; lower the learning rate")
        report = EpochReport(self.data.epoch, loss, perf_counter() - self.started, self.tuner.save)
        with _as_saved(self.tuner.model):
            control.should_training_stop |= self.after_epoch(report)


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
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation_steps,
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
) -> None:
    """Tunes the model in place by Eq. 7: the negative log-likelihood of the responses.

    The loss of an optimizer step is the mean over the response tokens of its whole batch, over accumulation steps and
    processes (transformers' Trainer counts them).

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

    Raises:
        ValueError: there is nothing to train on, or an instruction is too long.
    """
    if not len(source):
        raise ValueError("there is nothing to tune on: no user has two interactions before the held-out ones")
    if deepspeed is not None:
        prepare_launch(device)
    precision = resolve_precision(settings.precision, device)
    rows_per_step = settings.batch_size * settings.accumulation_steps * process_count()
    getLogger().info(
        f"Tuning on {len(source):,} rows an epoch, {rows_per_step} per optimizer step, {precision}, "
        + (f"DeepSpeed ZeRO-{deepspeed.get('zero_optimization', {}).get('stage', 0)}" if deepspeed else "no DeepSpeed")
        + f", {process_count()} process(es)"
    )
    if settings.gradient_checkpointing:
        backbone.model.gradient_checkpointing_enable()
    data = EpochInstructions(source)
    callback = _EpochCallback(data, after_epoch, show_progress)
    with tempfile.TemporaryDirectory() as folder:
        tuner = _Tuner(
            backbone,
            args=_arguments(settings, precision, deepspeed, device, folder, seed, max_grad_norm),
            train_dataset=data,
            data_collator=InstructionCollator(backbone.tokenizer, settings.max_length),
            callbacks=[callback],
        )
        for callback_class in (PrinterCallback, ProgressCallback):
            tuner.remove_callback(callback_class)
        callback.tuner = tuner
        try:
            tuner.train()
        finally:
            tuner.accelerator.unwrap_model(backbone.model, keep_fp32_wrapper=False)
            if deepspeed is not None:
                unset_hf_deepspeed_config()
