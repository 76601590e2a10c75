"""The command ``python -m recbole_lcrec.indexing``.

Learn an item index without a language model.

PyTorch and RecBole are loaded only when the work begins.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_lcrec.config.build_configs import build_configs
from recbole_lcrec.config.command_line import parse_index_command
from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.models.lcrec.spec import SPEC
from recbole_lcrec.runtime.artifacts import whole_folder
from recbole_lcrec.runtime.claims import claimed_folder
from recbole_lcrec.runtime.commands import run_command
from recbole_lcrec.runtime.processes import process_rank

if TYPE_CHECKING:
    from recbole_lcrec.config.configurator import Config

__all__ = ["main", "make_index"]


def make_index(
    dataset: str,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    command_line: Mapping[str, Any] | None = None,
) -> Path | None:
    """Learn the item index of a data set, or reuse an existing one, and write it with its report.

    Args:
        dataset: name of the data set.
        config_file_list: paths of YAML property files.
        config_dict: parameters of LCRec.
        command_line: parameters that override all others.

    Returns:
        The new folder ``<checkpoint_dir>/index-<dataset>-<method>-<time>``; None in all processes but the first.

    Raises:
        ValueError: a wrong parameter, data set or embedding file, or no index can be learned; nothing is written then.
    """
    (config,) = build_configs(SPEC.name, dataset, config_file_list, config_dict, command_line)
    return _make(config)


def _make(config: Config) -> Path | None:
    from recbole_lcrec.bridge.run_log import run_log
    from recbole_lcrec.models.indexed_dataset import IndexedDataset, check_index
    from recbole_lcrec.preparation.locate import require_dataset

    check_index(config, require_dataset(config))
    with run_log(config):
        started = time.perf_counter()
        made = IndexedDataset(config)
        if process_rank():
            return None
        method = config.stage(IndexSettings).resolved().method.rpartition(":")[2] if made.index_folder else "given"
        name = f"index-{config['dataset']}-{method}-{time.strftime('%b-%d-%Y_%H-%M-%S')}"
        with (
            claimed_folder(Path(config["checkpoint_dir"]) / name) as folder,
            whole_folder(folder) as unfinished,
        ):
            made.save_index(unfinished)
            config.save(unfinished / "config.yaml")
        names = ", ".join(sorted(path.name for path in folder.iterdir()))
        logging.getLogger().info(f"{folder}: {names}; {time.perf_counter() - started:.1f} s in all")
    return folder


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
        index = parse_index_command(flags)
        values = index.command.values()
        if index.extend:
            if index.command.config_files:
                raise ValueError("--config_files: --extend uses the run's own config.yaml; omit the flag")
            from recbole_lcrec.serving.new_items import index_new_items

            return partial(index_new_items, index.extend, values)
        (config,) = build_configs(SPEC.name, index.command.dataset, index.command.config_files, None, values)
        return partial(_make, config)

    return run_command(prepare, flags)
