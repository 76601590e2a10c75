"""Seconds and memory from atomic files to the three loaders: RecBole 1.2.1's own way against this package's.

    python benchmarks/loading.py --data_path=../shared/data
    python benchmarks/loading.py --rows=10_000_000 --ways=ours --rounds=1

Games (published sequences, written as atomic files before anything is timed) or a synthetic shop of ``--rows``
interactions whose lines are in no order. Three columns are read (user, item, time) and the items' ids; SASRec,
histories of 20, leave-one-out, every item ranked. ``recbole`` is RecBole's ``create_dataset`` and
``data_preparation`` as RecBole ships them, ``ours`` is this package's with ``fast_loading``. Each load is in a
process of its own; the ways take turns, and medians over ``--rounds`` are shown. Seconds of processor time are what
to compare on a machine that does other things too. Growth is peak resident memory above what was resident after the
imports. Histories are cut out when batches are drawn here and before that by RecBole, so an epoch of training batches
is drawn after the loading and shown apart; it is in neither the seconds nor the growth of loading.
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
from statistics import median
from time import perf_counter, process_time

import numpy as np
import pandas as pd
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WAYS = ("recbole", "ours")
MIB = 2**20
SHOP = "synthetic"
PER_USER, PER_ITEM, DAY = 20, 100, 86_400


def peak() -> float:
    """Peak resident memory of this program, in MiB."""
    status = Path("/proc/self/status")  # getrusage would count what the process that started it held
    if status.is_file():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if platform.system() == "Linux" else MIB)


def resident() -> float:
    """Resident memory of this process now, in MiB; where the system does not say, its peak."""
    status = Path("/proc/self/statm")
    pages = int(status.read_text().split()[1]) if status.is_file() else None
    return peak() if pages is None else pages * resource.getpagesize() / MIB


def load(options: argparse.Namespace) -> dict[str, float]:
    """One load, in this process."""
    import torch

    from recbole_lcrec import Config
    from recbole_lcrec.bridge import loading

    torch.set_num_threads(options.threads)
    given = {
        **{"data_path": options.data_path, "checkpoint_dir": options.data_path, "show_progress": False},
        **{"use_gpu": False, "MAX_ITEM_LIST_LENGTH": 20, "train_batch_size": 2048, "eval_batch_size": 2048},
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
    }
    config = Config("SASRec", options.dataset, config_dict=given)
    if options.way == "recbole":
        from recbole.data import create_dataset, data_preparation
    else:
        config["fast_loading"] = True
        create_dataset, data_preparation = loading.create_dataset, loading.data_preparation
    before, wall, cpu = resident(), perf_counter(), process_time()
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    found = {
        "wall s": perf_counter() - wall,
        "CPU s": process_time() - cpu,
        "growth, MiB": peak() - before,
        "imports, MiB": before,
        "peak, MiB": peak(),
    }
    cpu = process_time()
    rows = sum(len(batch) for batch in train)
    found["CPU s of an epoch of batches"] = process_time() - cpu
    return {**found, "training rows": rows, "test rows": len(test._dataset), "validation rows": len(valid._dataset)}


def write_synthetic(folder: Path, rows: int, seed: int) -> None:
    """A shop of ``rows`` interactions: users of 5 and more, items by popularity, seconds of today's epoch."""
    rng = np.random.default_rng(seed)
    n_users, n_items = max(rows // PER_USER, 1), max(rows // PER_ITEM, 1)
    lengths = 5 + rng.geometric(1 / max(PER_USER - 5, 1), size=2 * n_users)
    users = np.repeat(np.arange(len(lengths)), lengths)[:rows]
    items = (n_items * rng.random(rows) ** 3).astype(np.int64)
    times = 1_600_000_000 + rng.integers(1000 * DAY, size=rows)
    order = rng.permutation(rows)
    frame = pd.DataFrame(
        {"user_id:token": users[order], "item_id:token": items[order], "timestamp:float": times[order]}
    )
    folder.mkdir(parents=True)
    frame.to_csv(folder / f"{SHOP}.inter", sep="\t", index=False)
    pd.DataFrame({"item_id:token": np.arange(n_items)}).to_csv(folder / f"{SHOP}.item", sep="\t", index=False)


def write_published(source: Path, name: str, folder: Path) -> None:
    """The published form as atomic files."""
    from recbole_lcrec.preparation.forms.convert import convert_published

    folder.mkdir(parents=True)
    convert_published(source / name, name, folder)


def main() -> None:
    """Loads one data set by each way, in turns, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", help="folder of the published Games")
    parser.add_argument("--rows", type=int, help="interactions of a synthetic shop, in place of Games")
    parser.add_argument("--ways", type=lambda text: text.split(","), default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--dataset", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        sys.stdout.write(json.dumps(load(options)) + "\n")
        return
    if (options.data_path is None) == (options.rows is None):
        parser.error("give one of --data_path and --rows")
    dataset = SHOP if options.rows else "Games"
    if not options.rows and not (Path(options.data_path) / dataset).is_dir():
        sys.exit(f"skipped: {options.data_path}/{dataset} is not there")
    found: dict[str, list[dict[str, float]]] = {way: [] for way in options.ways}
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    with tempfile.TemporaryDirectory() as folder:
        if options.rows:
            write_synthetic(Path(folder) / dataset, options.rows, options.seed)
        else:
            write_published(Path(options.data_path), dataset, Path(folder) / dataset)
        command = [sys.executable, str(Path(__file__).resolve()), f"--data_path={folder}", f"--dataset={dataset}"]
        command += [f"--threads={options.threads}"]
        for _ in range(options.rounds):
            for way in options.ways:
                done = subprocess.run(
                    [*command, f"--way={way}"],
                    env=environment,
                    cwd=folder,
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                found[way].append(json.loads(done.stdout.splitlines()[-1]))
    names = list(found[options.ways[0]][0])
    middle = {way: {name: median(one[name] for one in runs) for name in names} for way, runs in found.items()}
    rows = [[name, *(f"{middle[way][name]:,.4g}" for way in options.ways)] for name in names[:6]]
    rows += [[name, *(f"{middle[way][name]:,.0f}" for way in options.ways)] for name in names[6:]]
    table = tabulate(rows, headers=[dataset, *options.ways], tablefmt="pipe", disable_numparse=True)
    sys.stdout.write(f"{platform.machine()}, {options.threads} threads, {options.rounds} rounds\n{table}\n")
    if set(WAYS) <= set(options.ways):
        faster, smaller = (middle["recbole"][name] / middle["ours"][name] for name in ("CPU s", "growth, MiB"))
        sys.stdout.write(f"{faster:.1f} times less processor time, {1 / smaller:.0%} of the growth of memory\n")


if __name__ == "__main__":
    main()
