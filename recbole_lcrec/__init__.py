"""LC-Rec (Zheng et al., ICDE 2024) as a RecBole plugin: a language model that recommends by generating item indices.

Knows the names that users import and where each is defined; a name is resolved on its first use, so that importing the
package loads neither PyTorch, transformers, DeepSpeed nor RecBole. Refuses to know anything else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recbole_lcrec.config import Config
    from recbole_lcrec.data.loading import create_dataset, data_preparation
    from recbole_lcrec.dataset import LCRecDataset
    from recbole_lcrec.index_command import make_index
    from recbole_lcrec.model.lcrec import LCRec
    from recbole_lcrec.new_items import index_new_items
    from recbole_lcrec.quick_start import load_data_and_model, objective_function, run_recbole_lcrec
    from recbole_lcrec.recommender import Recommender
    from recbole_lcrec.trainer import LCRecTrainer

__version__ = "0.1.0"

__all__ = [
    "Config",
    "LCRec",
    "LCRecDataset",
    "LCRecTrainer",
    "Recommender",
    "create_dataset",
    "data_preparation",
    "index_new_items",
    "load_data_and_model",
    "make_index",
    "objective_function",
    "run_recbole_lcrec",
]

_DEFINED_IN = {
    "Config": "config",
    "LCRec": "model.lcrec",
    "LCRecDataset": "dataset",
    "LCRecTrainer": "trainer",
    "Recommender": "recommender",
    "create_dataset": "data.loading",
    "data_preparation": "data.loading",
    "index_new_items": "new_items",
    "load_data_and_model": "quick_start",
    "make_index": "index_command",
    "objective_function": "quick_start",
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
