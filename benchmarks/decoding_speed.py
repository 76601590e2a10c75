"""Constrained decoding beside ``generate`` with a prefix function and beside the prompt's forward pass alone.

    python benchmarks/decoding_speed.py --data_path=../shared/data --threads=2
    python benchmarks/decoding_speed.py --data_path=../shared/data --sections=prompts --no_common --rounds=3
    python benchmarks/decoding_speed.py --data_path=../shared/data --sections=prompts,histories,memory,everyone \
        --device=cuda --dtype=bf16 --model=0.5b --beams=20,50 --batch=256 --prompts=512 --sample=2048

A LLaMA with random weights (``small``: 6 layers, width 256, MLP 1024, 4 heads, 32,000 words and 1,024 index tokens) and
the published index of the data set. Sections:

``prompts``    64 prompts of 140 tokens. 16 words come first and are the same in all prompts; those the package reads
               once. With ``--no_common`` prompts begin with words of their own.
``histories``  users' own leave-one-out test histories, 20 items at most, with 16 words before and 16 after.
``batches``    users/s of the same prompts of 140 tokens by batch size.
``catalogue``  the search in random catalogues of several sizes; filling scores [users, items] apart.
``memory``     growth of peak memory at ``--memory_batch`` users, each way in a process of its own.
``everyone``   the Ranker on all test histories once: seconds.

In one process the contenders take turns: each round runs all of them, in the opposite order of the round before, after
one run of each that does not count. Users/s are medians over rounds; ratios are medians of each round's ratio. CPU ms
are processor time, which a busy machine changes less than wall time. The floor is the forward pass of every prompt with
the logits of its last token, without cache or mask, at the batch of the others and at the fastest of several.
``generate`` gets fewer prompts, since it is slow, and has neither end token nor length penalty. ``legal`` normalises
over legal tokens alone, so its scores are others than ``generate``'s.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from decoding_inputs import (
    MODELS,
    Catalogue,
    Wording,
    games_catalogue,
    prompts_of_length,
    random_catalogue,
    random_llama,
    test_histories,
)
from decoding_memory import memory_of
from decoding_ways import FLOOR, Way, contenders, floor, ranked, searched

from recbole_lcrec.decoding import SharedReader, Trie

Times = dict[str, list[tuple[float, float]]]
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def timed(run: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of wall and of processor time."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started, busy = perf_counter(), process_time()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - started, process_time() - busy


def in_turns(ways: Sequence[Way], rounds: int) -> Times:
    """The seconds of each way in each round."""
    times: Times = {way.name: [] for way in ways}
    for number in range(rounds + 1):
        for way in ways[:: -1 if number % 2 else 1]:
            if number:
                times[way.name].append(timed(way.run))
            elif not way.warm:
                way.run()
    return times


def table(rows: Sequence[dict[str, str]]) -> str:
    """Markdown."""
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)


def versus_table(ways: Sequence[Way], times: Times, best: str) -> str:
    """Users per second of each way, its ratio to ``generate`` and its share of the floor."""
    rates = {way.name: np.array([way.users / wall for wall, _ in times[way.name]]) for way in ways}
    rows = []
    for way in ways:
        rate = rates[way.name]
        row = {"way": way.name, "users at once": way.batch, "users": str(way.users)}
        row["users/s"] = f"{np.median(rate):.2f}"
        row["rounds"] = f"{rate.min():.2f} to {rate.max():.2f}"
        row["CPU ms/user"] = f"{1000 * statistics.median(busy for _, busy in times[way.name]) / way.users:.1f}"
        for other in (name for name in rates if name.startswith("generate")):
            row[f"x {other}"] = f"{np.median(rate / rates[other]):.2f}"
        row["share of the floor"] = f"{np.median(rate / rates[FLOOR]):.1%}"
        row["of the best floor"] = f"{np.median(rate / rates[best]):.1%}"
        rows.append(row)
    return table(rows)


def versus(
    model: Any, rows: Sequence[Sequence[int]], catalogue: Catalogue, options: argparse.Namespace, batch: int
) -> str:
    """All contenders on the same prompts, for each beam size."""
    sizes = [size for size in BATCHES if size <= len(rows)]
    tried = [Way(str(size), partial(floor, model, rows, size), len(rows), str(size)) for size in sizes]
    walls = in_turns(tried, 2)
    seconds = {way.batch: statistics.median(wall for wall, _ in walls[way.name]) for way in tried}
    fastest = min(seconds, key=lambda size: seconds[size])
    lines = [
        f"floor by batch, users/s: {', '.join(f'{size}: {len(rows) / wall:.1f}' for size, wall in seconds.items())}"
    ]
    for beam_size in options.beams:
        ways, notes = contenders(
            model, rows, catalogue.token_ids, beam_size, batch, options.generate_users, options.single_users
        )
        best = f"{FLOOR}, fastest batch"
        ways.insert(1, Way(best, partial(floor, model, rows, int(fastest)), len(rows), fastest))
        lines += ["", f"beam {beam_size}", versus_table(ways, in_turns(ways, options.rounds), best), "", *notes]
    return "\n".join(lines)


def prompts_section(model: Any, catalogue: Catalogue, options: argparse.Namespace) -> str:
    """Prompts of one length."""
    common = 0 if options.no_common else options.words
    head = f"{options.prompts} prompts of {options.tokens} tokens, of which the first {common} are common to all"
    return f"{head}\n{versus(model, prompts_of_length(catalogue, options), catalogue, options, options.batch)}"


def histories_section(model: Any, catalogue: Catalogue, options: argparse.Namespace) -> str:
    """Users' own histories."""
    histories = test_histories(options.folder, catalogue, options.sample, options.seed)
    rows = Wording(options.words, options.words, not options.no_common, options.seed).prompts(histories, catalogue)
    head = (
        f"{len(rows)} test histories of {statistics.mean(map(len, histories)):.2f} items in the mean, prompts of "
        f"{statistics.mean(map(len, rows)):.1f} tokens in the mean, {max(map(len, rows))} at most"
    )
    return f"{head}\n{versus(model, rows, catalogue, options, options.batch)}"


