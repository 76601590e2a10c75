"""The registered models compared with those that RecBole itself finds, and models of other packages and scripts."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from recbole.model.sequential_recommender.sasrec import SASRec
from recbole.utils import InputType

from recbole_lcrec import Config, ModelSpec, register_model, run_recbole_lcrec
from recbole_lcrec.config import registry
from recbole_lcrec.config.known_keys import known_keys
from tests.conftest import SHOP, write_shop


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


def offer(folder: Path, package: str, entries: dict[str, str], code: str = "") -> None:
    """Write what pip installs of a package: its module, and metadata with entry points."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{registry.ENTRY_POINTS}]", *(f"{name} = {place}" for name, place in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / f"{package}.py").write_text(code, encoding="utf-8")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, which the registry reads without its caches."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    registry._offers.cache_clear()
    yield folder
    registry._offers.cache_clear()


SPEC = """
from recbole_lcrec import ModelSpec
SPEC = ModelSpec({name!r}, "recbole.model.sequential_recommender.sasrec:SASRec", {file!r})
"""


def test_two_packages_with_one_name_are_both_named(site):
    offer(site, "first", {"Twin": "first:SPEC"})
    offer(site, "second", {"Twin": "second:SPEC"})
    with pytest.raises(ValueError, match="model 'Twin' is offered by first and second: uninstall all but one"):
        registry.spec_of("Twin")


@pytest.mark.parametrize(("name", "owner"), [("SASRec", "RecBole"), ("LCRec", "recbole-lcrec")])
def test_a_package_cannot_replace_a_model(site, name, owner):
    offer(site, "rude", {name: "rude:SPEC"})
    with pytest.raises(ValueError, match=f"model '{name}' is offered by {owner} and rude"):
        registry.spec_of(name)


def test_a_broken_package_is_named_and_the_others_work(site):
    offer(site, "broken", {"Broken": "broken:SPEC"}, "import a_module_that_is_not_there")
    offer(site, "wrong", {"Wrong": "wrong:SPEC"}, "SPEC = 7")
    offer(site, "other", {"Other": "other:SPEC"}, SPEC.format(name="Another", file="/x.yaml"))
    assert {"Broken", "Wrong", "Other"} < set(registry.model_names())
    with pytest.raises(ValueError, match=r"'Broken' of the package broken \(broken:SPEC\) cannot be imported: No mod"):
        registry.spec_of("Broken")
    with pytest.raises(ValueError, match=r"package wrong .* is a int, but must be a recbole_lcrec.ModelSpec"):
        registry.spec_of("Wrong")
    with pytest.raises(ValueError, match=r"package other .* calls itself 'Another'"):
        registry.spec_of("Other")
    assert registry.get_model("SASRec") is SASRec


def test_names_are_read_without_importing_the_package(site):
    offer(site, "lazy", {"Lazy": "lazy:SPEC"}, "raise RuntimeError('imported')")
    code = "from recbole_lcrec.config import registry; print(registry.registered_names())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(site)}, check=True, capture_output=True, text=True
    )
    assert "'Lazy'" in done.stdout


def test_a_spec_needs_a_name_and_a_property_file(site, tmp_path):
    with pytest.raises(ValueError, match="ModelSpec name = 'my model': expected the name of the model's class"):
        ModelSpec("my model", "a:b", "x.yaml")
    with pytest.raises(ValueError, match="ModelSpec of Mine: property_file is missing"):
        ModelSpec("Mine", "a:b", "")
    missing = str(tmp_path / "gone.yaml")
    offer(site, "bare", {"Bare": "bare:SPEC"}, SPEC.format(name="Bare", file=missing))
    with pytest.raises(ValueError, match=r"model Bare: its property file .*gone.yaml does not exist"):
        Config("Bare", "ml-100k")


def test_a_part_that_cannot_be_loaded_is_named(tmp_path):
    spec = ModelSpec("Mine", "recbole_lcrec.models.base:Nothing", tmp_path / "mine.yaml")
    with pytest.raises(ValueError, match=r"model Mine: its model 'recbole_lcrec.models.base:Nothing' cannot be loaded"):
        spec.part("model")
    with pytest.raises(ValueError, match=r"expected 'package.module:name'"):
        ModelSpec("Mine", "recbole_lcrec.models.base", tmp_path / "mine.yaml").part("model")


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """A model that a script registers, with a property file of its own."""
    monkeypatch.setattr(registry, "_REGISTERED", {})
    (tmp_path / "quick.yaml").write_text("hidden_size: 8\nn_layers: 1\nn_heads: 1\ninner_size: 16\n" + SASREC)

    @register_model(tmp_path / "quick.yaml")
    class QuickSASRec(SASRec):
        pass

    return QuickSASRec


