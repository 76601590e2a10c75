"""RecBole's evaluation of LCRec: its loaders, its metrics, and what else a test should say.

Knows RecBole's evaluator and ``results.json`` of a saved run. Refuses to know how users are ranked (``model/lcrec.py``)
and how the model was tuned (``trainer.py``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from recbole_lcrec.compat import prepare_recbole

prepare_recbole()

from recbole.trainer import Trainer  # noqa: E402
from recbole.utils import calculate_valid_score  # noqa: E402

from recbole_lcrec.model.tally import Tally  # noqa: E402
from recbole_lcrec.processes import process_rank  # noqa: E402
from recbole_lcrec.template_report import over_templates  # noqa: E402

__all__ = ["LCRecEvaluation", "write_results"]


class LCRecEvaluation(Trainer):
    """The half of RecBole's trainer that tests a model.

    Attributes:
        is_main: whether this process writes results.
    """

    def __init__(self, config: Any, model: Any) -> None:
        """See RecBole's Trainer."""
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
        result, report = self._tested(eval_data, show_progress)
        if load_best_model and self.is_main:
            write_results(folder, {"test_result": dict(result), **report})
        return result

    def _tested(self, eval_data: Any, show_progress: bool) -> tuple[Any, dict[str, Any]]:
        """The metrics of a split, and what else ``results.json`` should say of them."""
        if self.model.decoding.eval_templates != "all":
            result = self._ranked(eval_data, show_progress)
            return result, {"certified": self._told()}
        results, shares = [], []
        for template in range(self.model.writer.n_templates):
            with self.model.asking(template):
                results.append(self._ranked(eval_data, show_progress))
            shares.append(self.model.tally.shares())
        report = over_templates(results)
        self.logger.info("Results by SEQ template:\n" + report.table())
        return report.mean, {"templates": report.values(), "certified": shares}

    def _ranked(self, eval_data: Any, show_progress: bool) -> Any:
        """RecBole's evaluation of the model as it is."""
        self.model.tally = Tally()
        return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress and self.is_main)

    def _told(self) -> dict[int, float]:
        for line in self.model.tally.lines():
            self.logger.info(line)
        return self.model.tally.shares()

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, Any]:
        """RecBole's validation, by ``decoding_template`` or the ensemble."""
        result = self._ranked(valid_data, show_progress)
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


def write_results(folder: Path, values: dict[str, Any]) -> None:
    """Adds values to the run's ``results.json``."""
    path = folder / "results.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({**content, **values}, indent=2, default=float) + "\n", encoding="utf-8")
    partial.replace(path)
