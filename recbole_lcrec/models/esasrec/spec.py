"""Specification of eSASRec. Importing it loads neither PyTorch nor RecBole."""

from recbole_lcrec.config.model_spec import ModelSpec

__all__ = ["SPEC"]

_ROOM = "recbole_lcrec.models.esasrec"

SPEC = ModelSpec(
    name="eSASRec",
    model=f"{_ROOM}.model:eSASRec",
    property_file="model/eSASRec.yaml",
    settings=f"{_ROOM}.settings:STAGES",
)