def batches_section(model: Any, catalogue: Catalogue, options: argparse.Namespace) -> str:
    """Users/s by batch size."""
    rows, beam_size = prompts_of_length(catalogue, options), options.beams[0]
    trie, ways = Trie.from_token_ids(catalogue.token_ids).to(model.device), []
    reader = SharedReader(model)
    sizes = [size for size in BATCHES if size <= len(rows)]
    for size in sizes:
        ways.append(Way(f"{FLOOR} {size}", partial(floor, model, rows, size), len(rows), str(size)))
        for normalizer in ("full", "legal"):
            run = partial(searched, reader, rows, trie, beam_size, normalizer, size)
            ways.append(Way(f"{normalizer} {size}", run, len(rows), str(size)))
    times = in_turns(ways, options.rounds)
    rate = {name: len(rows) / statistics.median(wall for wall, _ in each) for name, each in times.items()}
    names = (FLOOR, "full", "legal")
    return table([{"batch": str(size)} | {name: f"{rate[f'{name} {size}']:.1f}" for name in names} for size in sizes])


def catalogue_section(model: Any, catalogue: Catalogue, options: argparse.Namespace) -> str:
    """Random catalogues of several sizes, the same prompts: only the trie changes."""
    rows, ways, fills = prompts_of_length(catalogue, options), [], []
    n_rows, width = len(rows), options.beams[0]
    items = torch.randint(0, min(options.catalogues), (n_rows, width), device=model.device)
    values = torch.zeros((n_rows, width), device=model.device)

    def fill(n_items: int, scatter: bool) -> None:
        scores = torch.full((n_rows, n_items + 1), -torch.inf, device=model.device)
        if scatter:
            scores.scatter_(1, items + 1, values)

    reader = SharedReader(model)
    for size in options.catalogues:
        ids = random_catalogue(size, catalogue.words, options.seed).token_ids
        trie = Trie.from_token_ids(ids).to(model.device)
        for normalizer in ("full", "legal"):
            run = partial(searched, reader, rows, trie, width, normalizer, options.batch)
            ways.append(Way(f"{normalizer} {size}", run, n_rows, str(options.batch)))
        for name, scatter in (("torch.full", False), ("fill", True)):
            fills.append(Way(f"{name} {size}", partial(fill, size, scatter), n_rows, ""))
    times = in_turns(ways, options.rounds) | in_turns(fills, 3 * options.rounds)
    lines = []
    for size in options.catalogues:
        row = {"items": f"{size:,}"}
        for kind in ("full", "legal"):
            walls, smallest = times[f"{kind} {size}"], times[f"{kind} {options.catalogues[0]}"]
            row[f"{kind}, ms/user"] = f"{1000 * statistics.median(wall for wall, _ in walls) / n_rows:.2f}"
            ratio = statistics.median(a / b for (a, _), (b, _) in zip(walls, smallest, strict=True))
            row[f"{kind}, x {options.catalogues[0]:,}"] = f"{ratio:.3f}"
        for kind in ("torch.full", "fill"):
            row[f"{kind}, ms/user"] = f"{1000 * statistics.median(w for w, _ in times[f'{kind} {size}']) / n_rows:.4f}"
        lines.append(row)
    return table(lines)


