"""Optimizer steps of a tuning, with the loss of Eq. 7 and throughput counts.

Extends transformers' ``Trainer`` by planned batches.
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
from recbole_lcrec.llm.backbone import Backbone, without_progress_bars
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
"""Largest number of tokens of a forward pass where ``tuning_batch_tokens`` is not set; enough to keep it busy."""

PASS_OVERHEAD = {"cuda": 1024, "cpu": 64}
"""Fixed cost of a forward and backward pass, in tokens."""


class DivergedError(ValueError):
    """The loss, its gradient or a weight is no longer finite."""


class Tuner(Trainer):
    """transformers' Trainer over the steps of a :class:`StepPlan`, as one long epoch.

    Optimizer, schedule, clipping, precision, DeepSpeed and checkpoints are those of transformers. The rows of a step
    are split into forward passes of similar length; each is followed by its backward pass, so that memory holds one
    pass at a time. The gradient is that of the mean loss over all response tokens of the step, across passes and
    processes (Eq. 7).

    Attributes:
        sums: sums over the current epoch in this process: ``loss`` (of the steps), ``rows``, ``tokens``, ``places``
            (tokens including padding), ``seconds``.
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
        """Create the trainer.

        Args:
            backbone: model and tokenizer.
            plan: the steps of the run.
            data: the instructions.
            collator: turns instructions into flat batches.
            max_rows: largest number of rows of a forward pass.
            max_tokens: largest number of tokens of a forward pass; None: :data:`PASS_TOKENS`.
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
        """Create AdamW without weight decay on norms and biases, also with DeepSpeed.

        By default DeepSpeed gets a single list of parameters and applies weight decay to all of them.
        """
        optimizer = super().create_optimizer(model)
        if isinstance(optimizer, DummyOptim):  # a placeholder until DeepSpeed creates its optimizer
            trained: Any = self.model
            decaying = set(self.get_decay_parameter_names(trained))
            groups: dict[float, list[torch.nn.Parameter]] = {}
            for name, weight in trained.named_parameters():
                if weight.requires_grad:
                    groups.setdefault(self.args.weight_decay if name in decaying else 0.0, []).append(weight)
            optimizer.params = [{"params": weights, "weight_decay": decay} for decay, weights in groups.items()]
        return optimizer

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of this process's share of every step."""
        return DataLoader(
            self.data,
            batch_sampler=StepSampler(self.plan, self.args.process_index, self.args.world_size),
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.device.type == "cuda",
            generator=torch.Generator(),  # otherwise loaders would use the generator of dropout
        )

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> None:
        """Return None: :meth:`training_step` counts response tokens across passes and processes."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.checkpoint_folder or self.args.output_dir)

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Tensor], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Run the forward and backward passes of this process's rows of a step.

        Returns:
            The process's share of the step's loss in nats per response token, times the number of processes, so that
            the mean over processes is the loss.

        Raises:
            DivergedError: the loss is not finite.
        """
        model.train()
        lengths = inputs["lengths"].numpy()
        groups = group_rows(lengths, self.max_rows, self.max_tokens, self.overhead)
        passes, responses = self._over_processes(len(groups), int((inputs["labels"] >= 0).sum()))
        head = self.accelerator.unwrap_model(self.model).get_output_embeddings()
        loss = torch.zeros((), device=self.args.device)
        for number in range(passes):
            if number < len(groups):
                ids, labels = padded_group(inputs, groups[number], self.pad_id)
            else:  # all processes must run the same number of passes
                ids, labels = torch.full((1, 2), self.pad_id), torch.full((1, 2), IGNORED)
            ids, labels = (tensor.to(self.args.device, non_blocking=True) for tensor in (ids, labels))
            with self.compute_loss_context_manager():
                pass_loss = response_loss(model, head, ids, labels) * (self.args.world_size / max(responses, 1))
            self.accelerator.gradient_state._set_sync_gradients(number == passes - 1)
            self.accelerator.backward(pass_loss)
            loss += pass_loss.detach()
            self.sums["places"] += ids.numel() if number < len(groups) else 0
        self._require_finite(float(loss), "loss")
        self.sums["loss"] += float(loss)
        self.sums["rows"] += len(lengths)
        self.sums["tokens"] += int(lengths.sum())
        return loss

    def _over_processes(self, passes: int, responses: int) -> tuple[int, int]:
        """Return the largest number of passes of a process, at least 1, and the response tokens of all processes."""
        if self.args.world_size == 1:
            return max(passes, 1), responses
        mine = torch.tensor([[passes, responses]], device=self.args.device)
        everyone = self.accelerator.gather(mine)
        return max(int(everyone[:, 0].max()), 1), int(everyone[:, 1].sum())

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        if norm is not None and not self.args.fp16:  # after an overflow, fp16 lowers its loss scale and continues
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
            f"{', '.join(map(str, data[:4]))} ..., the first begins with {prompt[:60]!r}); the best epoch and the last "
            f"checkpoint are kept. Lower learning_rate ({self.args.learning_rate}), or raise tuning_warmup_ratio"
        )

    def total_sums(self) -> dict[str, float]:
        """Return :attr:`sums` over all processes: means of loss and seconds, totals of the others."""
        mine = torch.tensor([list(self.sums.values())], device=self.args.device, dtype=torch.float64)
        everyone = self.accelerator.gather(mine) if self.args.world_size > 1 else mine
        totals = dict(zip(self.sums, everyone.sum(dim=0).tolist(), strict=True))
        return {
            name: value / self.args.world_size if name in ("loss", "seconds") else value
            for name, value in totals.items()
        }

    def restore_sums(self, totals: Mapping[str, float]) -> None:
        """Set :attr:`sums` so that :meth:`total_sums` returns these totals."""
        share = self.args.world_size
        self.sums = {name: value if name in ("loss", "seconds") else value / share for name, value in totals.items()}

    def require_finite_weights(self) -> None:
        """Check the trained weights before they are saved.

        Raises:
            DivergedError: a trained weight is not finite.
        """
        for parameter in self.accelerator.unwrap_model(self.model).parameters():
            mine = getattr(parameter, "ds_tensor", parameter)  # under ZeRO-3, this process's share
            if parameter.requires_grad and not bool(torch.isfinite(mine).all()):
                self._require_finite(math.nan, "weights after the previous step")

    def write_checkpoint(self, folder: Path) -> None:
        """Write weights, optimizer, schedule, generator states and step in transformers' or DeepSpeed's format."""
        self.checkpoint_folder = folder
        with without_progress_bars(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`")  # by peft, and harmless
            super()._save_checkpoint(self.model_wrapped, None)

    def save(self, folder: Path) -> None:
        """Write model and tokenizer as plain Hugging Face files; every process must call it.

        Split weights are gathered from all processes. Of a model with an adapter only the adapter is written.
        """
        weights = self.accelerator.get_state_dict(self.model_wrapped)
        if self.is_world_process_zero():
            model = self.accelerator.unwrap_model(self.model_wrapped)
            with without_progress_bars():
                if isinstance(model, PeftModel):
                    save_adapter(model, folder, weights)
                else:
                    model.save_pretrained(folder, state_dict=weights)
            self.tokenizer.save_pretrained(folder)


def peak_memory(device: torch.device) -> int:
    """Return this process's peak memory in bytes, of the GPU if there is one, else of main memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