SASREC = """\
hidden_dropout_prob: 0.5
attn_dropout_prob: 0.5
hidden_act: gelu
layer_norm_eps: 1.0e-12
initializer_range: 0.02
loss_type: CE
"""


def test_a_script_registers_its_model(scripted, tmp_path):
    write_shop(tmp_path / "data")
    values = {"data_path": str(tmp_path / "data"), "topk": [1, 5], "valid_metric": "NDCG@5", "epochs": 1}
    results = run_recbole_lcrec("QuickSASRec,SASRec", SHOP, config_dict={**values, "checkpoint_dir": "saved"})
    assert list(results) == ["QuickSASRec", "SASRec"]
    with pytest.raises(ValueError, match=r"unknown parameter 'QuickSASRec.hiden_size'.*did you mean 'hidden_size'"):
        Config("QuickSASRec", SHOP, config_dict={"QuickSASRec.hiden_size": 4})
    with pytest.raises(ValueError, match="model 'SASRec' exists already"):
        register_model(tmp_path / "quick.yaml")(type("SASRec", (SASRec,), {}))
    register_model(tmp_path / "quick.yaml")(scripted)  # a cell that is run twice


def test_a_label_is_a_variant_with_its_own_keys(tmp_path):
    values = {"hidden_size": 8, "SASRec.n_layers": 1, "SASRec-wide.hidden_size": 16, "SASRec-wide.n_layers": 3}
    run = ["SASRec", "SASRec-wide", "SASRec-2"]
    plain, wide, second = (Config(label, "ml-100k", config_dict=values, run=run) for label in run)
    assert [config["model"] for config in (plain, wide, second)] == ["SASRec"] * 3
    assert [config.label for config in (plain, wide, second)] == run
    assert [config["hidden_size"] for config in (plain, wide, second)] == [8, 16, 8]
    assert [config["n_layers"] for config in (plain, wide, second)] == [1, 3, 1]  # a variant takes its model's keys
    with pytest.raises(ValueError, match=r"unknown parameter 'SASRec-wide.hiden_size'.*did you mean 'hidden_size'"):
        Config("SASRec-wide", "ml-100k", config_dict={"SASRec-wide.hiden_size": 4})
    for wrong in ("SASRek-wide", "SASRec-", "-wide"):
        with pytest.raises(ValueError, match=f"unknown model '{wrong}'"):
            Config(wrong, "ml-100k")


def test_variants_are_in_one_table_by_their_labels(tmp_path, capsys):
    from recbole_lcrec.quick_start import load_data_and_model, main

    write_shop(tmp_path / "data")
    flags = ["--epochs=1", "--topk=[1,5]", "--valid_metric=NDCG@5", "--hidden_size=8", "--inner_size=8"]
    places = [f"--data_path={tmp_path / 'data'}", "--checkpoint_dir=saved"]
    command = ["--model=SASRec,SASRec-wide", f"--dataset={SHOP}", "--SASRec-wide.hidden_size=16", *places, *flags]
    assert main(command) == 0
    saved = sorted(path.name for path in Path("saved").glob("*.pth"))
    assert len(saved) == 2 and saved[1].startswith("SASRec-wide-")
    config, model, *_ = load_data_and_model(Path("saved") / saved[1])
    assert config.label == "SASRec-wide" and model.hidden_size == 16


def test_recbole_creates_our_data_set_from_its_own_name(tmp_path):
    from recbole.data import create_dataset

    from tests.conftest import TINY, write_index

    write_index(write_shop(tmp_path / "data"))
    config = Config("LCRec", SHOP, config_dict={**TINY, "data_path": str(tmp_path / "data"), "use_gpu": False})
    assert type(create_dataset(config)).__name__ == "LCRecDataset"


def test_settings_of_a_stage_follow_a_value_that_is_set():
    from recbole_lcrec.config.settings import DecodingSettings

    config = Config("LCRec", "ml-100k")
    first = config.stage(DecodingSettings)
    assert first is config.stage(DecodingSettings) and first.beam_size == 20
    config["decoding_beam_size"] = 30
    assert config.stage(DecodingSettings).beam_size == 30
    config["decoding_beam_size"] = 0
    with pytest.raises(ValueError, match="decoding_beam_size = 0: expected an integer of at least 1"):
        config.stage(DecodingSettings)


