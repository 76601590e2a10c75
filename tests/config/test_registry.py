"""What exists, compared with what RecBole itself finds."""

import inspect
import sys

import pytest

from recbole_lcrec.config import registry
from recbole_lcrec.config.known_keys import known_keys


def test_every_listed_model_is_the_one_that_recbole_finds():
    names = registry.model_names()
    assert names[0] == "LCRec" and len(set(names)) == len(names) > 80
    for name in ("Pop", "Random", "SASRec", "GRU4Rec", "BERT4Rec", "Caser", "HGN", "FDSA", "S3Rec", "LightGCN", "KGAT"):
        model = registry.get_model(name)
        assert name in names and model.__name__ == name and model.__module__ == inspect.getmodule(model).__name__


@pytest.mark.parametrize(("name", "near"), [("lcrec", "'LCRec'"), ("SASrec", "'SASRec'"), ("GRU4Recc", "'GRU4Rec'")])
def test_unknown_models_are_named_with_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"unknown model '{name}'") as caught:
        registry.get_model(name)
    assert near in str(caught.value)
    with pytest.raises(ValueError, match="LCRec or a model of RecBole"):
        registry.spec_of("qqqq")


def test_a_model_without_its_package_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)  # importing it now raises ModuleNotFoundError
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    monkeypatch.delitem(sys.modules, "recbole.model.exlib_recommender.xgboost", raising=False)
    with pytest.raises(
        ValueError, match=r"model XGBoost needs the package '(xgboost|lightgbm)', which is not installed"
    ):
        registry.get_model("XGBoost")


def test_known_keys_are_those_of_the_model():
    lcrec, sasrec, pop = (known_keys(name) for name in ("LCRec", "SASRec", "Pop"))
    for key in ("epochs", "topk", "data_path", "mask_history", "seed", "gpu_id", "load_col", "model", "artifact_dir"):
        assert key in lcrec & sasrec & pop
    for key in ("base_model", "text_encoder", "index_method", "index_epochs", "tuning_tasks", "decoding_beam_size"):
        assert key in lcrec and key not in sasrec | pop
    assert "hidden_size" in sasrec and "hidden_size" not in lcrec | pop
    assert "nproc" not in lcrec and "epoch" not in lcrec


def test_known_keys_cover_what_recbole_itself_configures():
    """Every key of RecBole's configuration of a model, before RecBole derives others, is known."""
    from recbole_lcrec.config.configurator import Config

    for name in ("SASRec", "BERT4Rec", "Pop", "S3Rec"):
        config = Config(name, "ml-100k")
        assert set(config.internal_config_dict) - {"MODEL_TYPE"} <= known_keys(name, "ml-100k")


def test_register_puts_our_classes_where_recbole_looks():
    registry.expose_to_recbole(registry.spec_of("LCRec"))
    registry.expose_to_recbole(registry.spec_of("LCRec"))
    import recbole.data.dataset as datasets
    import recbole.trainer as trainers
    from recbole.utils import ModelType
    from recbole.utils import get_trainer as recbole_get_trainer

    import recbole_lcrec

    assert datasets.LCRecDataset is recbole_lcrec.LCRecDataset
    assert trainers.LCRecTrainer is recbole_lcrec.LCRecTrainer
    assert recbole_get_trainer(ModelType.SEQUENTIAL, "LCRec") is recbole_lcrec.LCRecTrainer
    assert registry.get_trainer(ModelType.SEQUENTIAL, "LCRec") is recbole_lcrec.LCRecTrainer
    assert registry.get_trainer(ModelType.TRADITIONAL, "Pop").__name__ == "TraditionalTrainer"
    assert registry.get_trainer(ModelType.SEQUENTIAL, "SASRec").__name__ == "Trainer"
