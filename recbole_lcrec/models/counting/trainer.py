"""RecBole's trainer for counting models.

``fit`` chooses decay and weight on the validation users.
"""

from __future__ import annotations

from itertools import product
from time import perf_counter
from typing import Any

import torch
from recbole.trainer import Trainer
from recbole.utils import EvaluatorType

__all__ = ["CountingTrainer"]


class CountingTrainer(Trainer):
    """Nothing is trained: the counts are made with the model, and two numbers are chosen by ``valid_metric``."""

    best_valid_score: float
    best_valid_result: Any

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Any = None,
    ) -> tuple[float, Any]:
        """Evaluate each decay and weight on the validation users, and keep the best; RecBole's arguments and result.

        Without validation users the first of each is kept.
        """
        self.eval_collector.data_collect(train_data)
        model, started = self.model, perf_counter()
        choices = list(product(model.counting.decays, model.text_weights))
        best = torch.tensor(choices[0], dtype=torch.float64)
        for number, choice in enumerate(choices if valid_data else ()):
            model.chosen.copy_(torch.tensor(choice, dtype=torch.float64))
            score, result = self._valid_epoch(valid_data, show_progress=show_progress)
            better = score > self.best_valid_score if self.valid_metric_bigger else score < self.best_valid_score
            if better:
                self.best_valid_score, self.best_valid_result, best = score, result, model.chosen.clone()
            if callback_fn:
                callback_fn(number, score)
        model.chosen.copy_(best)
        if verbose:
            decay, weight = best.tolist()
            texts = f", weight of texts {weight}" if model.uses_texts and model.uses_covisitation else ""
            self.logger.info(
                f"Chosen among {len(choices)} by {self.valid_metric}: decay {decay}{texts}; "
                f"{perf_counter() - started:.1f} s"
            )
        if saved:
            self._save_checkpoint(-1, verbose=verbose)
        return self.best_valid_score, self.best_valid_result

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        """Keep the scores as float64, as the ranking of every item does; RecBole's table is float32."""
        interaction, row_idx, positive_u, positive_i = batched_data
        scores = self.model.predict(interaction.to(self.device))
        if self.config["eval_type"] == EvaluatorType.VALUE:
            return interaction, scores, positive_u, positive_i
        shape = (int(positive_u[-1]) + 1, self.tot_item_num)
        table = torch.full(shape, -torch.inf, dtype=scores.dtype, device=self.device)
        table[row_idx, interaction[self.config["ITEM_ID_FIELD"]]] = scores
        return interaction, table, positive_u, positive_i
