"""The trie at scale: seconds and memory of building it, and the time of one step of the search, by catalogue size.

    python benchmarks/trie_scale.py --items=10000,100000,1000000,10000000

The items are distinct random rows of 4 codes of 256 each, shuffled, as token ids from 32,000 on. One process writes
them and another one, which has never held more than they take, reads them and builds the trie; so the growth of peak
memory is that of building alone. User seconds say more than the clock where other work shares the processors. A step
asks for the children of 64 x 20 nodes at once (the median of its repetitions). ``restrict`` is the trie of a random
half of the items, ``load`` reads the saved file.
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
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

N_LEVELS, N_CODES, FIRST_TOKEN = 4, 256, 32_000
N_USERS, N_BEAMS = 64, 20
SEED = 0


def write_rows(path: Path, n_items: int) -> None:
    """Distinct random token ids [n_items, N_LEVELS], int64, in no order."""
    rng = np.random.default_rng(SEED)
    numbers = np.unique(rng.integers(N_CODES**N_LEVELS, size=n_items + n_items // 100 + 1000))
    rng.shuffle(numbers)
    codes = np.stack(np.unravel_index(numbers[:n_items], (N_CODES,) * N_LEVELS), axis=1)
    np.save(path, codes + FIRST_TOKEN + N_CODES * np.arange(N_LEVELS))


def measure(path: Path, repetitions: int) -> dict[str, Any]:
    """One size, in this process."""
    import torch

    from recbole_lcrec.decoding.trie import Trie
    from recbole_lcrec.decoding.trie_file import load_trie, save_trie

    Trie.from_token_ids(np.arange(2000).reshape(500, 4)).restricted([0])  # loads what is loaded on first use
    ids = np.load(path)
    generator = np.random.default_rng(SEED)
    before, started, user = peak(), perf_counter(), user_seconds()
    trie = Trie.from_token_ids(ids)
    built, built_user, grown = perf_counter() - started, user_seconds() - user, peak() - before
    row = {
        "items": len(ids),
        "nodes": trie.level_offsets[-1],
        "build, s": round(built, 2),
        "of it user, s": round(built_user, 2),
        "growth of the peak, MiB": round(grown),
        "the rows, MiB": round(ids.nbytes / 2**20),
    }
    for level in range(N_LEVELS):
        low, high = trie.level_offsets[level], trie.level_offsets[level + 1]
        nodes = torch.from_numpy(generator.integers(low, high, size=(N_USERS, N_BEAMS)))
        row[f"step {level + 1}, ms"] = round(1000 * step_seconds(trie, nodes, level, repetitions), 2)
    allowed = generator.random(len(ids)) < 0.5
    started = perf_counter()
    trie.restricted(allowed)
    row["restrict, s"] = round(perf_counter() - started, 2)
    saved = path.with_suffix(".safetensors")
    save_trie(trie, saved, "benchmark")
    started = perf_counter()
    load_trie(saved, "benchmark")
    row["load, s"] = round(perf_counter() - started, 2)
    return row


def step_seconds(trie: Any, nodes: Any, level: int, repetitions: int) -> float:
    """The median time of asking for the children of all nodes."""
    seconds = []
    for _ in range(repetitions):
        started = perf_counter()
        trie.children(nodes, level)
        seconds.append(perf_counter() - started)
    return float(np.median(seconds))


def peak() -> float:
    """Peak resident memory of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def user_seconds() -> float:
    """Seconds that this process has spent computing."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def main() -> None:
    """Measures each size in a process of its own and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [10_000, 100_000, 1_000_000, 10_000_000]
    parser.add_argument("--items", type=lambda text: [int(n) for n in text.split(",")], default=sizes)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=200, help="of each step")
    parser.add_argument("--worker", nargs=2, metavar=("KIND", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        kind, path = options.worker[0], Path(options.worker[1])
        if kind == "write":
            write_rows(path, options.items[0])
        else:
            sys.stdout.write(json.dumps(measure(path, options.repetitions)) + "\n")
        return
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n_items in options.items:
            path = Path(folder) / f"{n_items}.npy"
            command = [sys.executable, __file__, f"--items={n_items}", f"--repetitions={options.repetitions}"]
            subprocess.run([*command, "--worker", "write", str(path)], env=environment, check=True)
            done = subprocess.run(
                [*command, "--worker", "measure", str(path)],
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            path.unlink()
    table = tabulate(rows, headers="keys", tablefmt="pipe")
    sys.stdout.write(f"{platform.machine()}, {options.threads} threads\n{table}\n")


if __name__ == "__main__":
    main()
