"""Specifications of the counting models. Importing it loads neither PyTorch nor RecBole."""

from recbole_lcrec.config.model_spec import ModelSpec

__all__ = ["COVISIT", "COVISIT_TEXT", "TEXT_KNN"]

_ROOM = "recbole_lcrec.models.counting"
_CATALOGUE = "recbole_lcrec.bridge.catalogue:ItemCatalogue"

COVISIT = ModelSpec("CoVisit", f"{_ROOM}.model:CoVisit", "model/CoVisit.yaml", settings=f"{_ROOM}.settings:COVISIT")
TEXT_KNN = ModelSpec(
    "TextKNN",
    f"{_ROOM}.model:TextKNN",
    "model/TextKNN.yaml",
    settings=f"{_ROOM}.settings:TEXT_KNN",
    dataset=_CATALOGUE,
    check_inputs=f"{_ROOM}.inputs:check_inputs",
)
COVISIT_TEXT = ModelSpec(
    "CoVisitText",
    f"{_ROOM}.model:CoVisitText",
    "model/CoVisitText.yaml",
    settings=f"{_ROOM}.settings:COVISIT_TEXT",
    dataset=_CATALOGUE,
    check_inputs=f"{_ROOM}.inputs:check_inputs",
)