def test_a_model_without_full_ranking_is_refused(tmp_path, monkeypatch):
    from recbole.model.abstract_recommender import SequentialRecommender

    monkeypatch.setattr(registry, "_REGISTERED", {})
    (tmp_path / "half.yaml").write_text("train_neg_sample_args: ~\n", encoding="utf-8")

    @register_model(tmp_path / "half.yaml")
    class NoRanking(SequentialRecommender):
        input_type = InputType.POINTWISE

    @register_model(tmp_path / "half.yaml", candidate_scores=False)
    class NoScores(SequentialRecommender):
        input_type = InputType.POINTWISE

        def full_sort_predict(self, interaction):
            raise AssertionError

    with pytest.raises(ValueError, match=r"NoRanking only scores given candidates.*uni100"):
        Config("NoRanking", "ml-100k")
    with pytest.raises(ValueError, match=r"NoScores only ranks the whole catalogue.*'full'"):
        Config("NoScores", "ml-100k", config_dict={"eval_args": {"mode": {"valid": "full", "test": "uni50"}}})
    Config("NoRanking", "ml-100k", config_dict={"eval_args": {"mode": "uni50"}})
    Config("NoScores", "ml-100k")


@pytest.mark.parametrize("label", ["x", 5, "../../x", "SASRec", "GRU4Rec-x"])
def test_a_label_cannot_be_set_to_anything(label):
    if label == "SASRec":
        assert Config("SASRec", "ml-100k", config_dict={"model_label": label}).label == "SASRec"
        return
    with pytest.raises(ValueError, match=r"unknown model|model_label = .*expected a variant of SASRec"):
        Config("SASRec", "ml-100k", config_dict={"model_label": label})


def test_models_of_one_label_are_refused():
    from recbole_lcrec.config.build_configs import build_configs

    with pytest.raises(ValueError, match="model_label"):
        build_configs(["SASRec", "GRU4Rec"], "ml-100k", None, {"model_label": "SASRec-x"}, None)
    with pytest.raises(ValueError, match="two models of SASRec-x, SASRec-x have one label"):
        build_configs(["SASRec-x", "SASRec"], "ml-100k", None, {"model_label": "SASRec-x"}, None)


def test_a_fault_of_a_specification_is_reported_once(site, tmp_path):
    offer(site, "bare", {"Bare": "bare:SPEC"}, SPEC.format(name="Bare", file=str(tmp_path / "gone.yaml")))
    with pytest.raises(ValueError, match="does not exist") as caught:
        Config("Bare", "ml-100k", config_dict={"topk": [5], "seed": 1, "epochs": 1})
    assert str(caught.value).count("does not exist") == 1


@pytest.mark.parametrize(
    ("code", "cause"),
    [("def (", "SyntaxError"), ("1 / 0", "ZeroDivisionError"), ("import no_such_package", "needs the package")],
)
def test_code_that_cannot_be_imported_is_named(site, tmp_path, code, cause):
    (site / "faulty.py").write_text(code, encoding="utf-8")
    spec = ModelSpec("Faulty", "faulty:Model", tmp_path / "faulty.yaml")
    with pytest.raises(ValueError, match=f"model Faulty.*{cause}"):
        spec.part("model")
    sys.modules.pop("faulty", None)


def test_settings_may_be_given_as_classes(tmp_path):
    from recbole_lcrec.config.settings import DecodingSettings, IndexSettings

    spec = ModelSpec("Mine", "a:b", tmp_path / "x.yaml", settings=[IndexSettings, DecodingSettings])
    assert spec.part("settings") == (IndexSettings, DecodingSettings) and hash(spec)


def test_a_data_set_of_a_specification_keeps_exact_time_order(tmp_path, monkeypatch):
    from recbole.data.dataset import SequentialDataset

    from recbole_lcrec import create_dataset

    class Own(SequentialDataset):
        pass

    monkeypatch.setattr(registry, "_REGISTERED", {})
    (tmp_path / "quick.yaml").write_text(SASREC + "hidden_size: 8\nn_layers: 1\nn_heads: 1\ninner_size: 16\n")
    register_model(tmp_path / "quick.yaml", dataset=Own)(type("TimedSASRec", (SASRec,), {}))
    write_shop(tmp_path / "data")
    path = tmp_path / "data" / SHOP / f"{SHOP}.inter"
    head, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([head, *reversed(rows)]) + "\n", encoding="utf-8")  # one second apart: no float32 tells
    config = Config("TimedSASRec", SHOP, config_dict={"data_path": str(tmp_path / "data"), "use_gpu": False})
    dataset = create_dataset(config)
    train = dataset.build()[0].inter_feat
    assert type(dataset).__name__ == "Own" and isinstance(dataset, Own)
    for user, items, length, target in zip(
        train["user_id"].tolist(), train["item_id_list"], train["item_length"].tolist(), train["item_id"].tolist(),
        strict=True,
    ):  # fmt: skip
        last, following = (dataset.id2token("item_id", item) for item in (int(items[length - 1]), target))
        assert (int(last[1:]) + 1) % 30 == int(following[1:]), (user, last, following)
