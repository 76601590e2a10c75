"""Ranking quality of models on one data set: several seeds, bootstrap intervals over users.

    python benchmarks/ranking.py --dataset=Industrial_and_Scientific --data_path=../shared/data \
        --models=LCRec,SASRec --seeds=2020,2021,2022 --config_files=benchmarks/industrial.yaml --out=benchmarks/out
    python benchmarks/ranking.py --dataset=Industrial_and_Scientific --data_path=../shared/data --models=LCRec \
        --vary=index_method=rqvae,rqkmeans,random,supplement,vanilla --config_files benchmarks/index_methods.yaml
    python benchmarks/ranking.py --dataset=Industrial_and_Scientific --data_path=../shared/data \
        --models=LCRec,SASRec,GRU4Rec,BERT4Rec,Caser,HGN,FDSA,S3Rec --config_files properties/baselines.yaml

Every (model, seed) is one run of the package's own stages. Its per-user ranks are kept in
``<out>/<dataset>-<model>-<seed>-<settings>.npz``, named by its settings, and are not computed again: a run that was
broken off goes on, and several processes can share the folder, each with models or seeds of its own. The table gives
means over seeds; intervals are 95% percentile bootstrap over users of the per-user metric averaged over seeds. With
``--vary`` each model is run once for each value of one parameter; a list stands in brackets. LCRec's index, and how
pure its prefixes are where ``index_label_field`` names labels, is kept beside the ranks.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import re
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy import stats
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

METRICS = ("Hit@1", "Hit@5", "Hit@10", "NDCG@5", "NDCG@10")
Arrays = dict[str, np.ndarray]


def metric_per_user(hits: np.ndarray, metric: str) -> np.ndarray:
    """float [U]: a metric of users with one relevant item each.

    Args:
        hits: bool [U, K], whether the item at each rank is the relevant one.
        metric: ``Hit@k`` or ``NDCG@k``.
    """
    name, k = metric.split("@")
    top = hits[:, : int(k)].astype(np.float64)
    return top.sum(axis=1) if name == "Hit" else (top / np.log2(np.arange(2, int(k) + 2))).sum(axis=1)


def configuration(model_name: str, seed: int, varied: Mapping[str, Any], options: argparse.Namespace) -> Any:
    """The configuration of one run."""
    from recbole_lcrec import Config

    folders = {
        "checkpoint_dir": str(options.out / f"{model_name}-{seed}"),
        "artifact_dir": str(options.out / "artifacts"),
    }
    given = {"seed": seed, "show_progress": False, **folders, **varied}
    if options.data_path is not None:
        given["data_path"] = options.data_path
    return Config(
        model_name, options.dataset, config_file_list=options.config_files, config_dict=given, run=options.models
    )


def settings_of(config: Any) -> str:
    """Eight digits that stand for every setting but the folders."""
    from recbole_lcrec.runtime.artifacts import fingerprint

    folders = {"checkpoint_dir", "data_path", "artifact_dir"}
    return fingerprint({key: value for key, value in config.to_plain().items() if key not in folders})[:8]


def run(config: Any) -> Arrays:
    """Trains and tests one model; returns per-user hits and what the run cost."""
    from recbole.utils import init_logger

    from recbole_lcrec.bridge.building import build_run, build_trainer

    started = perf_counter()
    model_name = config.label
    init_logger(config)
    built = build_run(config)
    pretrain = config.spec.part("pretrain")
    model = built.model if pretrain is None else pretrain(built.model, config, built.train_data, True)
    trainer = build_trainer(config, model)
    valid_score, _ = trainer.fit(built.train_data, built.valid_data, show_progress=False)
    structs: list[Any] = []
    evaluate = trainer.evaluator.evaluate
    trainer.evaluator.evaluate = lambda struct: (structs.append(struct), evaluate(struct))[1]
    result = trainer.evaluate(built.test_data)
    hits = structs[-1].get("rec.topk")[:, :-1].numpy().astype(bool)
    for metric in METRICS:  # the per-user values are RecBole's own
        reported, mine = result[metric.lower()], metric_per_user(hits, metric).mean()
        if abs(reported - mine) > 6e-5:
            raise RuntimeError(f"{model_name}: RecBole's {metric} is {reported}, per-user mean is {mine}")
    seconds = perf_counter() - started
    index = index_of(config, built.dataset)
    return {"hits": hits, "valid": np.array(valid_score), "seconds": np.array(seconds), **index}


def index_of(config: Any, dataset: Any) -> Arrays:
    """The codes [N, H] of an item index, and per depth the purity of its prefixes where labels are named."""
    if not hasattr(dataset, "item_index"):
        return {}
    codes = dataset.item_index.codes
    if not config["index_label_field"]:
        return {"codes": codes}
    from recbole_lcrec.indexing.purity import prefix_purity

    # none where every item is alone under its prefix
    depths = prefix_purity(codes, dataset.item_labels(config["index_label_field"]), seed=0)
    return {"codes": codes, "purity": np.array([[d.items, d.purity, d.chance] for d in depths], dtype=float)}


def interval(values: np.ndarray) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean over users."""
    result = stats.bootstrap((values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def report(results: dict[str, dict[int, Arrays]]) -> str:
    """One table: a row per model, then a row per seed."""
    rows = []
    for model, seeds in results.items():
        cells: list[str] = [f"{model}, mean of {len(seeds)}"]
        for metric in METRICS:
            users = np.mean([metric_per_user(arrays["hits"], metric) for arrays in seeds.values()], axis=0)
            low, high = interval(users)
            cells.append(f"{users.mean():.4f} [{low:.4f}, {high:.4f}]")
        cells += [f"{np.mean([a['valid'] for a in seeds.values()]):.4f}"]
        cells += [f"{np.median([a['seconds'] for a in seeds.values()]):.0f}"]
        rows.append(cells)
        for seed, arrays in seeds.items():
            values = [f"{metric_per_user(arrays['hits'], metric).mean():.4f}" for metric in METRICS]
            rows.append([f"{model}, seed {seed}", *values, f"{arrays['valid']:.4f}", f"{arrays['seconds']:.0f}"])
    table = tabulate(rows, ["model", *METRICS, "valid NDCG@10", "seconds"], tablefmt="pipe", disable_numparse=True)
    return f"{table}\n\n{purity_report(results)}"


def purity_report(results: dict[str, dict[int, Arrays]]) -> str:
    """One row per model and depth: items under a shared prefix, purity and chance, means over seeds."""
    rows = []
    for model, seeds in results.items():
        measured = [arrays["purity"] for arrays in seeds.values() if "purity" in arrays]
        for depth, (items, purity, chance) in enumerate(np.nanmean(measured, axis=0) if measured else [], start=1):
            if items:
                rows.append([model, str(depth), f"{items:.0f}", f"{purity:.3f}", f"{chance:.3f}"])
    header = ["model", "prefix depth", "items counted", "purity", "chance"]
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True) if rows else ""


def main() -> None:
    """Runs what is not there yet and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_path", help="none: dataset/, and RecBole's wheel for ml-100k")
    parser.add_argument("--models", type=lambda text: text.split(","), required=True)
    parser.add_argument(
        "--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[2020, 2021, 2022]
    )
    parser.add_argument("--vary", default="", metavar="KEY=A,B,...", help="run each model with each of these values")
    parser.add_argument("--config_files", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    options = parser.parse_args()
    folder = Path(options.data_path or "dataset") / options.dataset
    if not folder.is_dir() and (options.data_path or options.dataset != "ml-100k"):
        sys.exit(f"skipped: {folder} is not there")
    options.out.mkdir(parents=True, exist_ok=True)
    from recbole_lcrec.config.values import parse_value

    key, _, values = options.vary.partition("=")
    variants = [{key: parse_value(value)} for value in re.split(r",(?![^\[]*\])", values)] if values else [{}]
    results: dict[str, dict[int, Arrays]] = {}
    for seed in options.seeds:
        for model, varied in product(options.models, variants):
            label = " ".join([model, *map(str, varied.values())])
            config = configuration(model, seed, varied, options)
            path = options.out / f"{options.dataset}-{model}-{seed}-{settings_of(config)}.npz"
            if not path.is_file():
                unfinished = path.with_suffix(f".{os.getpid()}.npz")
                np.savez(unfinished, **run(config))
                os.replace(unfinished, path)  # whole or not there, so that a run that is broken off can go on
                logging.getLogger().info(f"{label}, seed {seed}: done")
            with np.load(path) as saved:
                results.setdefault(label, {})[seed] = {name: saved[name] for name in saved.files}
    sys.stdout.write(f"{platform.machine()}, Python {platform.python_version()}\n{report(results)}\n")


if __name__ == "__main__":
    main()
