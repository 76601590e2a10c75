"""Seconds and memory from the data files to the first batch of alignment tuning.

    python benchmarks/tuning_preparation.py --data_path=../shared/data --threads=2

Games (SEQ; its texts are not at hand) and Industrial_and_Scientific (all task families), each with its published index,
in a process of its own and with no artifact to reuse. A stage is timed where the package's own run passes it:
``create_dataset`` reads the published files, converts them and mends conflicts of the index; ``data_preparation`` is
RecBole's split with its augmentation, whose share is measured apart; ``model`` learns a tokenizer and draws a small
model; ``source`` is intentions, cut texts and counts; ``first rows`` draws and tokenizes the first 1,000 instructions
of the run. After that, and not in the total, one whole epoch of instructions is drawn, none of which is kept.
Every time is given in wall seconds and, in brackets, seconds of processor time. Peak memory is resident memory, PyTorch
included; ``growth`` is what came on top of the imports.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

RUNS = {"Games": ["seq"], "Industrial_and_Scientific": ["seq", "mut", "asy", "ite", "per"]}
FIRST_ROWS = 1000
SECONDS, GIB = 60, 2
"""What a preparation may take on two cores."""


def peak() -> float:
    """Peak resident memory of this process, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if platform.system() == "Linux" else 2**30)


def now() -> np.ndarray:
    """Wall and processor time, in seconds."""
    return np.array([perf_counter(), process_time()])


def words(seconds: np.ndarray) -> str:
    """Wall seconds, and processor time in brackets."""
    return f"{seconds[0]:.1f} ({seconds[1]:.1f})"


def timed(function: Callable[..., Any], spent: list[np.ndarray]) -> Callable[..., Any]:
    """The function, which also notes how long each call took."""

    def call(*args: Any, **kwargs: Any) -> Any:
        started = now()
        result = function(*args, **kwargs)
        spent.append(now() - started)
        return result

    return call


def prepare(options: argparse.Namespace) -> dict[str, str]:
    """One data set, in this process."""
    import torch

    from recbole_lcrec import Config, create_dataset
    from recbole_lcrec.bridge.augmentation import FastAugmentation
    from recbole_lcrec.bridge.loading import data_preparation
    from recbole_lcrec.llm.collator import InstructionCollator
    from recbole_lcrec.llm.finetune import step_plan
    from recbole_lcrec.models.lcrec.model import LCRec

    torch.set_num_threads(options.threads)
    given = {
        **{"data_path": options.data_path, "checkpoint_dir": options.folder, "show_progress": False, "use_gpu": False},
        **{"seed": options.seed, "epochs": 1, "tuning_tasks": RUNS[options.dataset], "index_report": False},
    }
    config = Config("LCRec", options.dataset, config_dict=given, run=["LCRec"])
    augmenting: list[np.ndarray] = []
    FastAugmentation.data_augmentation = timed(FastAugmentation.data_augmentation, augmenting)

    before, times = peak(), [now()]
    dataset = create_dataset(config)
    times.append(now())
    train = data_preparation(config, dataset)[0]._dataset
    times.append(now())
    model = LCRec(config, train)
    times.append(now())
    source = model.instruction_source(train)
    times.append(now())
    plan = step_plan(source, model.tuning, options.seed)
    collator = InstructionCollator(model.tokenizer, model.tuning.max_length)
    shown = 0
    for keys in islice(plan.rows(), -(-FIRST_ROWS // plan.rows_per_step)):
        shown += len(collator([source.instruction(*key) for key in keys])["lengths"])
    times.append(now())
    prepared = peak()
    for key in chain.from_iterable(plan.rows()):
        source.instruction(*key)
    drawn = now() - times[-1]

    total, augmented = times[-1] - times[0], np.sum(augmenting, axis=0)
    fits = total[0] < SECONDS and prepared < GIB and shown >= min(FIRST_ROWS, source.size(0))
    names = ("create_dataset", "data_preparation", "model", "source", "first rows")
    stages = {name: words(after - start) for name, start, after in zip(names, times, times[1:], strict=False)}
    return {
        "data set": f"{options.dataset} ({', '.join(RUNS[options.dataset])})",
        "instructions": f"{source.size(0):,}",
        **stages,
        "in all, s": words(total),
        "RecBole's augmentation": f"{words(augmented)}, {augmented[0] / total[0]:.0%}",
        "imports, GiB": f"{before:.2f}",
        "peak, GiB": f"{prepared:.2f}",
        "growth, GiB": f"{prepared - before:.2f}",
        "an epoch drawn, s": words(drawn),
        "peak then, GiB": f"{peak():.2f}",
        "within bounds": "yes" if fits else "NO",
    }


def main() -> None:
    """Prepares each data set in a process of its own and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--datasets", type=lambda text: text.split(","), default=list(RUNS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--dataset", choices=list(RUNS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.dataset:
        sys.stdout.write(json.dumps(prepare(options)) + "\n")
        return
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    rows = []
    for dataset in options.datasets:
        if not (Path(options.data_path) / dataset).is_dir():
            sys.exit(f"skipped: {options.data_path}/{dataset} is not there")
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, *sys.argv[1:], f"--dataset={dataset}", f"--folder={folder}"]
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    turned = [[name, *(row[name] for row in rows)] for name in rows[0]]
    table = tabulate(turned[1:], headers=turned[0], tablefmt="pipe", disable_numparse=True)
    sys.stdout.write(f"{platform.machine()}, {options.threads} threads; stages in seconds\n{table}\n")


if __name__ == "__main__":
    main()
