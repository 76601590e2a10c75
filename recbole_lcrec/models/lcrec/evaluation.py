"""RecBole's evaluation of LCRec: tests the best saved epoch by one or all SEQ templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from recbole_lcrec.models.evaluation import ScorerTrainer
from recbole_lcrec.models.lcrec.template_report import over_templates
from recbole_lcrec.runs.results_file import write_results
from recbole_lcrec.runtime.processes import process_count

__all__ = ["LCRecEvaluation"]


class LCRecEvaluation(ScorerTrainer):
    """The part of LCRec's trainer that evaluates a model."""

    def evaluate(
        self, eval_data: Any, load_best_model: bool = True, model_file: Any = None, show_progress: bool = False
    ) -> Any:
        """Evaluate as RecBole does, if requested after loading the best saved epoch.

        Args:
            eval_data: RecBole's loader of a split.
            load_best_model: whether to load the saved model first; the metrics are then written to its
                ``results.json``.
            model_file: folder of the saved model; None: the run's own folder.
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
            PartialState(cpu=self.device.type != "cuda")  # opens the process group unless tuning has done so
        result, report = self._tested(eval_data, show_progress)
        if load_best_model and self.is_main:
            write_results(folder, {"test_result": dict(result), **report}, forget=["templates", "certified"])
        return result

    def _tested(self, eval_data: Any, show_progress: bool) -> tuple[Any, dict[str, Any]]:
        """Return the metrics of a split, and further values for ``results.json``."""
        if self.model.wording.eval_templates != "all":
            result = self.measure(eval_data, show_progress)
            return result, {"certified": self.model.stats.shares()}
        results, shares = [], []
        for template in range(self.model.writer.n_templates):
            self.logger.info(f"SEQ template {template} of {self.model.writer.n_templates}:")
            with self.model.asking(template):
                results.append(self.measure(eval_data, show_progress))
            shares.append(self.model.stats.shares())
        report = over_templates(results, self.config["metric_decimal_place"])
        self.logger.info("Results by SEQ template:\n" + report.table())
        certified = {k: float(np.mean([share[k] for share in shares])) for k in shares[0]}
        return report.mean, {"templates": report.values(), "certified": certified}
