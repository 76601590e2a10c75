"""Specification of a model: its name, where its parts are, and what it can do, known before its code is imported.

Importing this module loads neither PyTorch, transformers nor RecBole, so that ``--help`` stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from recbole_lcrec.config.values import first_line

__all__ = ["ModelSpec", "resolve"]

Place = str | type | tuple[type, ...] | None
"""Where a part is: ``"package.module:name"``, imported when it is needed, or the class itself."""


@dataclass(frozen=True)
class ModelSpec:
    """Specification of one model: where its parts are, and what it can do.

    A part is given as ``"package.module:name"`` and imported only when a run needs it; a class may also be given
    directly. Parts that are None are RecBole's own.

    Attributes:
        name: the name by which users select the model, and the name of its class; ``config["model"]``.
        model: the model's class.
        property_file: a YAML file with a default for each of the model's keys: an absolute path, or one below the
            package's ``properties`` folder.
        settings: a tuple of settings classes (see ``settings.py``) whose flat keys the model reads; each class brings
            the defaults of its ``default_file``.
        dataset: class of the data set; None: ``default_dataset`` of the model's class, else the class that RecBole's
            ``create_dataset`` chooses.
        trainer: class of the trainer; None: ``default_trainer`` of the model's class, else the trainer that RecBole
            chooses.
        default_values: ``(values) -> mapping``: values of keys whose default depends on other keys; called with the
            merged values, before RecBole interprets them.
        value_problems: ``(values) -> list``: a sentence for each problem that no stage's settings show; None:
            ``value_problems`` of the model's class, if it has one.
        check_inputs: ``(config) -> None``: raises ValueError if a file or model that a run needs is missing, before
            any data are read; None: ``check_inputs`` of the model's class, if it has one.
        build: ``(config, train_data) -> model``: how the model is built; None: ``model(config, dataset)``.
        pretrain: ``(model, config, train_data, saved_model_file, kept) -> model``: a first training stage, before the
            trainer's; the file of the run, None if nothing is saved, and the folder in which a run that may be killed
            keeps its progress, or None.
        load_folder: ``(folder) -> (config, restore)``: reads a folder that the model's trainer saved;
            ``restore(model)`` loads the weights into a newly built model. None: the trainer saves RecBole's ``.pth``
            file.
        load_answering: ``(folder, device, base_model, decoding) -> ItemAnswering``: opens a saved folder for
            :class:`~recbole_lcrec.serving.recommender.Recommender` without its data set. None: the run's data set and
            model are built again.
        feature_key: the key that names the columns of the item file which the model reads; None: it reads none.
        full_ranking: whether the model can rank the whole catalogue; else it only scores given candidates.
        candidate_scores: whether it can score given candidates; else it only ranks the whole catalogue.
        distributed: whether a run of several processes trains the model in all of them.
        resumable: whether a killed training is resumed from its last checkpoint.
    """

    name: str
    model: Place
    property_file: str | Path
    settings: Place = None
    dataset: Place = None
    trainer: Place = None
    default_values: str | None = None
    value_problems: str | None = None
    check_inputs: str | None = None
    build: str | None = None
    pretrain: str | None = None
    load_folder: str | None = None
    load_answering: str | None = None
    feature_key: str | None = None
    full_ranking: bool = True
    candidate_scores: bool = True
    distributed: bool = False
    resumable: bool = False

    def __post_init__(self) -> None:
        """Check the name and the property file.

        Raises:
            ValueError: the name is not a Python identifier, or no property file is given.
        """
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ValueError(f"ModelSpec name = {self.name!r}: expected the name of the model's class")
        if isinstance(self.settings, list):
            object.__setattr__(self, "settings", tuple(self.settings))
        if not str(self.property_file or "").strip():
            raise ValueError(
                f"ModelSpec of {self.name}: property_file is missing; give the path of a YAML file with a default for "
                "each of the model's keys (it may be empty)"
            )

    def part(self, field: str) -> Any:
        """Import and return the part that a field names; None if the field is None.

        Raises:
            ValueError: the part cannot be imported, or does not exist.
        """
        place = getattr(self, field)
        if not isinstance(place, str):
            return place
        try:
            return resolve(place)
        except Exception as err:  # whatever the code of another package raises while it is imported
            module = place.partition(":")[0]
            missing = err.name if isinstance(err, ModuleNotFoundError) else None
            if missing and not f"{module}.".startswith(f"{missing}."):
                raise ValueError(f"model {self.name} needs the package {missing!r}, which is not installed") from err
            cause = f"{type(err).__name__}: {first_line(err)}"
            raise ValueError(f"model {self.name}: its {field} {place!r} cannot be loaded ({cause})") from err


def resolve(place: str) -> Any:
    """Import and return what ``"package.module:name"`` names.

    Raises:
        ValueError: ``place`` does not have that form.
        ImportError: the module cannot be imported.
        AttributeError: the module has no such name.
    """
    module, colon, name = place.partition(":")
    if not (colon and module and name):
        raise ValueError(f"{place!r}: expected 'package.module:name'")
    return getattr(import_module(module), name)
