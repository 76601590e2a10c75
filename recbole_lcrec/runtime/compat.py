"""Compatibility of RecBole 1.2.1 with current NumPy, pandas, SciPy and PyTorch.

Names that RecBole uses and that its libraries have removed or changed are replaced in the namespaces of ``recbole.*``
modules as these are imported. NumPy, pandas, SciPy and PyTorch themselves are not patched, so other code sees no
change. Modules that use none of the names are left alone, and so is any RecBole release that has fixed them itself.

What is patched, and why:

* ``np.float``, ``np.int``, ``np.long`` and similar were removed in NumPy 1.24; RecBole sets them on NumPy itself, from
  ``np.float_`` and similar, which were removed in NumPy 2.0.
* ``torch.load`` reads only weights since PyTorch 2.6; RecBole's checkpoints, read by its trainer and by models with
  pretrained parts (S3Rec, NeuMF, ...), contain a whole ``Config``.
* ``torch.cuda.amp.GradScaler`` and ``autocast`` warn since PyTorch 2.4 that they moved to ``torch.amp``.
* ``frame[column].fillna(..., inplace=True)`` changes nothing since pandas 3.0 (copy on write), so that missing tokens
  would become arbitrary ids.
* ``column.agg(len)`` counts the rows since pandas 3.0 instead of applying ``len`` to each; ``column.values`` is
  read-only.
* The layer that embeds item features (FDSA, GRU4RecF, SASRecF, DIN) keeps a reference to its data set, so that every
  checkpoint would contain all interactions, or fail if the data set's class cannot be pickled; nothing reads it.
* The collector of evaluation results calls ``cpu()`` on everything that it holds, the number of items and their
  training counts among them, so ItemCoverage, GiniIndex, AveragePopularity and TailPercentage fail.
* ``Pop`` counts an item once in each batch, however often it occurs there, so its ranking depends on the batch size.
* ``dok_matrix._update`` was removed in SciPy 1.13, and the graph models (LightGCN, NGCF, ...) call it.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

__all__ = ["prepare_recbole"]


def prepare_recbole() -> None:
    """Make RecBole work with the installed libraries; call it before using RecBole, any number of times.

    RecBole modules that are already loaded are patched at once, the others when they are imported. The call itself
    imports nothing.
    """
    if any(isinstance(finder, _RecBoleFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _RecBoleFinder())
    for name, module in list(sys.modules.items()):
        if name.startswith("recbole."):
            _patch(module)


class _RecBoleFinder(MetaPathFinder):
    """Import hook that finds RecBole's modules as Python does, and patches them right after they are executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("recbole."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _PatchingLoader(spec.loader.name, spec.loader.path)
        return spec


class _PatchingLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _patch(module)


class _StandIn(ModuleType):
    """A library as one RecBole module sees it: the library itself, with a few names replaced."""

    def __init__(self, library: ModuleType, names: Mapping[str, Any]) -> None:
        super().__init__(library.__name__, library.__doc__)
        self.__dict__.update(names, _library=library)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_library"], name)


def _patch(module: ModuleType) -> None:
    loader = module.__spec__.loader if module.__spec__ is not None else None
    code = loader.get_code(module.__name__) if isinstance(loader, SourceFileLoader) else None
    if code is None:
        return
    used = _names_used(code)
    for name, value in list(vars(module).items()):
        if not isinstance(value, ModuleType) or isinstance(value, _StandIn):
            continue
        stand_ins = _LIBRARIES.get(value.__name__)
        replaced = {key: new for key, new in stand_ins(value).items() if key in used} if stand_ins else {}
        if replaced:
            setattr(module, name, _StandIn(value, replaced))
    if module.__name__ in _CLASSES:
        _CLASSES[module.__name__](module)


