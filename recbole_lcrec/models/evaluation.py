"""RecBole's evaluation of models that score or rank a batch of users at once: masking, statistics and logs."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from recbole.trainer import Trainer
from recbole.utils import EvaluatorType, calculate_valid_score

from recbole_lcrec.bridge.masking import HistoryMaskedLoader
from recbole_lcrec.models.evaluation_stats import EvaluationStats
from recbole_lcrec.runtime.processes import process_rank

__all__ = ["ScorerTrainer"]


class ScorerTrainer(Trainer):
    """RecBole's trainer for the bases of models in ``base.py``, which score or rank a batch of users at once.

    Attributes:
        is_main: whether this process writes results.
    """

    def __init__(self, config: Any, model: Any) -> None:
        """Prepare a run; see RecBole's Trainer."""
        # RecBole creates the folder without exist_ok, which fails if another process creates it first
        Path(config["checkpoint_dir"]).mkdir(parents=True, exist_ok=True)
        super().__init__(config, model)
        self.is_main = process_rank() == 0

    def evaluate(
        self, eval_data: Any, load_best_model: bool = True, model_file: Any = None, show_progress: bool = False
    ) -> Any:
        """Evaluate as RecBole does, and log statistics of a generative model's search."""
        return self.measure(eval_data, show_progress, load_best_model=load_best_model, model_file=model_file)

    def measure(self, eval_data: Any, show_progress: bool, logged: bool = True, **loading: Any) -> Any:
        """Run RecBole's evaluation; a generative model's :class:`EvaluationStats` are reset.

        Args:
            eval_data: RecBole's loader of a split.
            show_progress: whether to draw a progress bar.
            logged: whether to log statistics of the search.
            loading: ``load_best_model`` and ``model_file`` of RecBole's ``evaluate``; by default nothing is loaded.

        Returns:
            Metric names and values, which are Python's numbers: RecBole's may be NumPy's, which JSON does not take.
        """
        generative = self.model.ranks_in_full
        if generative:
            self.model.stats = EvaluationStats(self.model.decoding.beam_size)
        started = perf_counter()
        loading = {"load_best_model": False, **loading}
        result = super().evaluate(eval_data, show_progress=show_progress and self.is_main, **loading)
        if generative and logged and eval_data:
            self._log_search(perf_counter() - started)
        return result and type(result)((name, float(value)) for name, value in result.items())

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, Any]:
        result = self.measure(valid_data, show_progress, logged=False)
        return calculate_valid_score(result, self.valid_metric), result

    def require_enough(self, *loaders: Any) -> None:
        """Check, before anything is trained, that ``max(topk)`` items are left for every evaluated user.

        Args:
            loaders: RecBole's loaders of any splits; only those that mask histories are checked.

        Raises:
            ValueError: fewer items are left for a user; names the user and the number.
        """
        if not self.model.ranks_in_full:
            return
        k = max(self.config["topk"])
        allowed = np.zeros(self.model.n_items, dtype=bool)
        allowed[self.model.candidates.leaf_items.cpu().numpy() + 1] = True
        n_allowed = int(allowed.sum())
        for loader in (loader for loader in loaders if isinstance(loader, HistoryMaskedLoader)):
            feat = loader._dataset.inter_feat
            rows = (feat[field].tolist() for field in (loader.uid_field, loader.iid_field))
            for user, target in zip(*rows, strict=True):
                left = n_allowed - int(allowed[loader.seen(user, target)].sum())
                if left < k:
                    token = str(loader._dataset.id2token(loader.uid_field, user))
                    raise ValueError(
                        f"user {token!r} has only {left} items left to recommend without those of the history, but "
                        f"max(topk) = {k}: allow more items (decoding_allowed_items), lower topk, or do not exclude "
                        "histories (mask_history, decoding_exclude_history)"
                    )

    def _log_search(self, seconds: float) -> None:
        model = self.model
        users = model.stats.users
        searched = f"{model.decoding.beam_size} beams, " if model.stats.beam_sizes else "given items scored, "
        self.logger.info(
            f"Ranked {users:,} users in {seconds:.1f} s, {users / seconds:.1f} per second: {searched}"
            f"{model.candidates.n_items:,} items may be recommended, normaliser {model.decoding.normalizer}"
        )
        for line in model.stats.lines():
            self.logger.info(line)

    def _full_sort_batch_eval(self, batched_data: Any) -> Any:
        if not self.model.ranks_in_full:
            return super()._full_sort_batch_eval(batched_data)
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
        """Score all candidates of all users of the batch in one call."""
        interaction, row_idx, positive_u, positive_i = batched_data
        predicted = self.model.predict(interaction.to(self.device))
        if self.config["eval_type"] == EvaluatorType.VALUE:
            return interaction, predicted, positive_u, positive_i
        n_users = int(positive_u[-1]) + 1
        # RecBole breaks ties arbitrarily: other items must score above a candidate that is not allowed (-inf)
        scores = torch.full((n_users, self.tot_item_num), torch.finfo(torch.float32).min, device=self.device)
        scores[row_idx, interaction[self.config["ITEM_ID_FIELD"]]] = predicted
        return interaction, scores, positive_u, positive_i
