"""Specification of FMLPRec. Importing it loads neither PyTorch nor RecBole."""

from recbole_lcrec.config.model_spec import ModelSpec

__all__ = ["SPEC"]

_ROOM = "recbole_lcrec.models.fmlprec"

SPEC = ModelSpec(
    name="FMLPRec",
    model=f"{_ROOM}.model:FMLPRec",
    property_file="model/FMLPRec.yaml",
    settings=f"{_ROOM}.settings:STAGES",
)