def _names_used(code: CodeType) -> set[str]:
    nested = [_names_used(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*nested)


def _numpy_names(numpy: ModuleType) -> dict[str, Any]:
    return {
        "bool": numpy.bool_,
        "int": numpy.int_,
        "float": numpy.float64,
        "complex": numpy.complex128,
        "object": numpy.object_,
        "str": numpy.str_,
        "long": numpy.int_,
        "unicode": numpy.str_,
    }


def _torch_names(torch: ModuleType) -> dict[str, Any]:
    @functools.wraps(torch.load)
    def load(*args: Any, **kwargs: Any) -> Any:
        return torch.load(*args, **{"weights_only": False, **kwargs})

    return {"load": load}


def _amp_names(amp: ModuleType) -> dict[str, Any]:
    import torch

    return {
        "GradScaler": functools.partial(torch.amp.GradScaler, "cuda"),
        "autocast": functools.partial(torch.autocast, "cuda"),
    }


def _pandas_names(pandas: ModuleType) -> dict[str, Any]:
    class Column(pandas.Series):  # type: ignore[name-defined]
        @property
        def _constructor(self) -> type:
            return Column

        @property
        def _constructor_expanddim(self) -> type:
            return Frame

        @property
        def values(self) -> Any:
            values = super().values
            return values.copy() if hasattr(values, "flags") and not values.flags.writeable else values

        def agg(self, func: Any = None, *args: Any, **kwargs: Any) -> Any:
            return self.map(len) if func is len else super().agg(func, *args, **kwargs)

    class Frame(pandas.DataFrame):  # type: ignore[name-defined]
        @property
        def _constructor(self) -> type:
            return Frame

        @property
        def _constructor_sliced(self) -> type:
            return Column

    @functools.wraps(pandas.read_csv)
    def read_csv(*args: Any, **kwargs: Any) -> Any:
        frame = pandas.read_csv(*args, **kwargs)
        sequences = [name for name in frame.columns if str(name).endswith(("token_seq", "float_seq"))]
        return Frame(frame.fillna(dict.fromkeys(sequences, "")))

    @functools.wraps(pandas.merge)
    def merge(*args: Any, **kwargs: Any) -> Any:
        return Frame(pandas.merge(*args, **kwargs))

    return {"read_csv": read_csv, "merge": merge}


def _sparse_names(sparse: ModuleType) -> dict[str, Any]:
    if hasattr(sparse.dok_matrix, "_update"):
        return {}

    class dok_matrix(sparse.dok_matrix):  # type: ignore[name-defined]
        def _update(self, data: Mapping[tuple[int, int], float]) -> None:
            for (row, column), value in data.items():
                self[row, column] = value

    return {"dok_matrix": dok_matrix}


def _patch_config(configurator: ModuleType) -> None:
    config = configurator.Config
    if "float_" in config.compatibility_settings.__code__.co_names:
        config.compatibility_settings = lambda self: None


def _patch_dataset(dataset: ModuleType) -> None:
    cls = dataset.Dataset
    feature_type = dataset.FeatureType
    fill_nan = cls._fill_nan

    @functools.wraps(fill_nan)
    def fill_before(self: Any) -> None:
        for feat_name in self.feat_name_list:
            feat = getattr(self, feat_name)
            for field in feat:
                kind = self.field2type[field]
                if kind in (feature_type.TOKEN, feature_type.FLOAT) and feat[field].isna().any():
                    feat[field] = feat[field].fillna(0 if kind == feature_type.TOKEN else feat[field].mean())
        fill_nan(self)

    cls._fill_nan = _without_chained_assignment_warning(fill_before)
    cls._load_feat = _without_chained_assignment_warning(cls._load_feat)


def _patch_layers(layers: ModuleType) -> None:
    def without_dataset(self: Any) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "dataset"}

    layers.ContextSeqEmbAbstractLayer.__getstate__ = without_dataset


def _patch_collector(collector: ModuleType) -> None:
    """Let metrics of lists work: RecBole moves the number of items and the items' counts to the CPU like tensors."""
    get_data_struct = collector.Collector.get_data_struct

    @functools.wraps(get_data_struct)
    def tensors_moved(self: Any) -> Any:
        held = self.data_struct._data_dict
        plain = {key: held.pop(key) for key, value in list(held.items()) if not hasattr(value, "cpu")}
        struct = get_data_struct(self)
        for each in (struct, self.data_struct):
            each._data_dict.update(plain)
        return struct

    collector.Collector.get_data_struct = tensors_moved


def _patch_pop(pop: ModuleType) -> None:
    calculate_loss = pop.Pop.calculate_loss

    @functools.wraps(calculate_loss)
    def counting_every_row(self: Any, interaction: Any) -> Any:
        before = self.item_cnt
        self.item_cnt = before.clone()
        loss = calculate_loss(self, interaction)
        self.item_cnt = before + interaction[self.ITEM_ID].bincount(minlength=self.n_items)[:, None]
        self.max_cnt = self.item_cnt.max(dim=0)[0]
        return loss

    pop.Pop.calculate_loss = counting_every_row


def _without_chained_assignment_warning(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def quiet(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"(?s).*chained assignment")
            return function(*args, **kwargs)

    return quiet


_LIBRARIES: Mapping[str, Callable[[ModuleType], dict[str, Any]]] = {
    "numpy": _numpy_names,
    "pandas": _pandas_names,
    "scipy.sparse": _sparse_names,
    "torch": _torch_names,
    "torch.cuda.amp": _amp_names,
}

_CLASSES: Mapping[str, Callable[[ModuleType], None]] = {
    "recbole.config.configurator": _patch_config,
    "recbole.data.dataset.dataset": _patch_dataset,
    "recbole.evaluator.collector": _patch_collector,
    "recbole.model.general_recommender.pop": _patch_pop,
    "recbole.model.layers": _patch_layers,
}
