"""Alignment tuning beside ``transformers.Trainer`` as it comes: samples per second, padding, memory, losses.

    python benchmarks/tuning_speed.py --data_path=../shared/data --threads=2
    python benchmarks/tuning_speed.py --data_path=../shared/data --steps=20 --rounds=1 --set tuning_batch_tokens=4096
    python benchmarks/tuning_speed.py --data_path=../shared/data --device=cuda --dtype=bf16 --layers=16 --width=2048 \
        --mlp=8192 --heads=32 --peak_tflops=989

Both ways train the same random LLaMA of exactly ``--rows_of_vocabulary`` rows in float32 (``bf16``: under autocast) on
the same instructions of all task families, the same rows in the same order at every step, with AdamW, schedule, weight
decay and clipping alike and without dropout. Item indices are drawn at random, 4 levels of 256 codes; a tokenizer is
learned from the texts, which may have fewer tokens than the model has rows.

``plain`` is ``transformers.Trainer`` on rows that were tokenized beforehand, right padded to the longest of their batch
by transformers' own collator, with the model's own loss over the logits of all positions; only its sampler is set, to
keep the order. ``package`` is ``recbole_lcrec.llm.finetune.finetune``, which draws and tokenizes as it goes.

Each way runs in a process of its own, one after the other in each round, the first one in turn. The first five steps
are left out of all times. ``CPU s/step`` is processor time, which a busy machine changes less than wall time. ``waits``
is the share of time that the trainer waits for its next batch. Memory is the growth of the peak (resident, or allocated
on the GPU) from the loaded model, tokenizer and data on; the kernel's high-water mark is lowered to what is resident
before the first step. MFU counts 6 FLOPs per token and weight that multiplies (the table of input embeddings does not),
once with the head at every token, once with it at response tokens alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tuning_ways import LEFT_OUT, WAYS, Outcome, measure


def report(rounds: list[dict[str, Outcome]], options: argparse.Namespace) -> str:
    """One table of medians over rounds, one of ratios, and how far the loss curves are apart."""
    samples = options.steps * options.batch
    rows = []
    for way in rounds[0]:
        runs = [one[way] for one in rounds]
        rate = statistics.median(run["samples/s"] for run in runs)
        run = runs[0]  # what follows from the data alone is the same in every round
        tokens, responses = run["tokens"] / samples * rate, run["responses"] / samples * rate
        row: dict[str, str] = {"way": way, "samples/s": f"{rate:.2f}"}
        row["s/step, median"] = f"{statistics.median(run['median step'] for run in runs):.3f}"
        row["CPU s/step"] = f"{statistics.median(run['busy'] for run in runs):.3f}"
        row |= {"tokens/s": f"{tokens:,.0f}", "padding": f"{1 - run['tokens'] / run['places']:.1%}"}
        row["waits"] = f"{statistics.median(run['waits'] for run in runs):.2%}"
        row["loaded, MiB"] = f"{statistics.median(run['memory before'] for run in runs):,.0f}"
        row["growth, MiB"] = f"{statistics.median(run['memory'] for run in runs):,.0f}"
        if options.peak_tflops:
            row["MFU"] = f"{6 * (run['body'] + run['head']) * tokens / options.peak_tflops / 1e12:.1%}"
            useful = 6 * (run["body"] * tokens + run["head"] * responses)
            row["MFU, head at responses"] = f"{useful / options.peak_tflops / 1e12:.1%}"
        rows.append(row)
    first = next(iter(rounds[0].values()))
    lines = [
        f"{first['body'] + first['head']:,} weights that multiply, tokenizer of {first['learned tokens']:,} tokens; "
        f"{first['tokens'] / samples:.1f} tokens a sample, {first['responses'] / samples:.1f} of them responses",
        tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True),
    ]
    if len(rounds[0]) == len(WAYS):
        lines += ["", comparison(rounds)]
    return "\n".join(lines)


def comparison(rounds: list[dict[str, Outcome]]) -> str:
    """Ratios, package over plain, and the distance of the loss curves relative to plain."""
    lines = []
    for name, words in (("samples/s", "samples per second"), ("busy", "processor time"), ("memory", "memory")):
        ratios = [one["package"][name] / one["plain"][name] for one in rounds]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        lines.append(f"{words}, package / plain: {statistics.median(ratios):.2f} (rounds: {each})")
    plain, ours = (np.array([one[way]["losses"] for one in rounds]) for way in WAYS)
    apart = np.abs(ours - plain) / plain
    steps = list(range(50, plain.shape[1] + 1, 50)) or [plain.shape[1]]
    shown = [f"step {step}: {plain[0, step - 1]:.4f} and {ours[0, step - 1]:.4f}" for step in steps]
    lines.append(
        f"losses, plain and package: {', '.join(shown)}; largest difference there "
        f"{apart[:, np.array(steps) - 1].max():.3%}, at any step {apart.max():.3%}"
    )
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="Industrial_and_Scientific")
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", type=lambda text: text.split(","), default=list(WAYS))
    parser.add_argument("--batch", type=int, default=32, help="rows of a step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    for name, size in (("layers", 6), ("width", 256), ("mlp", 1024), ("heads", 4), ("rows_of_vocabulary", 33_024)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--tied", action="store_true", help="one matrix for input embeddings and head")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--peak_tflops", type=float, help="of the device in this number format; gives MFU")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the package")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps <= LEFT_OUT:
        parser.error(f"--steps must be more than {LEFT_OUT}, which are left out of all times")
    if not (Path(options.data_path) / options.dataset).is_dir():
        sys.exit(f"skipped: {options.data_path}/{options.dataset} is not there")
    return options


def main() -> None:
    """Runs each way in a process of its own and prints the report."""
    options = parsed()
    if options.way:
        sys.stdout.write(json.dumps(measure(options)) + "\n")
        return
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    rounds: list[dict[str, Outcome]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            found: dict[str, Outcome] = {}
            for way in options.ways[:: -1 if number % 2 else 1]:
                command = [sys.executable, __file__, *sys.argv[1:], f"--way={way}", f"--folder={folder}"]
                done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
                found[way] = json.loads(done.stdout.splitlines()[-1])
            rounds.append({way: found[way] for way in options.ways})
    machine = f"{platform.machine()}, {options.threads} threads, {options.device}, {options.dtype}"
    what = f"{options.steps} steps of {options.batch}, {len(rounds)} round(s)"
    sys.stdout.write(f"{machine}, {what}\n{report(rounds, options)}\n")


if __name__ == "__main__":
    main()
