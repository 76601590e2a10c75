"""What decoding in bfloat16 costs: the items that a tuned model chooses in bf16, judged by its float32 scores.

    python benchmarks/decoding_precision.py --run=saved/LCRec-Industrial_and_Scientific-... --data_path=../shared/data
    python benchmarks/decoding_precision.py --run=... --data_path=../shared/data --device=cuda --beam=50

All test users of the run are ranked twice by the same weights, in float32 and rounded to bf16. The first item of each
user's list in bf16 is then scored in float32. The gap is the float32 score of float32's own first item less that score,
in nats: how much worse the choice is by the measure that the search maximises. It is below 0 where float32's own beam
missed an item that is better. The metrics of both lists stand beside it.
"""

from __future__ import annotations

import argparse
import copy
import platform
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from recbole_lcrec.decoding import Beams, Ranker, open_reader

NEAR = 0.1
PLACES = 10


def loaded(options: argparse.Namespace) -> tuple[Any, Any]:
    """The run's model in evaluation mode, and its test users as batches of RecBole's interactions."""
    from recbole.utils import init_seed

    from recbole_lcrec import LCRec, create_dataset, data_preparation
    from recbole_lcrec.llm.adapters import is_adapter_folder
    from recbole_lcrec.runs.restore import load_config

    values: dict[str, Any] = {"data_path": options.data_path, "use_gpu": options.device == "cuda"}
    if not is_adapter_folder(options.run):
        values |= {"base_model": str(options.run), "lora_r": None}
    config, _ = load_config(options.run, values)
    if config["dataset"] != options.dataset:
        raise ValueError(f"--dataset: {options.dataset}, but the run is of {config['dataset']}; name that one")
    init_seed(config["seed"], config["reproducibility"])
    train, _, test = data_preparation(config, create_dataset(config))
    model = LCRec(config, train._dataset).to(config["device"])
    model.load_weights(options.run)
    return model.eval(), test


def test_users(model: Any, test: Any) -> tuple[list[list[list[int]]], np.ndarray]:
    """Each test user's prompt as the run's evaluation writes it, and the item row that is right [U]."""
    histories, targets = [], []
    for interaction, _, _, right in test:
        items, lengths = interaction[model.ITEM_SEQ].numpy(), interaction[model.ITEM_SEQ_LEN].numpy()
        for row, length in zip(items, lengths, strict=True):
            histories.append((row[:length] - 1).tolist()[-model.max_history :])
        targets += (right - 1).tolist()
    return model.writer.user_prompts(histories, (model.wording.template,)), np.array(targets)


def metrics(beams: Beams, targets: np.ndarray) -> tuple[float, float]:
    """NDCG and hit rate at 10, of one right item each."""
    hits = beams.items[:, :PLACES].numpy() == targets[:, None]
    return float((hits / np.log2(np.arange(2, hits.shape[1] + 2))).sum(1).mean()), float(hits.any(1).mean())


def gap_table(gaps: np.ndarray, same: np.ndarray) -> str:
    """What the gaps of all users [U], in nats, come to."""
    row = {"users": f"{len(gaps):,}", f"within {NEAR} nats": f"{(gaps <= NEAR).mean():.3%}"}
    row |= {"same item": f"{same.mean():.3%}", "gap, median": f"{np.median(gaps):.5f}"}
    row |= {"99th percentile": f"{np.quantile(gaps, 0.99):.5f}", "maximum": f"{gaps.max():.5f}"}
    return table([row | {"minimum": f"{gaps.min():.5f}"}])


def table(rows: list[dict[str, str]]) -> str:
    """Markdown."""
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a saved run")
    parser.add_argument("--dataset", default="Industrial_and_Scientific", help="of the run")
    parser.add_argument("--data_path", required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--beam", type=int, help="beam size; none: the run's")
    options = parser.parse_args()
    for folder in (options.run, Path(options.data_path) / options.dataset):
        if not folder.is_dir():
            sys.exit(f"skipped: {folder} is not there")
    return options


def main() -> None:
    """Ranks everyone twice and prints two tables."""
    options = parsed()
    torch.set_num_threads(options.threads)
    model, test = loaded(options)
    prompts, targets = test_users(model, test)
    decoding = replace(model.decoding, exact=False, beam_size=options.beam or model.decoding.beam_size)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    sys.stdout.write(
        f"{platform.machine()}, {options.threads} threads, PyTorch {torch.__version__}, {device}, {options.run.name}: "
        f"{type(model.llm).__name__}, beam {decoding.beam_size}, {decoding.normalizer}\n\n"
    )
    exact, rough = (
        Ranker(open_reader(llm, decoding.search), model.candidates, decoding, llm.device)
        for llm in (model.llm.float(), copy.deepcopy(model.llm).to(torch.bfloat16))
    )
    found, rows = {}, []
    for name, ranker in (("float32", exact), ("bf16", rough)):
        start = perf_counter()
        found[name] = ranker.rank(prompts, 1)
        seconds, (ndcg, hit) = perf_counter() - start, metrics(found[name], targets)
        rows.append({"weights": name, f"NDCG@{PLACES}": f"{ndcg:.5f}", f"HR@{PLACES}": f"{hit:.5f}"})
        rows[-1]["seconds"] = f"{seconds:.0f}"
    own, chosen = (beams.items[:, :1] for beams in found.values())
    by_exact = np.concatenate(exact.score(prompts, chosen.tolist()))
    gaps = found["float32"].log_probs[:, 0].numpy() - by_exact
    sys.stdout.write(f"{table(rows)}\n\n{gap_table(gaps, (own == chosen).numpy())}\n")


if __name__ == "__main__":
    main()
