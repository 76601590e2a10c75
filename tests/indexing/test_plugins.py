"""Index methods of other packages, named as ``package.module:Class``: trained, saved, reloaded, extended."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_lcrec import index_new_items, make_index
from recbole_lcrec.indexing.inputs import index_problems
from recbole_lcrec.indexing.learn import learn_item_index
from recbole_lcrec.indexing.methods import METHODS, check_index_method, index_method
from recbole_lcrec.indexing.new_items import extend_index
from recbole_lcrec.indexing.saved import METHOD_FILE, load_method
from recbole_lcrec.runtime.artifacts import ArtifactStore
from tests.cli.test_index import add_items, index_of
from tests.conftest import N_ITEMS, SHOP
from tests.indexing.plain_settings import index_settings

CPU = torch.device("cpu")
SOURCE = '''
import numpy as np
import torch

from recbole_lcrec.indexing.base import Assignment, IndexMethod


class SignMethod(IndexMethod):
    """Codes by the signs of random projections (locality-sensitive hashing): H levels of two codes."""

    def __init__(self, planes, settings, seed):
        super().__init__(settings, seed)
        self.planes = planes

    @classmethod
    def require_room(cls, n_items, settings):
        if n_items > 2**settings.levels:
            raise ValueError(f"{n_items} items need more index_levels than {settings.levels}")

    @property
    def codebook_sizes(self):
        return (2,) * self.settings.levels

    @property
    def embedding_dim(self):
        return self.planes.shape[1]

    @classmethod
    def train(cls, embeddings, training):
        generator = torch.Generator().manual_seed(training.seed)
        planes = torch.randn(training.settings.levels, embeddings.shape[1], generator=generator)
        return cls(planes, training.settings, training.seed), []

    def assign(self, embeddings, rows):
        return Assignment((embeddings @ self.planes.numpy().T > 0).astype(np.int64))

    def state(self):
        return {"planes": self.planes}

    @classmethod
    def from_state(cls, state, settings, seed, device):
        return cls(state["planes"], settings, seed)


class Unfinished(IndexMethod):
    """Lacks everything."""


class Stranger:
    """No index method."""
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module with an index method, in a folder on ``sys.path``."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "sign_plugin.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    yield "sign_plugin"
    sys.modules.pop("sign_plugin", None)


def embeddings_of(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 12)).astype(np.float32)


def learn(root, embeddings, method, levels=8):
    settings = index_settings(method=method, levels=levels)
    return learn_item_index(len(embeddings), embeddings, settings, None, ArtifactStore(root), 0, CPU, False)


def test_a_plugin_is_trained_saved_and_reloaded(tmp_path, plugin):
    embeddings, name = embeddings_of(100), f"{plugin}:SignMethod"
    learned = learn(tmp_path, embeddings, name)
    assert learned.index.codebook_sizes == (2,) * 8 and not learned.index.n_conflicts()
    saved = load_method(learned.folder, CPU)
    assert type(saved.method) is index_method(name) and saved.method.settings.method == name
    codes = saved.method.assign(embeddings, range(100)).codes
    np.testing.assert_array_equal(codes, embeddings @ saved.method.planes.numpy().T > 0)
    assert learn(tmp_path, embeddings, name).reused


def test_a_plugin_indexes_new_items(tmp_path, plugin):
    learned = learn(tmp_path, embeddings_of(100), f"{plugin}:SignMethod")
    saved = load_method(learned.folder, CPU)
    extended = extend_index(saved, learned.index, embeddings_of(100), 100)
    np.testing.assert_array_equal(extended.codes[:100], learned.index.codes)
    assert not extended.n_conflicts()
    with pytest.raises(ValueError, match=r"expected \[3, 12\]"):
        extend_index(saved, learned.index, np.zeros((3, 13), dtype=np.float32), 3)


def test_a_plugin_says_how_many_items_it_can_index(tmp_path, plugin):
    with pytest.raises(ValueError, match="100 items need more index_levels than 6"):
        learn(tmp_path, embeddings_of(100), f"{plugin}:SignMethod", levels=6)
    assert not list(tmp_path.glob("index*"))


def test_an_edited_plugin_is_trained_again(tmp_path, plugin):
    name = f"{plugin}:SignMethod"
    first = learn(tmp_path, embeddings_of(50), name)
    file = Path(sys.modules[plugin].__file__)
    file.write_text(SOURCE.replace("> 0)", "<= 0)"), encoding="utf-8")
    importlib.reload(sys.modules[plugin])
    again = learn(tmp_path, embeddings_of(50), name)
    assert not again.reused and (first.index.codes != again.index.codes).any()


def test_the_command_takes_a_plugin_and_extends_its_index(shop, tiny, plugin):
    folder = make_index(SHOP, None, tiny(shop, index_method=f"{plugin}:SignMethod", index_levels=7, index_report=True))
    before = index_of(folder)
    assert len({tuple(tokens) for tokens in before.values()}) == N_ITEMS
    assert f"{plugin}:SignMethod" in (folder / "index_report.html").read_text(encoding="utf-8")
    names = add_items(shop, 20)
    assert index_new_items(folder) == names
    after = index_of(folder)
    assert {item: after[item] for item in before} == before and len(after) == N_ITEMS + 20


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rqvea", r"'rqvea': expected one of 'auto', 'rqvae', .*'supplement'.*'package.module:Class'.*mean 'rqvae'"),
        (
            "no_such_module:Method",
            r"'no_such_module:Method': the module no_such_module cannot be imported .*PYTHONPATH",
        ),
        ("sign_plugin:Absent", r"'sign_plugin:Absent': the module sign_plugin has no name 'Absent'; .*IndexMethod"),
        ("sign_plugin:Stranger", r"'sign_plugin:Stranger' is not a subclass of .*IndexMethod; derive"),
        ("sign_plugin:Unfinished", r"'sign_plugin:Unfinished' does not implement assign, from_state, train"),
        ("sign_plugin:", r"'sign_plugin:': expected 'package.module:Class'"),
    ],
)
def test_a_wrong_method_name(shop, tiny, plugin, name, message):
    with pytest.raises(ValueError, match=message):
        check_index_method(name)
    (problem,) = index_problems({"index_method": name})
    assert name in problem
    parameters = tiny(shop, index_method=name)
    with pytest.raises(ValueError, match=message):
        make_index(SHOP, None, parameters)
    assert not Path(parameters["checkpoint_dir"]).exists()


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ("class (", "SyntaxError: invalid syntax"),
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import numpy as np\nnp.absent", "AttributeError: module 'numpy' has no attribute"),
        ("from numpy import absent", "ImportError: cannot import name 'absent'"),
    ],
)
def test_a_plugin_that_cannot_be_imported(plugin, broken, cause):
    file = Path(sys.path[0]) / f"broken_{plugin}.py"
    file.write_text(broken + "\n", encoding="utf-8")
    message = rf"index_method = 'broken_{plugin}:Method': the module broken_{plugin} cannot be imported \({cause}.*\)"
    with pytest.raises(ValueError, match=message) as caught:
        check_index_method(f"broken_{plugin}:Method")
    assert caught.value.__cause__ is not None


ASSIGNED = "Assignment((embeddings @ self.planes.numpy().T > 0).astype(np.int64))"


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        ("Assignment(np.zeros((len(rows), 2), dtype=np.int64))", r"codes of shape \[30, 2\]"),
        ("Assignment(np.zeros(len(rows), dtype=np.int64))", r"codes of shape \[30\]"),
        ("Assignment(np.zeros((1, 8), dtype=np.int64))", r"codes of shape \[1, 8\]"),
        ("Assignment(np.zeros((len(rows), 8), dtype=np.float32))", "codes of dtype float32"),
        ("Assignment(np.eye(len(rows), 8, dtype=np.int64) * 2)", "code 2 at level 1 of item row 0"),
        ("Assignment(np.eye(len(rows), 8, k=1, dtype=np.int64) * -1)", "code -1 at level 2 of item row 0"),
        ("Assignment(torch.zeros((len(rows), 8), dtype=torch.int64))", "codes of type Tensor"),
        ("np.zeros((len(rows), 8), dtype=np.int64)", "a ndarray"),
        ("None", "a NoneType"),
    ],
)
def test_wrong_codes_of_a_plugin_name_the_method(tmp_path, plugin, returned, problem):
    file = Path(sys.path[0]) / f"{plugin}.py"
    file.write_text(SOURCE.replace(ASSIGNED, returned), encoding="utf-8")
    importlib.invalidate_caches()
    message = (
        rf"index_method = 'sign_plugin:SignMethod': its assign returned {problem}; expected an Assignment with "
        r"int64 codes \[30, 8\] with values below \[2, 2, 2, 2, 2, 2, 2, 2\]\. Correct assign, or codebook_sizes"
    )
    with pytest.raises(ValueError, match=message):
        learn(tmp_path, embeddings_of(30), f"{plugin}:SignMethod")


def test_wrong_codes_of_new_items_name_the_method(tmp_path, plugin):
    learned = learn(tmp_path, embeddings_of(100), f"{plugin}:SignMethod")
    saved = load_method(learned.folder, CPU)
    saved.method.planes = saved.method.planes[:3]
    with pytest.raises(ValueError, match=r"SignMethod': its assign returned codes of shape \[5, 3\]; expected"):
        extend_index(saved, learned.index, embeddings_of(5), 5)


def test_every_name_in_the_table_is_accepted(plugin):
    for name in ("auto", *METHODS, f"{plugin}:SignMethod"):
        check_index_method(name)
        assert index_problems({"index_method": name}) == []
    assert index_problems({"index_method": 3}) == index_problems({}) == []


def test_a_saved_index_whose_plugin_is_gone(tmp_path, plugin):
    folder = learn(tmp_path, embeddings_of(50), f"{plugin}:SignMethod").folder
    text = (folder / METHOD_FILE).read_text(encoding="utf-8")
    (folder / METHOD_FILE).write_text(text.replace("sign_plugin", "gone_plugin"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"indexer.json: .*the module gone_plugin cannot be imported"):
        load_method(folder, CPU)
