"""Training with each of the package's DeepSpeed files: a tiny LLaMA gets the same weights as with plain PyTorch.

On a CPU, offloaded tensors stay in the memory that the run computes in. So these runs show that the files are complete,
that nothing needs a compiler and that the optimizer is the same, not how much GPU memory they save.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recbole_lcrec.config.resources import properties_dir

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.stem for path in (properties_dir() / "deepspeed").iterdir())
RUNS = [("none", "fp32"), *((name, precision) for precision in ("fp32", "bf16") for name in FILES)]
PROGRAM = """
import json, os, sys, traceback
from contextlib import nullcontext
import deepspeed as _
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from recbole_lcrec.llm.deepspeed_environment import deepspeed_environment
from recbole_lcrec.llm.deepspeed_files import deepspeed_config
from recbole_lcrec.config.resources import properties_dir

def train(name, precision):
    with nullcontext() if name == "none" else deepspeed_environment(torch.device("cpu")):
        steps(name, precision)

def steps(name, precision):
    deepspeed = None if name == "none" else deepspeed_config(name, properties_dir() / "deepspeed")
    torch.manual_seed(3)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=32,
    ))
    rows = [torch.randint(32, (8,), generator=torch.Generator().manual_seed(row)) for row in range(12)]
    arguments = TrainingArguments(
        output_dir="out", max_steps=3, per_device_train_batch_size=4, learning_rate=0.01, weight_decay=0.1,
        max_grad_norm=0.5, lr_scheduler_type="constant", bf16=precision == "bf16", deepspeed=deepspeed, use_cpu=True,
        logging_strategy="steps", logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, seed=3,
    )
    optimizer = None if deepspeed else torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    data = [{"input_ids": row, "labels": row} for row in rows]
    trainer = Trainer(model=model, args=arguments, train_dataset=data, optimizers=(optimizer, None))
    trainer.train()
    engine, weights = trainer.model_wrapped, trainer.accelerator.get_state_dict(trainer.model_wrapped)
    result = {
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "embedding": weights["model.embed_tokens.weight"].float().flatten().tolist(),
    }
    if deepspeed:
        result["stage"] = engine.zero_optimization_stage()
        result["offload"] = [bool(engine.zero_use_cpu_optimizer()), engine.zero_offload_param() is not None]
        result["optimizer"] = type(engine.basic_optimizer).__module__
        result["dtype"] = str(next(iter(weights.values())).dtype)
    with open(f"{name}-{precision}.json", "w") as file:
        json.dump(result, file)

for run in sys.argv[1:]:  # DeepSpeed changes global state of a process, and importing it takes longer than a run
    child = os.fork()
    if not child:
        try:
            train(*run.split(":"))
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    """(file, precision) -> result of three steps, or the log if they failed; no compiler is on the PATH."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environment.update(OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT), DS_ACCELERATOR="cpu", CUDA_VISIBLE_DEVICES="")
    environment.update(PATH="/nowhere", CXX="none")
    done = subprocess.run(
        [sys.executable, "program.py", *(f"{name}:{precision}" for name, precision in RUNS)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    files = {run: folder / f"{'-'.join(run)}.json" for run in RUNS}
    return {
        run: json.loads(file.read_text(encoding="utf-8")) if file.is_file() else done.stderr[-4000:]
        for run, file in files.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_file_trains_like_plain_pytorch(results: dict[tuple[str, str], Any], name: str, precision: str) -> None:
    plain, result = results["none", "fp32"], results[name, precision]
    assert isinstance(result, dict), result
    assert (result["stage"], result["offload"]) == (int(name[4]), ["offload" in name, name == "zero3-offload"])
    assert result["optimizer"].startswith("torch.optim")  # DeepSpeed's own needs a compiler
    assert result["dtype"] == {"fp32": "torch.float32", "bf16": "torch.bfloat16"}[precision]
    exact = precision == "fp32"
    assert result["losses"] == pytest.approx(plain["losses"], rel=1e-5 if exact else 1e-2)
    if exact:  # learning rate, weight decay and clipping reached the steps
        assert result["embedding"] == pytest.approx(plain["embedding"], rel=1e-4, abs=1e-6)
