"""LC-Rec (Zheng et al., ICDE 2024) as a RecBole plugin.

A language model that recommends by generating item indices.

A name is resolved on its first use, so that importing the package loads neither PyTorch, transformers, DeepSpeed nor
RecBole.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recbole_lcrec.runtime.compat import prepare_recbole

if TYPE_CHECKING:
    from recbole_lcrec.bridge.loading import create_dataset, data_preparation
    from recbole_lcrec.cli.index import make_index
    from recbole_lcrec.config.configurator import Config
    from recbole_lcrec.config.model_spec import ModelSpec
    from recbole_lcrec.config.registry import register_model
    from recbole_lcrec.models.lcrec.dataset import LCRecDataset
    from recbole_lcrec.models.lcrec.model import LCRec
    from recbole_lcrec.models.lcrec.trainer import LCRecTrainer
    from recbole_lcrec.quick_start import load_data_and_model, objective_function, run_recbole_lcrec
    from recbole_lcrec.serving.new_items import index_new_items
    from recbole_lcrec.serving.recommender import Recommender

prepare_recbole()  # patches RecBole's modules as they are imported, by this package or any other

__version__ = "0.1.0"

__all__ = [
    "Config",
    "LCRec",
    "LCRecDataset",
    "LCRecTrainer",
    "ModelSpec",
    "Recommender",
    "create_dataset",
    "data_preparation",
    "index_new_items",
    "load_data_and_model",
    "make_index",
    "objective_function",
    "register_model",
    "run_recbole_lcrec",
]

_DEFINED_IN = {
    "Config": "config.configurator",
    "LCRec": "models.lcrec.model",
    "LCRecDataset": "models.lcrec.dataset",
    "LCRecTrainer": "models.lcrec.trainer",
    "ModelSpec": "config.model_spec",
    "Recommender": "serving.recommender",
    "create_dataset": "bridge.loading",
    "data_preparation": "bridge.loading",
    "index_new_items": "serving.new_items",
    "load_data_and_model": "quick_start",
    "make_index": "cli.index",
    "objective_function": "quick_start",
    "register_model": "config.registry",
    "run_recbole_lcrec": "quick_start",
}


def __getattr__(name: str) -> Any:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_DEFINED_IN[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
