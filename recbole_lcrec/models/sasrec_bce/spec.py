"""Specification of SASRecBCE. Importing it loads neither PyTorch nor RecBole."""

from recbole_lcrec.config.model_spec import ModelSpec

__all__ = ["SPEC"]

_ROOM = "recbole_lcrec.models.sasrec_bce"

SPEC = ModelSpec(
    name="SASRecBCE",
    model=f"{_ROOM}.model:SASRecBCE",
    property_file="model/SASRecBCE.yaml",
    settings=f"{_ROOM}.settings:STAGES",
)
