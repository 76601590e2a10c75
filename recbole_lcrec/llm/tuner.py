"""One optimizer step: transformers' Trainer with its own batches, its own loss and an account of the work.

Knows models, devices and flat batches. Refuses to know epochs, validation and what is saved when.
"""

from __future__ import annotations

import math
import resource
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DummyOptim
from peft import PeftModel
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments

from recbole_lcrec.llm.adapters import save_adapter
from recbole_lcrec.llm.backbone import Backbone, quiet
from recbole_lcrec.llm.collator import (
    IGNORED,
    InstructionCollator,
    PlannedInstructions,
    group_rows,
    padded_group,
)
from recbole_lcrec.llm.response_loss import response_loss
from recbole_lcrec.llm.steps import StepPlan, StepSampler

__all__ = ["PASS_OVERHEAD", "PASS_TOKENS", "DivergedError", "Tuner", "peak_memory"]

PASS_TOKENS = {"cuda": 8192, "cpu": 2048}
"""Tokens of a forward pass at most, where the settings name no number: as many as keep the device busy."""

PASS_OVERHEAD = {"cuda": 1024, "cpu": 64}
"""What starting a forward and backward pass costs, in tokens of work."""


class DivergedError(ValueError):
    """The loss or its gradient is no finite number any more."""


