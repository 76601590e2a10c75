"""The two ways that ``tuning_speed.py`` compares, each trained and measured in the process that calls.

Knows how the same instructions, tokenizer and model are made for both, and how a trainer is watched from outside.
Refuses to know which way comes first, how often they run and what is made of the numbers.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import platform
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import numpy as np

__all__ = ["LEFT_OUT", "WAYS", "Outcome", "measure"]

WAYS = ("plain", "package")
FAMILIES = ["seq", "mut", "asy", "ite", "per"]
LEFT_OUT = 5
"""Steps at the beginning that no time includes."""

Outcome = dict[str, Any]
Training = Callable[["Record", Callable[[], None]], None]


@dataclass
class Record:
    """What a run of steps leaves behind.

    Attributes:
        losses: of every step, nats per response token.
        waits: seconds spent on getting each step's batch.
        ends: when training began and when each step ended; ``busy`` likewise, in seconds of processor time.
        tokens, places: tokens of all steps, and tokens with padding; a trainer that counts them itself adds nothing.
    """

    losses: list[Any] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    tokens: int = 0
    places: int = 0


def watched(trainer_class: type, record: Record, synchronize: Callable[[], None]) -> type:
    """The trainer class, with each step written into the record and nothing else changed."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            synchronize()
            record.ends.append(perf_counter())
            record.busy.append(process_time())

        on_step_end = on_train_begin

    class Watched(trainer_class):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.add_callback(Clock())

        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            started = perf_counter()
            batches = super().get_batch_samples(*args, **kwargs)
            record.waits.append(perf_counter() - started)
            return batches

        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if "attention_mask" in inputs:
                record.tokens += int(inputs["attention_mask"].sum())
                record.places += inputs["attention_mask"].numel()
            loss = super().training_step(model, inputs, *args, **kwargs)
            record.losses.append(loss.detach())
            return loss

    return Watched


