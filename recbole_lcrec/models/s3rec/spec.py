"""S3-Rec's model specification. Importing it loads neither PyTorch nor RecBole."""

from recbole_lcrec.config.model_spec import ModelSpec

__all__ = ["SPEC"]

_ROOM = "recbole_lcrec.models.s3rec.pretraining"

SPEC = ModelSpec(
    name="S3Rec",
    model="recbole.model.sequential_recommender.s3rec:S3Rec",
    property_file="model/S3Rec.yaml",
    value_problems="recbole_lcrec.models.s3rec.checks:stage_problems",
    build=f"{_ROOM}:build_model",
    pretrain=f"{_ROOM}:pretrained",
    feature_key="item_attribute",
)