def everyone_section(model: Any, catalogue: Catalogue, options: argparse.Namespace) -> str:
    """All test histories, once."""
    histories = test_histories(options.folder, catalogue, options.everyone, options.seed)
    rows = Wording(options.words, options.words, not options.no_common, options.seed).prompts(histories, catalogue)
    trie, lines, reader = Trie.from_token_ids(catalogue.token_ids), [], SharedReader(model)
    for beam_size in options.beams:
        for normalizer in ("full", "legal"):
            ranked(model, reader, rows[:64], trie, beam_size, normalizer)
            wall, _ = timed(partial(ranked, model, reader, rows, trie, beam_size, normalizer))
            lines.append({"beam": str(beam_size), "normaliser": normalizer, "users": f"{len(rows):,}"})
            lines[-1] |= {"seconds": f"{wall:.1f}", "users/s": f"{len(rows) / wall:.1f}"}
    return table(lines)


def memory_section(model: Any, catalogue: Catalogue, options: argparse.Namespace) -> str:
    """Growth of peak memory, each way in a fresh process."""
    environment, rows = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}, []
    for way in ("generate", "full", "legal"):
        command = [sys.executable, __file__, *sys.argv[1:], f"--memory_of={way}"]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        growth = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            {"way": way, "users at once": str(options.memory_batch), "growth of the peak, MiB": f"{growth:,.0f}"}
        )
    return f"beam {options.beams[0]}\n{table(rows)}"


SECTIONS = {
    "prompts": prompts_section,
    "histories": histories_section,
    "batches": batches_section,
    "catalogue": catalogue_section,
    "memory": memory_section,
    "everyone": everyone_section,
}
USUAL = ["prompts", "histories", "catalogue", "memory"]


def parsed() -> argparse.Namespace:
    """The command line."""
    integers = lambda text: [int(number) for number in text.split(",")]  # noqa: E731
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="Games")
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--sections", type=lambda text: text.split(","), default=USUAL, help=", ".join(SECTIONS))
    parser.add_argument("--model", choices=list(MODELS), default="small")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beams", type=integers, default=[20], help="beam sizes; some sections take the first alone")
    parser.add_argument("--batch", type=int, default=64, help="users at once, of beam_search and the floor")
    parser.add_argument("--prompts", type=int, default=64, help="prompts of --tokens tokens")
    parser.add_argument("--tokens", type=int, default=140)
    parser.add_argument("--words", type=int, default=16, help="words before a history, and at least so many after it")
    parser.add_argument("--no_common", action="store_true", help="no two prompts begin with the same words")
    parser.add_argument("--sample", type=int, default=512, help="users of the section histories")
    parser.add_argument("--everyone", type=int, help="so many users of the section everyone; none: all")
    parser.add_argument("--generate_users", type=int, default=64, help="for generate, batch 8; 0: not run")
    parser.add_argument("--single_users", type=int, default=8, help="for generate, batch 1; 0: not run")
    parser.add_argument("--catalogues", type=integers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--memory_batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--memory_of", choices=["generate", "full", "legal"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"--sections: {', '.join(sorted(unknown))} is none of {', '.join(SECTIONS)}")
    options.folder = Path(options.data_path) / options.dataset
    if not options.folder.is_dir():
        sys.exit(f"skipped: {options.folder} is not there")
    return options


def main() -> None:
    """Runs the sections and prints their tables as they come."""
    options = parsed()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        sys.stdout.write(json.dumps(memory_of(options.memory_of, options)) + "\n")
        return
    machine = f"{platform.machine()}, {options.threads} threads, PyTorch {torch.__version__}"
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    sys.stdout.write(f"{machine}, {device}, {options.dtype}, LLaMA {options.model}, {options.rounds} rounds\n")
    catalogue = games_catalogue(options.folder, MODELS[options.model]["words"])
    model = random_llama(options.model, options)
    for name in options.sections:
        sys.stdout.write(f"\n## {name}\n{SECTIONS[name](model, catalogue, options)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