def prepare(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The instructions of ``--steps`` steps, the tokenizer and the tuning settings, as the package makes them."""
    from recbole_lcrec import Config, create_dataset
    from recbole_lcrec.bridge.loading import data_preparation
    from recbole_lcrec.instructions.sources import Capped
    from recbole_lcrec.models.lcrec.model import LCRec

    given = {
        **{"data_path": options.data_path, "checkpoint_dir": options.folder, "show_progress": False},
        **{"seed": options.seed, "use_gpu": options.device == "cuda", "epochs": 1, "train_batch_size": options.batch},
        **{"index_method": "random", "index_levels": 4, "index_codebook_size": 256, "index_report": False},
        **{"tuning_tasks": FAMILIES, "tuning_precision": options.dtype, "scratch_dropout": 0.0},
        # the least of models: only its tokenizer and its instructions are wanted
        **{"scratch_vocab_size": 32_000, "scratch_layers": 1, "scratch_hidden_size": 8, "scratch_heads": 1},
        **dict(each.split("=", 1) for each in options.set),
    }
    config = Config("LCRec", options.dataset, config_dict=given, run=["LCRec"])
    train = data_preparation(config, create_dataset(config))[0]._dataset
    lcrec = LCRec(config, train)
    source = lcrec.instruction_source(train)
    needed = options.steps * options.batch
    if source.size(0) < needed:
        sys.exit(f"{needed} rows are asked for and an epoch has {source.size(0)}; lower --steps or --batch")
    return Capped(source, needed, options.seed), lcrec.tokenizer, lcrec.tuning


def random_llama(tokenizer: Any, options: argparse.Namespace) -> Any:
    """The model that both ways train, with the same weights."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    if len(tokenizer) > options.rows_of_vocabulary:
        sys.exit(f"the tokenizer has {len(tokenizer)} tokens, more than --rows_of_vocabulary")
    config = LlamaConfig(
        vocab_size=options.rows_of_vocabulary,
        hidden_size=options.width,
        intermediate_size=options.mlp,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
        max_position_embeddings=2048,
        attention_dropout=0.0,
        tie_word_embeddings=options.tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(options.seed)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(options.device)


def plain_way(model: Any, source: Any, tokenizer: Any, settings: Any, options: argparse.Namespace) -> Training:
    """Training by ``transformers.Trainer`` as it comes."""
    import torch
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    from recbole_lcrec.llm.finetune import step_plan
    from recbole_lcrec.llm.tokens import tokenize_instructions

    rows = []
    for keys in step_plan(source, settings, options.seed).rows():
        instructions = [source.instruction(*key) for key in keys]
        for row in tokenize_instructions(tokenizer, instructions, settings.max_length):
            labels = [-100] * len(row.prompt) + row.response
            rows.append({"input_ids": row.prompt + row.response, "labels": labels})
            rows[-1]["attention_mask"] = [1] * len(labels)

    class InOrder(Trainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(rows)

    def train(record: Record, synchronize: Callable[[], None]) -> None:
        arguments = TrainingArguments(
            output_dir=options.folder,
            num_train_epochs=1,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            lr_scheduler_type=settings.scheduler,
            warmup_steps=settings.warmup_ratio,
            max_grad_norm=1.0,
            bf16=options.dtype == "bf16",
            use_cpu=options.device == "cpu",
            dataloader_num_workers=settings.workers,
            seed=options.seed,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        watched(InOrder, record, synchronize)(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
        ).train()

    return train


def package_way(model: Any, source: Any, tokenizer: Any, settings: Any, options: argparse.Namespace) -> Training:
    """Training by this package."""
    import torch

    from recbole_lcrec.llm import finetune as stage
    from recbole_lcrec.llm.backbone import Backbone

    def train(record: Record, synchronize: Callable[[], None]) -> None:
        def after_epoch(report: Any) -> bool:
            record.tokens, record.places = report.tokens, report.places
            return True

        backbone = Backbone(model, tokenizer)
        run = stage.TuningRun(
            source=source,
            settings=settings,
            deepspeed=None,
            device=torch.device(options.device),
            seed=options.seed,
            max_grad_norm=1.0,
        )
        with patch.object(stage, "Tuner", watched(stage.Tuner, record, synchronize)):
            stage.finetune(backbone, run, after_epoch)

    return train


def lower_high_water_mark() -> None:
    """Frees what can be freed and makes the peak so far the memory of this moment, where the kernel is Linux."""
    gc.collect()
    if platform.system() == "Linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def measure(options: argparse.Namespace) -> Outcome:
    """One way, in this process.

    Args:
        options: of ``tuning_speed.py``, ``way`` and ``folder`` among them.

    Returns:
        Losses of every step, seconds, tokens and memory in MiB, by the names that the report knows.
    """
    import torch

    torch.set_num_threads(options.threads)
    on_gpu = options.device == "cuda"

    def peak() -> float:
        unit = 2**10 if platform.system() == "Linux" else 2**20
        return torch.cuda.max_memory_allocated() / 2**20 if on_gpu else resource.getrusage(0).ru_maxrss / unit

    source, tokenizer, settings = prepare(options)
    model, record = random_llama(tokenizer, options), Record()
    way = {"plain": plain_way, "package": package_way}[options.way]
    train = way(model, source, tokenizer, settings, options)
    lower_high_water_mark()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    before = peak()
    train(record, torch.cuda.synchronize if on_gpu else lambda: None)
    grown = peak() - before
    head = model.get_output_embeddings().weight.numel()
    body = sum(parameter.numel() for parameter in model.parameters()) - (head if options.tied else 2 * head)
    seconds = np.diff(record.ends)[LEFT_OUT:]
    return {
        "losses": [float(loss) for loss in record.losses],
        "seconds": float(seconds.sum()),
        "seconds in all": record.ends[-1] - record.ends[0],
        "median step": float(np.median(seconds)),
        "busy": float(np.diff(record.busy)[LEFT_OUT:].mean()),
        "waits": sum(record.waits[LEFT_OUT : options.steps]) / float(seconds.sum()),
        "samples/s": len(seconds) * options.batch / float(seconds.sum()),
        "tokens": record.tokens,
        "places": record.places,
        "responses": response_tokens(source, tokenizer, options.steps * options.batch),
        "memory before": before,
        "memory": grown,
        "body": body,
        "head": head,
        "learned tokens": len(tokenizer),
    }


def response_tokens(source: Any, tokenizer: Any, rows: int) -> int:
    """Tokens of all responses, their end tokens included."""
    each = [source.instruction(0, datum) for datum in range(rows)]
    ids = tokenizer([one.response for one in each], add_special_tokens=False)["input_ids"]
    return sum(map(len, ids)) + sum(one.closed for one in each)
