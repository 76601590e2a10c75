"""Training and test of one or more models: configurations, data, training, evaluation, one table of results.

No training starts before the configuration, the data set and the files of all models of the run have been checked.
PyTorch and RecBole are loaded only when a run begins, so that ``--help`` and wrong flags answer at once.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_lcrec.config.build_configs import build_configs
from recbole_lcrec.config.command_line import parse_command_line
from recbole_lcrec.runtime.commands import run_command
from recbole_lcrec.runtime.processes import process_count, process_rank

if TYPE_CHECKING:
    from recbole_lcrec.config.configurator import Config
    from recbole_lcrec.runs.finished import FinishedRun

__all__ = ["load_data_and_model", "main", "objective_function", "run_recbole_lcrec"]

Result = dict[str, Any]


def run_recbole_lcrec(
    model: str | type | Sequence[str] | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    saved: bool = True,
    command_line: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train and test one model, or several on the same data, split, seed and metrics.

    Under torchrun every process calls this; process 0 alone trains RecBole's models, after this package's.

    Args:
        model: ``LCRec`` or a model of RecBole, by name or class; several as a list or a text separated by commas;
            None: the ``model`` of ``config_file_list`` or ``config_dict``.
        dataset: name of the data set; None: the ``dataset`` of ``config_file_list`` or ``config_dict``.
        config_file_list: paths of YAML property files.
        config_dict: parameters, ``Model.key`` for those of one model.
        saved: whether to save models and test them at their best epoch, rather than the last.
        command_line: parameters that override all others.

    Returns:
        For one model ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result`` and ``test_result`` as in
        RecBole, ``seconds`` (data, training and test), ``training_seconds``, ``users_per_second`` (in the test),
        ``parameters``, ``peak_memory`` (bytes) and ``saved_model_file`` (None if nothing is saved). For several models,
        a mapping from label to such a result. With ``seeds``, ``test_result`` and ``best_valid_score`` are means, and
        ``seeds`` maps each seed to its own result.

    Raises:
        ValueError: a wrong model, data set, parameter or base model; raised before any model is trained.
    """
    configs = build_configs(model, dataset, config_file_list, config_dict, command_line)
    results = run_models(configs, saved)
    one = len({config.label for config in configs}) == 1 and (model is None or isinstance(model, (str, type)))
    return results.get(configs[0].label, {}) if one else results


def run_models(configs: Sequence[Config], saved: bool = True) -> dict[str, Result]:
    """Train and test each configured model with each of its seeds, and log the tables of all.

    Args:
        configs: configurations of one run (see :func:`build_configs`).
        saved: see :func:`run_recbole_lcrec`.

    Returns:
        Label -> its result, in the order of ``configs``; under torchrun only those that this process trained.
    """
    from recbole_lcrec.bridge.building import require_inputs
    from recbole_lcrec.bridge.run_log import run_log
    from recbole_lcrec.runs.training import finished_runs

    for config in configs:
        require_inputs(config)
    mine = list(configs)
    if process_count() > 1:  # models that need all processes come first, so that no process has to wait
        mine.sort(key=lambda config: not config.spec.distributed)
        mine = [config for config in mine if process_rank() == 0 or config.spec.distributed]
    runs: list[FinishedRun] = []
    with run_log(configs[0]):
        try:
            for run in finished_runs(mine, saved):
                runs.append(run)
        finally:  # show the finished models even if a later one fails
            places = {(config.label, config["seed"]): place for place, config in enumerate(configs)}
            runs.sort(key=lambda run: places[run.label, run.seed])
            if runs and process_rank() == 0:
                _show(runs, configs, saved)
    return _results(runs, by_seed=configs[0]["seeds"] is not None)


def _show(runs: Sequence[FinishedRun], configs: Sequence[Config], saved: bool) -> None:
    """Log the tables of finished runs, and write them where several runs are compared."""
    from recbole_lcrec.analysis.comparison import compare
    from recbole_lcrec.analysis.results import report
    from recbole_lcrec.analysis.results_files import write_comparison
    from recbole_lcrec.runtime.claims import claimed_folder

    config, log = configs[0], logging.getLogger()
    comparison = compare(runs, config, config["reference"])
    log.info("Results on the test users\n\n" + report(comparison, config["table_format"]))
    if saved and len(runs) == len(configs) > 1:
        name = f"comparison-{config['dataset']}-{time.strftime('%b-%d-%Y_%H-%M-%S')}"
        with claimed_folder(Path(config["checkpoint_dir"]) / name) as folder:
            write_comparison(comparison, folder, config["table_format"])
        log.info(f"All metrics with intervals and differences are in {folder}")


def _results(runs: Sequence[FinishedRun], by_seed: bool) -> dict[str, Result]:
    """Return label -> result; with ``seeds`` the means over them, and the result of each under ``seeds``."""
    if not by_seed:
        return {run.label: run.result for run in runs}
    results: dict[str, Result] = {}
    for label in dict.fromkeys(run.label for run in runs):
        seeds = {run.seed: run.result for run in runs if run.label == label}
        tests = [result["test_result"] for result in seeds.values()]
        results[label] = {
            "test_result": {key: sum(test[key] for test in tests) / len(tests) for key in tests[0]},
            "best_valid_score": sum(result["best_valid_score"] for result in seeds.values()) / len(seeds),
            "seeds": seeds,
        }
    return results


def objective_function(
    config_dict: Mapping[str, Any] | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    saved: bool = True,
) -> Result:
    """Run one trial, as the objective function of RecBole's ``HyperTuning``.

    Args:
        config_dict: parameters of the trial; it or a file names ``model`` (one) and ``dataset``.
        config_file_list: paths of YAML property files.
        saved: whether the model is saved.

    Returns:
        ``model``, ``best_valid_score``, ``valid_score_bigger``, ``best_valid_result`` and ``test_result``.

    Raises:
        ValueError: more than one model or seed is given, or an error of :func:`run_recbole_lcrec`.
    """
    configs = build_configs(None, None, config_file_list, config_dict, None)
    if configs[0]["seeds"] is not None:
        raise ValueError(f"seeds = {configs[0]['seeds']}: a trial takes one seed; give seed")
    if len(configs) > 1:
        raise ValueError(f"model = {[config.label for config in configs]}: a trial takes exactly one model")
    result = run_models(configs, saved)[configs[0].label]
    shape = ("best_valid_score", "valid_score_bigger", "best_valid_result", "test_result")
    return {"model": configs[0].model, **{key: result[key] for key in shape}}


def load_data_and_model(model_file: str | Path) -> tuple[Config, Any, Any, Any, Any, Any]:
    """Load a saved run, ready to be evaluated again.

    Args:
        model_file: a folder that LCRec saved, or a ``.pth`` file that RecBole's trainer saved. A ``.pth`` file is a
            pickle, which can run any code when it is read: load only files that you trust.

    Returns:
        config, model, dataset, train_data, valid_data, test_data.

    Raises:
        ValueError: the path does not exist, or a file of the folder is missing.
    """
    from recbole_lcrec.runs.restore import load_run

    config, run = load_run(model_file)
    return config, run.model, run.dataset, run.train_data, run.valid_data, run.test_data


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: flags without the program's name; None: those of the process.

    Returns:
        0, or 2 after an error in flags or data, which is printed in one line (with a traceback under
        ``--state=DEBUG``).
    """
    flags = sys.argv[1:] if argv is None else argv

    def prepare() -> Callable[[], Any]:
        command = parse_command_line(flags)
        configs = build_configs(command.models, command.dataset or None, command.config_files, None, command.values())
        return lambda: run_models(configs)

    return run_command(prepare, flags)
