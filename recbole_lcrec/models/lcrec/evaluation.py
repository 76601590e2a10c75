"""RecBole's evaluation of LCRec: its loaders, its metrics, and what else a test should say.

Knows RecBole's evaluator and ``results.json`` of a saved run. Refuses to know how users are ranked (``model.py``) and
how the model was tuned (``trainer.py``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from recbole.trainer import Trainer
from recbole.utils import calculate_valid_score

from recbole_lcrec.bridge.loading import HistoryMaskedLoader
from recbole_lcrec.models.evaluation_stats import EvaluationStats
from recbole_lcrec.models.lcrec.template_report import over_templates
from recbole_lcrec.runtime.processes import process_count, process_rank

__all__ = ["LCRecEvaluation", "write_results"]


class LCRecEvaluation(Trainer):
    """The half of RecBole's trainer that tests a model.

    Attributes:
        is_main: whether this process writes results.
    """

    def __init__(self, config: Any, model: Any) -> None:
        """See RecBole's Trainer."""
        # RecBole looks for the folder and then makes it, which fails where another process was a moment faster
        Path(config["checkpoint_dir"]).mkdir(parents=True, exist_ok=True)
        super().__init__(config, model)
        self.is_main = process_rank() == 0

    def evaluate(
        self, eval_data: Any, load_best_model: bool = True, model_file: Any = None, show_progress: bool = False
    ) -> Any:
        """RecBole's evaluation, of the best saved epoch when asked.

        Args:
            eval_data: RecBole's loader of a split.
            load_best_model: whether to load ``model_file``, else the run's own folder, first; the metrics are then
                written to its ``results.json``.
            model_file: folder of a saved run.
            show_progress: whether to draw a progress bar.

        Returns:
            Metric names and values; means over the SEQ templates with ``eval_templates: all``.
        """
        folder = Path(model_file or self.saved_model_file)
        if load_best_model and eval_data:
            self.model.load_weights(folder)
            self.logger.info(f"Loading model structure and parameters from {folder}")
        if not eval_data:
            return None
        if process_count() > 1:
            PartialState(cpu=self.device.type != "cuda")  # opens the process group, if tuning has not
        result, report = self._tested(eval_data, show_progress)
        if load_best_model and self.is_main:
            write_results(folder, {"test_result": dict(result), **report}, forget=["templates", "certified"])
        return result

    def require_enough(self, *loaders: Any) -> None:
        """Makes sure, before anything is tuned, that every user who is ranked has ``max(topk)`` items to get.

        Args:
            loaders: RecBole's, of any splits; only those that leave histories out are looked at.

        Raises:
            ValueError: a user has fewer; names the user and how many there are.
        """
        wanted = max(self.config["topk"])
        able = np.zeros(self.model.n_items, dtype=bool)
        able[self.model.candidates.leaf_items.cpu().numpy() + 1] = True
        n_able = int(able.sum())
        for loader in (loader for loader in loaders if isinstance(loader, HistoryMaskedLoader)):
            feat = loader._dataset.inter_feat
            rows = (feat[field].tolist() for field in (loader.uid_field, loader.iid_field))
            for user, target in zip(*rows, strict=True):
                left = n_able - int(able[loader.seen(user, target)].sum())
                if left < wanted:
                    token = str(loader._dataset.id2token(loader.uid_field, user))
                    raise ValueError(
                        f"user {token!r} has {left} items to get, without those of the history, but topk asks for "
                        f"{wanted}: allow more items (decoding_allowed_items), lower topk, or leave histories in "
                        "(mask_history, decoding_exclude_history)"
                    )

    def _tested(self, eval_data: Any, show_progress: bool) -> tuple[Any, dict[str, Any]]:
        """The metrics of a split, and what else ``results.json`` should say of them."""
        if self.model.decoding.eval_templates != "all":
            result = self._ranked(eval_data, show_progress)
            return result, {"certified": self.model.stats.shares()}
        results, shares = [], []
        for template in range(self.model.writer.n_templates):
            self.logger.info(f"SEQ template {template} of {self.model.writer.n_templates}:")
            with self.model.asking(template):
                results.append(self._ranked(eval_data, show_progress))
            shares.append(self.model.stats.shares())
        report = over_templates(results, self.config["metric_decimal_place"])
        self.logger.info("Results by SEQ template:\n" + report.table())
        certified = {k: float(np.mean([share[k] for share in shares])) for k in shares[0]}
        return report.mean, {"templates": report.values(), "certified": certified}

    def _ranked(self, eval_data: Any, show_progress: bool, told: bool = True) -> Any:
        """RecBole's evaluation of the model as it is, and what the log should say of it."""
        self.model.stats, started = EvaluationStats(self.model.decoding.beam_size), perf_counter()
        result = super().evaluate(eval_data, load_best_model=False, show_progress=show_progress and self.is_main)
        if told:
            decoding, users, seconds = self.model.decoding, self.model.stats.users, perf_counter() - started
            searched = f"{decoding.beam_size} beams, " if self.model.stats.beam_sizes else "given items scored, "
            self.logger.info(
                f"Ranked {users:,} users in {seconds:.1f} s, {users / seconds:.1f} a second: {searched}"
                f"{self.model.candidates.n_items:,} items may come up, normaliser {decoding.normalizer}"
            )
            for line in self.model.stats.lines():
                self.logger.info(line)
        return result

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, Any]:
        """RecBole's validation, by ``decoding_template`` or the ensemble."""
        result = self._ranked(valid_data, show_progress, told=False)
        return calculate_valid_score(result, self.valid_metric), result

    def _full_sort_batch_eval(self, batched_data: Any) -> Any:
        interaction, history_index, positive_u, positive_i = batched_data
        excluded = None
        if history_index is not None:
            rows, items = (each.numpy() for each in history_index)
            order = np.argsort(rows, kind="stable")
            ends = np.cumsum(np.bincount(rows, minlength=len(interaction)))[:-1]
            excluded = [part.tolist() for part in np.split(items[order], ends)]
        scores = self.model.full_sort_predict(interaction.to(self.device), excluded)
        scores[:, 0] = -np.inf
        return interaction, scores, positive_u, positive_i

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        """All candidates of all users of the batch in one call; the ranker makes batches of its own."""
        interaction, row_idx, positive_u, positive_i = batched_data
        predicted = self.model.predict(interaction.to(self.device))
        n_users = int(positive_u[-1]) + 1
        # RecBole breaks ties at will, so what cannot come up (-inf) must stand below what nobody asked for
        scores = torch.full((n_users, self.tot_item_num), torch.finfo(torch.float32).min, device=self.device)
        scores[row_idx, interaction[self.config["ITEM_ID_FIELD"]]] = predicted
        return interaction, scores, positive_u, positive_i


def write_results(folder: Path, values: dict[str, Any], forget: Sequence[str] = ()) -> None:
    """Adds values to the run's ``results.json``, after those are taken out that belong to an earlier test."""
    path = folder / "results.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    content = {key: value for key, value in content.items() if key not in forget}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({**content, **values}, indent=2, default=float) + "\n", encoding="utf-8")
    partial.replace(path)
