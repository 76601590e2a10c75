"""Item indices at scale: seconds and memory of training, quantization and the whole construction, by catalogue size.

    python benchmarks/index_scale.py --items=10000,100000 --threads=2 --processes=2
    python benchmarks/index_scale.py --items=1000000 --threads=2 --assign_only

Synthetic embeddings of 384 dimensions (a hundredth as many clusters as items) lie in a file that is mapped into memory,
as the package maps its own. Each size is measured in a process of its own, so that peak memory is its own, too; it
counts all resident memory, PyTorch and the mapped embeddings included. ``index`` is ``learn_item_index`` from the
embeddings to the finished artifact: training (one epoch with the default network, k-means start included), assignment
of codes, resolution of conflicts. With ``--processes=2`` the largest size is quantized and resolved once more by
torchrun with two processes, from the same trained network, and the codes are compared.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

DIM = 384
SEED = 0


def write_embeddings(path: Path, n_items: int) -> None:
    """Clustered float32 embeddings [n_items, DIM], written a chunk at a time."""
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(max(n_items // 100, 10), DIM)).astype(np.float32)
    embeddings = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n_items, DIM))
    for start in range(0, n_items, 50_000):
        rows = slice(start, min(start + 50_000, n_items))
        count = rows.stop - rows.start
        noise = rng.normal(size=(count, DIM)).astype(np.float32)
        embeddings[rows] = centres[rng.integers(len(centres), size=count)] + 0.5 * noise
    embeddings.flush()


def settings(epochs: int, n_items: int) -> Any:
    """The package's default index settings, for so many epochs and items."""
    from recbole_lcrec.config.resources import properties_dir
    from recbole_lcrec.config.settings import IndexSettings
    from recbole_lcrec.config.values import read_yaml
    from recbole_lcrec.indexing.sizes import sized

    defaults = IndexSettings.from_config(read_yaml(properties_dir() / "stages" / "index.yaml"))
    return sized(dataclasses.replace(defaults, method="rqvae", epochs=epochs), n_items)


def learn(embeddings: np.ndarray, root: Path) -> Path:
    """The finished artifact of one epoch's index."""
    import torch

    from recbole_lcrec.indexing.learn import learn_item_index
    from recbole_lcrec.runtime.artifacts import ArtifactStore

    store = ArtifactStore(root)
    return learn_item_index(
        len(embeddings), embeddings, settings(1, len(embeddings)), None, store, SEED, torch.device("cpu"), False
    ).folder


def measure(path: Path, n_items: int, root: Path) -> dict[str, float | int | str]:
    """One size, in this process."""
    import torch

    from recbole_lcrec.indexing.saved import load_method, read_report

    embeddings = np.load(path, mmap_mode="c")
    before = peak()
    started = perf_counter()
    folder = learn(embeddings, root)
    learned = perf_counter()
    report = read_report(folder)
    method = load_method(folder, torch.device("cpu")).method
    loaded = perf_counter()
    method.assign(embeddings, range(n_items))
    assigned = perf_counter() - loaded
    return {
        "items": n_items,
        "train, items/s": round(n_items / report["training_seconds"]),
        "assignment, s": round(assigned, 1),
        "assignment, items/s": round(n_items / assigned),
        "in conflict": f"{report['conflict_rate_before']:.2%}",
        "resolution, s": report["resolution_seconds"],
        "index in all, s": round(learned - started, 1),
        "peak, GiB": round(peak(), 2),
        "imports, GiB": round(before, 2),
    }


def assign(path: Path, n_items: int) -> dict[str, float | int | str]:
    """Quantization and conflict resolution of all items by a network that 20,000 of them have trained for 3 epochs."""
    import torch

    from recbole_lcrec.indexing.base import Training
    from recbole_lcrec.indexing.item_index import conflict_rate
    from recbole_lcrec.indexing.methods import index_method

    embeddings = np.load(path, mmap_mode="c")
    method, _ = index_method("rqvae").train(
        embeddings[:20_000], Training(settings(3), SEED, torch.device("cpu"), False)
    )
    started = perf_counter()
    assignment = method.assign(embeddings, range(n_items))
    assigned = perf_counter()
    resolution = method.resolve_conflicts(assignment, embeddings)
    return {
        "items": n_items,
        "assignment, s": round(assigned - started, 1),
        "in conflict": f"{conflict_rate(assignment.codes):.2%}",
        "resolution, s": round(perf_counter() - assigned, 1),
        "moved": resolution.moved,
        "peak, GiB": round(peak(), 2),
        "all distinct": str(conflict_rate(resolution.codes) == 0),
    }


def peak() -> float:
    """Peak resident memory of this process, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def digest(root: Path) -> str:
    """SHA-256 of the one finished index below a folder of artifacts."""
    (path,) = root.glob("index-*/codes.npy")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    """Measures each size in a process of its own and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=lambda text: [int(n) for n in text.split(",")], default=[10_000, 100_000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1, help="learn the largest size again, split so")
    parser.add_argument("--assign_only", action="store_true", help="a network trained on 20,000 items quantizes all")
    parser.add_argument("--worker", nargs=3, metavar=("KIND", "FILE", "ROOT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        kind, path, root = options.worker[0], Path(options.worker[1]), Path(options.worker[2])
        if kind == "learn":
            learn(np.load(path, mmap_mode="c"), root)
        else:
            row = assign(path, options.items[0]) if kind == "assign" else measure(path, options.items[0], root)
            sys.stdout.write(json.dumps(row) + "\n")
        return
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    rows, kind = [], "assign" if options.assign_only else "measure"
    with tempfile.TemporaryDirectory() as folder:
        for n_items in options.items:
            path, root = Path(folder) / f"{n_items}.npy", Path(folder) / f"artifacts-{n_items}"
            write_embeddings(path, n_items)
            flags = [f"--items={n_items}", "--worker", kind, str(path), str(root)]
            done = subprocess.run(
                [sys.executable, __file__, *flags], env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
        table = tabulate(rows, headers="keys", tablefmt="pipe")
        sys.stdout.write(f"{platform.machine()}, {options.threads} threads\n{table}\n")
        if options.processes > 1 and not options.assign_only:
            split = Path(folder) / "split"  # the trained method goes along; quantizing and resolving are done anew
            (trained,) = root.glob("indexer-*")
            shutil.copytree(trained, split / trained.name)
            launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={options.processes}"]
            flags = ["--worker", "learn", str(path), str(split)]
            one_thread_less = {**environment, "OMP_NUM_THREADS": str(max(1, options.threads // options.processes))}
            subprocess.run([*launcher, __file__, *flags], env=one_thread_less, check=True)
            same = digest(root) == digest(split)
            sys.stdout.write(f"{options.processes} processes give {'the same' if same else 'ANOTHER'} index\n")


if __name__ == "__main__":
    main()