class Tuner(Trainer):
    """transformers' Trainer over one long epoch: the steps of a :class:`StepPlan`.

    It takes optimizer, schedule, clipping, precision, DeepSpeed and checkpoints from transformers. A step's rows are
    parted into forward passes of like length; every pass goes backward at once, so that memory holds one pass. The
    gradient is that of the mean over all response tokens of the step, over passes and processes (Eq. 7).

    Attributes:
        sums: of the present epoch: ``loss`` (sum of the steps' losses), ``rows``, ``tokens``, ``places`` (tokens with
            padding), ``seconds``; those of this process.
    """

    def __init__(
        self,
        backbone: Backbone,
        plan: StepPlan,
        data: PlannedInstructions,
        collator: InstructionCollator,
        max_rows: int,
        max_tokens: int | None,
        args: TrainingArguments,
    ) -> None:
        """Prepares the tuning.

        Args:
            backbone: model and tokenizer.
            plan: of the run.
            data: the instructions.
            collator: makes flat batches of them.
            max_rows: rows of a forward pass at most.
            max_tokens: tokens of a forward pass at most; None: :data:`PASS_TOKENS`.
            args: transformers' arguments.
        """
        super().__init__(
            model=backbone.model,
            processing_class=backbone.tokenizer,
            args=args,
            train_dataset=data,
            data_collator=collator,
        )
        for callback_class in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback_class)
        self.plan = plan
        self.pad_id = int(backbone.tokenizer.pad_token_id)
        kind = "cuda" if self.args.device.type == "cuda" else "cpu"
        self.max_rows, self.max_tokens = max_rows, max_tokens or PASS_TOKENS[kind]
        self.overhead = PASS_OVERHEAD[kind]
        self.sums: dict[str, float] = dict.fromkeys(("loss", "rows", "tokens", "places", "seconds"), 0.0)
        self.data = data
        self.tokenizer = backbone.tokenizer
        self.checkpoint_folder: Path | None = None

    def create_optimizer(self, model: torch.nn.Module | None = None) -> Any:
        """AdamW that spares norms and biases from weight decay, also where a DeepSpeed file makes it.

        DeepSpeed is given one list of all that trains otherwise, and lets every weight of it decay.
        """
        optimizer = super().create_optimizer(model)
        if isinstance(optimizer, DummyOptim):  # it stands for the file's own until DeepSpeed starts
            tuned: Any = self.model
            decaying = set(self.get_decay_parameter_names(tuned))
            groups: dict[float, list[torch.nn.Parameter]] = {}
            for name, weight in tuned.named_parameters():
                if weight.requires_grad:
                    groups.setdefault(self.args.weight_decay if name in decaying else 0.0, []).append(weight)
            optimizer.params = [{"params": weights, "weight_decay": decay} for decay, weights in groups.items()]
        return optimizer

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's share of every step of the run."""
        return DataLoader(
            self.data,
            batch_sampler=StepSampler(self.plan, self.args.process_index, self.args.world_size),
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.device.type == "cuda",
            generator=torch.Generator(),  # or each loader would draw from the generator that dropout draws from
        )

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> None:
        """None: :meth:`training_step` counts them, in passes and processes alike."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.checkpoint_folder or self.args.output_dir)

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Tensor], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and backward passes over this process's rows of a step.

        Returns:
            Its share of the step's loss, times the number of processes, so that their mean is the loss: nats per
            response token.

        Raises:
            DivergedError: the loss is not finite.
        """
        model.train()
        lengths = inputs["lengths"].numpy()
        groups = group_rows(lengths, self.max_rows, self.max_tokens, self.overhead)
        passes, responses = self._agreed(len(groups), int((inputs["labels"] >= 0).sum()))
        head = self.accelerator.unwrap_model(self.model).get_output_embeddings()
        loss = torch.zeros((), device=self.args.device)
        for number in range(passes):
            if number < len(groups):
                ids, labels = padded_group(inputs, groups[number], self.pad_id)
            else:  # another process has more passes than this one, and all must make the same number
                ids, labels = torch.full((1, 2), self.pad_id), torch.full((1, 2), IGNORED)
            ids, labels = (part.to(self.args.device, non_blocking=True) for part in (ids, labels))
            with self.compute_loss_context_manager():
                part = response_loss(model, head, ids, labels) * (self.args.world_size / max(responses, 1))
            self.accelerator.gradient_state._set_sync_gradients(number == passes - 1)
            self.accelerator.backward(part)
            loss += part.detach()
            self.sums["places"] += ids.numel() if number < len(groups) else 0
        self._require_finite(float(loss), "loss")
        self.sums["loss"] += float(loss)
        self.sums["rows"] += len(lengths)
        self.sums["tokens"] += int(lengths.sum())
        return loss

    def _agreed(self, passes: int, responses: int) -> tuple[int, int]:
        """Passes of the process that has most, one at least, and response tokens of all processes."""
        if self.args.world_size == 1:
            return max(passes, 1), responses
        mine = torch.tensor([[passes, responses]], device=self.args.device)
        everyone = self.accelerator.gather(mine)
        return max(int(everyone[:, 0].max()), 1), int(everyone[:, 1].sum())

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if norm is not None and not self.args.fp16:  # fp16 scales its loss down after an overflow and goes on
            self._require_finite(float(norm), "gradient norm")
        return norm

    def _require_finite(self, value: float, what: str) -> None:
        if math.isfinite(value):
            return
        step = min(self.state.global_step, len(self.plan) - 1)
        epoch, data = self.plan.rows_of(step)
        prompt = self.data.source.instruction(epoch, int(data[0])).prompt
        raise DivergedError(
            f"the {what} is {value} at step {step} (epoch {epoch}, {len(data)} instructions, numbers "
            f"{', '.join(map(str, data[:4]))} ..., the first begins {prompt[:60]!r}); the best epoch and the last "
            f"checkpoint are kept. Lower learning_rate ({self.args.learning_rate}), or raise tuning_warmup_ratio"
        )

    def total_sums(self) -> dict[str, float]:
        """:attr:`sums` over all processes: means of loss and seconds, totals of all else."""
        mine = torch.tensor([list(self.sums.values())], device=self.args.device, dtype=torch.float64)
        everyone = self.accelerator.gather(mine) if self.args.world_size > 1 else mine
        totals = dict(zip(self.sums, everyone.sum(dim=0).tolist(), strict=True))
        return {
            name: value / self.args.world_size if name in ("loss", "seconds") else value
            for name, value in totals.items()
        }

    def restore_sums(self, totals: Mapping[str, float]) -> None:
        """Sets :attr:`sums` so that :meth:`total_sums` gives these again."""
        share = self.args.world_size
        self.sums = {name: value if name in ("loss", "seconds") else value / share for name, value in totals.items()}

    def require_finite_weights(self) -> None:
        """Makes sure that the weights are worth keeping.

        Raises:
            DivergedError: one of those that train is no finite number.
        """
        for parameter in self.accelerator.unwrap_model(self.model).parameters():
            mine = getattr(parameter, "ds_tensor", parameter)  # this process's share under ZeRO-3
            if parameter.requires_grad and not bool(torch.isfinite(mine).all()):
                self._require_finite(math.nan, "weights after the step before")

    def write_checkpoint(self, folder: Path) -> None:
        """Weights, optimizer, schedule, generators and step, as transformers and DeepSpeed write them."""
        self.checkpoint_folder = folder
        with quiet(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`")  # peft's, on what it does
            super()._save_checkpoint(self.model_wrapped, None)

    def save(self, folder: Path) -> None:
        """Writes model and tokenizer as plain Hugging Face files, gathered from all processes, which must all call it.

        Of a model with an adapter the adapter is written.
        """
        weights = self.accelerator.get_state_dict(self.model_wrapped)
        if self.is_world_process_zero():
            model = self.accelerator.unwrap_model(self.model_wrapped)
            with quiet():
                if isinstance(model, PeftModel):
                    save_adapter(model, folder, weights)
                else:
                    model.save_pretrained(folder, state_dict=weights)
            self.tokenizer.save_pretrained(folder)


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has held so far: of the GPU, else of main memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
