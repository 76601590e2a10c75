"""Conflict resolution at scale: seconds, memory and added distance, beside repeated Sinkhorn rounds.

    OMP_NUM_THREADS=2 python benchmarks/index_conflicts.py --items=10000,100000,1000000

A synthetic catalogue per size: indices of H levels x K codes drawn at random, a share of the items in conflict, in
groups whose sizes follow a power law; codebooks are normal with half the scale at each level, latents the sums of their
code vectors and noise of ``--noise`` times the last level's scale. Every measurement is a process of its own that only
reads its arrays, so that the peak memory above them is the way's own. Sinkhorn rounds run up to ``--rounds_up_to``
items. They leave items in conflict where they are, so the added distance is given per item in conflict as well.
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

WAYS = {"exact": "this package", "rounds": "Sinkhorn rounds"}


def group_sizes(total: int, largest: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Sizes of 2 to ``largest`` with probability proportional to ``size ** -exponent``, ``total`` in all."""
    sizes = np.arange(2, largest + 1)
    weights = sizes**-exponent
    drawn = rng.choice(sizes, size=total // 2 + 1, p=weights / weights.sum())
    ends = np.cumsum(drawn)
    fitting = drawn[: np.searchsorted(ends, total, side="right")]
    rest = total - fitting.sum()
    return np.append(fitting, rest) if rest >= 2 else fitting


def write_catalogue(folder: Path, n_items: int, options: argparse.Namespace) -> None:
    """Saves codes int64 ``[N, H]``, latents float32 ``[N, d]`` and codebooks float32 ``[H, K, d]``."""
    rng = np.random.default_rng(options.seed)
    levels, size, dim = options.levels, options.codebook_size, options.dim
    groups = group_sizes(int(options.share * n_items), options.largest, options.exponent, rng)
    n_leaves = n_items - groups.sum() + len(groups)
    leaves = np.unique(rng.integers(size**levels, size=2 * n_leaves))
    leaves = rng.permutation(leaves)[:n_leaves]
    if len(leaves) < n_leaves:
        sys.exit(f"{size}^{levels} indices are too few for {n_items} items spread at random")
    repeats = np.append(groups, np.ones(n_leaves - len(groups), dtype=np.int64))
    rows = rng.permutation(np.repeat(leaves, repeats))
    codes = np.stack(np.unravel_index(rows, (size,) * levels), axis=1)
    scales = 0.5 ** np.arange(levels)
    codebooks = (rng.standard_normal((levels, size, dim)) * scales[:, None, None]).astype(np.float32)
    latents = np.float32(options.noise * scales[-1]) * rng.standard_normal((n_items, dim), dtype=np.float32)
    for level in range(levels):
        latents += codebooks[level, codes[:, level]]
    for name, array in (("codes", codes), ("latents", latents), ("codebooks", codebooks)):
        np.save(folder / f"{name}.npy", array)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(folder: Path, way: str) -> dict[str, Any]:
    """Runs one way on a saved catalogue."""
    from sinkhorn_rounds import in_conflict, sinkhorn_rounds

    from recbole_lcrec.indexing.conflicts import resolve_conflicts

    arrays = (np.load(folder / f"{name}.npy") for name in ("codes", "latents", "codebooks"))
    codes, latents, codebooks = arrays
    before, started = peak_gib(), perf_counter()
    if way == "exact":
        resolved = resolve_conflicts(codes, latents, codebooks).codes
    else:
        resolved = sinkhorn_rounds(codes, latents, codebooks)
    seconds, memory = perf_counter() - started, peak_gib() - before
    moved = np.flatnonzero((resolved != codes).any(axis=1))
    levels = np.arange(codes.shape[1])

    def errors(chosen: np.ndarray) -> np.ndarray:
        lost = latents[moved] - codebooks[levels, chosen[moved]].sum(axis=1)
        return (lost.astype(np.float64) ** 2).sum(axis=1)

    groups = [len(rows) for rows in in_conflict(codes)]
    added = float((errors(resolved) - errors(codes)).sum())
    return {
        "items": len(codes),
        "way": WAYS[way],
        "in conflict": sum(groups),
        "largest group": max(groups, default=0),
        "seconds": round(seconds, 2),
        "peak GiB above inputs": round(memory, 2),
        "moved": len(moved),
        "left their prefix": int((resolved[:, :-1] != codes[:, :-1]).any(axis=1).sum()),
        "added distance per moved item": round(added / max(1, len(moved)), 4),
        "per item in conflict": round(added / max(1, sum(groups)), 4),
        "still in conflict": sum(map(len, in_conflict(resolved))),
        "all distinct": "no" if in_conflict(resolved) else "yes",
    }


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=lambda text: [int(n) for n in text.split(",")], default=[10**4, 10**5, 10**6])
    parser.add_argument("--rounds_up_to", type=int, default=10**5, help="most items for the Sinkhorn rounds")
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--codebook_size", type=int, default=256)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--share", type=float, default=0.1, help="of the items in conflict")
    parser.add_argument("--largest", type=int, default=2000, help="most items of one index")
    parser.add_argument("--exponent", type=float, default=2.0, help="of the power law of group sizes")
    parser.add_argument("--noise", type=float, default=0.3, help="of the latents, in scales of the last level")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", choices=["write", *WAYS], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Prints one row per size and way; with ``--step``, is one of the processes that this starts."""
    options = parsed()
    if options.step == "write":
        write_catalogue(options.folder, options.items[0], options)
        return
    if options.step:
        sys.stdout.write(json.dumps(measure(options.folder, options.step)))
        return
    results = []
    for n_items in options.items:
        with tempfile.TemporaryDirectory() as folder:
            for step in ("write", *WAYS):
                if step == "rounds" and n_items > options.rounds_up_to:
                    continue
                given = [*sys.argv[1:], f"--items={n_items}", f"--folder={folder}", f"--step={step}"]
                done = subprocess.run([sys.executable, __file__, *given], check=True, stdout=subprocess.PIPE, text=True)
                results += [json.loads(done.stdout)] if step != "write" else []
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    sys.stdout.write(f"{platform.machine()}, {threads} threads, Python {platform.python_version()}\n")
    sys.stdout.write(tabulate(results, headers="keys", tablefmt="pipe") + "\n")


if __name__ == "__main__":
    main()
