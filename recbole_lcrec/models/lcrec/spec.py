"""LC-Rec's model specification. Importing it loads neither PyTorch nor transformers."""

from recbole_lcrec.config.model_spec import ModelSpec

__all__ = ["SPEC"]

_ROOM = "recbole_lcrec.models.lcrec"

SPEC = ModelSpec(
    name="LCRec",
    model=f"{_ROOM}.model:LCRec",
    property_file="model/LCRec.yaml",
    settings=f"{_ROOM}.settings:STAGES",
    dataset=f"{_ROOM}.dataset:LCRecDataset",
    trainer=f"{_ROOM}.trainer:LCRecTrainer",
    default_values=f"{_ROOM}.settings:default_values",
    check_inputs=f"{_ROOM}.inputs:check_inputs",
    load_folder=f"{_ROOM}.saved_run:load_folder",
    load_answering=f"{_ROOM}.answering:load_answering",
    distributed=True,
    resumable=True,
)
