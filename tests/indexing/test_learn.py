"""Learning an index: no conflicts for any method and any embeddings, reuse, and clean interruption."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_lcrec.indexing.learn import learn_item_index
from recbole_lcrec.indexing.methods import METHODS
from recbole_lcrec.indexing.saved import REPORT_FILE, load_method, saved_codebook_sizes
from recbole_lcrec.runtime.artifacts import ArtifactStore
from tests.indexing.plain_settings import index_settings

CPU = torch.device("cpu")


def learn(root, embeddings, seed=0, n_items=None, **changes):
    n_items = len(embeddings) if n_items is None else n_items
    return learn_item_index(n_items, embeddings, index_settings(**changes), None, ArtifactStore(root), seed, CPU, False)


def report_of(learned):
    return json.loads((learned.folder / REPORT_FILE).read_text())


def random_embeddings(n=400, dim=24, duplicates=0.05, seed=0):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(n, dim)).astype(np.float32)
    copies = int(n * duplicates)
    embeddings[rng.choice(n, copies, replace=False)] = embeddings[rng.integers(n, size=copies)]
    return embeddings


@pytest.mark.parametrize("method", ["rqvae", "rqkmeans", "random"])
@pytest.mark.parametrize(
    ("embeddings", "changes"),
    [
        (random_embeddings(), {}),
        (random_embeddings(duplicates=1.0), {}),
        (random_embeddings(n=64), {"levels": 2, "codebook_size": 8}),
        (random_embeddings(n=5), {}),
        (random_embeddings(n=2), {"levels": 1}),
        (np.full((100, 6), 3.0, dtype=np.float32), {}),
        (random_embeddings().astype(np.float64), {"hidden_sizes": ()}),
        (random_embeddings() * np.float32(1e30), {}),
    ],
    ids=[
        "5% duplicates",
        "all drawn again",
        "every leaf taken",
        "fewer items than codes",
        "two",
        "constant",
        "linear",
        "huge",
    ],
)
def test_distinct_rows_equal_items(tmp_path, method, embeddings, changes, caplog):
    with caplog.at_level(logging.INFO):
        learned = learn(tmp_path, embeddings, method=method, **changes)
    assert len({tuple(row) for row in learned.index.codes.tolist()}) == len(embeddings)
    assert learned.index.codebook_sizes == (changes.get("codebook_size", 16),) * changes.get("levels", 3)
    assert report_of(learned)["conflict_rate_after"] == 0
    assert f"item index by {method}" in caplog.text and "and 0.0000 after reassignment" in caplog.text


def test_supplement_separates_conflicts_by_one_more_level(tmp_path):
    embeddings = random_embeddings(n=120)
    embeddings[:40] = embeddings[0]
    learned = learn(tmp_path, embeddings, method="supplement")
    codes = learned.index.codes
    assert codes.shape == (120, 4) and learned.index.codebook_sizes == (16, 16, 16, max(16, codes[:, 3].max() + 1))
    groups = {}
    for row in codes.tolist():
        groups.setdefault(tuple(row[:3]), []).append(row[3])
    assert all(numbers == list(range(len(numbers))) for numbers in groups.values())
    assert len(groups[tuple(codes[0, :3])]) >= 40
    plain = load_method(learned.folder, CPU).method.assign(embeddings, range(120)).codes
    np.testing.assert_array_equal(codes[:, :3], plain)


def test_vanilla_is_one_token_per_item(tmp_path):
    learned = learn(tmp_path, None, n_items=300, method="vanilla")
    assert learned.index.codes.tolist() == [[n] for n in range(300)]
    assert learned.index.codebook_sizes == (300,)


def test_random_needs_no_embeddings_and_follows_the_seed(tmp_path):
    first, again, other = (
        learn(tmp_path / str(i), None, seed, 300, method="random") for i, seed in enumerate((0, 0, 1))
    )
    np.testing.assert_array_equal(first.index.codes, again.index.codes)
    assert (first.index.codes != other.index.codes).any(axis=1).mean() > 0.9
    assert all(abs(np.bincount(level, minlength=16) - 300 / 16).max() < 20 for level in first.index.codes.T)


@pytest.mark.parametrize("method", ["rqvae", "rqkmeans"])
def test_report_agrees_with_the_saved_method(tmp_path, method):
    embeddings = random_embeddings()
    learned = learn(tmp_path, embeddings, method=method)
    saved = load_method(learned.folder, CPU).method
    state = saved.state()
    mean = torch.from_numpy(embeddings).mean(dim=0)
    if method == "rqvae":
        model = saved.model
        with torch.no_grad():
            inputs = torch.from_numpy(embeddings)
            codes = model.quantizer.encode(model.latents(inputs))
            decoded = model.decoder(model.quantizer.decode(codes)) * model.scale + model.mean
    else:
        residual, decoded = torch.from_numpy(embeddings) - mean, mean.repeat(400, 1)
        codes = torch.empty(400, 3, dtype=torch.long)
        for level, book in enumerate(state["codebooks"] * state["scale"]):
            codes[:, level] = torch.cdist(residual, book).argmin(dim=1)
            residual, decoded = residual - book[codes[:, level]], decoded + book[codes[:, level]]
    error = (decoded - torch.from_numpy(embeddings)).square().mean().item()
    report = report_of(learned)
    assert report["reconstruction_error"] == pytest.approx(error, rel=1e-4)
    assert report["variance_lost"] == pytest.approx(error / embeddings.var(axis=0).mean(), rel=1e-4)
    distinct = len({tuple(row) for row in codes.tolist()})
    assert report["conflict_rate_before"] == pytest.approx((400 - distinct) / 400)
    assert report["moved_items"] == int((codes.numpy() != learned.index.codes).any(axis=1).sum())
    assert report["codes_used"] == [len(set(level)) for level in learned.index.codes.T.tolist()]
    assert len(report["curve"]) == (3 if method == "rqvae" else 0)


def test_the_trained_codebook_size_is_kept(tmp_path):
    learned = learn(tmp_path, random_embeddings(n=6), codebook_size=100)
    assert learned.index.codebook_sizes == saved_codebook_sizes(learned.folder) == (100,) * 3


@pytest.mark.parametrize("method", ["rqvae", "rqkmeans"])
def test_the_index_depends_on_its_seed_alone(tmp_path, method):
    embeddings = random_embeddings()
    torch.manual_seed(1)
    first = learn(tmp_path / "1", embeddings, seed=4, method=method)
    torch.manual_seed(2)
    again = learn(tmp_path / "2", embeddings, seed=4, method=method)
    np.testing.assert_array_equal(first.index.codes, again.index.codes)
    assert (first.index.codes != learn(tmp_path / "3", embeddings, seed=5, method=method).index.codes).any()


def test_every_method_learns_an_index(tmp_path):
    rows = {name: learn(tmp_path, random_embeddings(n=40), method=name).index.codes.shape for name in METHODS}
    assert rows == {
        "rqvae": (40, 3), "rqkmeans": (40, 3), "vanilla": (40, 1), "random": (40, 3), "supplement": (40, 4)
    }  # fmt: skip


def test_an_interruption_leaves_no_partial_artifact(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("recbole_lcrec.indexing.learn.conflict_rate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            learn(tmp_path, random_embeddings())
    assert not list(tmp_path.glob("index-*")) and len(list(tmp_path.glob("indexer-*"))) == 1
    assert not learn(tmp_path, random_embeddings()).reused
    assert learn(tmp_path, random_embeddings()).reused


def test_parts_give_the_same_index_as_the_whole(tmp_path, monkeypatch):
    """Quantization split into parts, and shared by two processes, gives the same codes."""
    embeddings = random_embeddings(n=300)
    whole = learn(tmp_path / "whole", embeddings).index.codes
    monkeypatch.setattr("recbole_lcrec.indexing.learn._ITEMS_PER_PART", 64)
    np.testing.assert_array_equal(learn(tmp_path / "parts", embeddings).index.codes, whole)
    script = (
        "import numpy as np\n"
        "import recbole_lcrec.indexing.learn as learn_module\n"
        "from pathlib import Path\n"
        "from tests.indexing.test_learn import learn, random_embeddings\n"
        "learn_module._ITEMS_PER_PART = 64\n"
        f"print(learn(Path({str(tmp_path / 'shared')!r}), random_embeddings(n=300)).index.codes.tolist())\n"
    )
    root = Path(__file__).resolve().parents[2]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate()[0].strip().splitlines()[-1] for process in processes]
    assert outputs == [str(whole.tolist())] * 2
    assert not list((tmp_path / "shared").glob("*_part-*"))


def with_nan():
    embeddings = random_embeddings(n=10)
    embeddings[3, 2] = np.nan
    return embeddings


@pytest.mark.parametrize(
    ("embeddings", "changes", "message"),
    [
        (random_embeddings(n=1), {}, "a catalogue of 1 item: "),
        (random_embeddings(n=0), {}, "a catalogue of 0 items: "),
        (with_nan(), {}, r"embeddings of 1 items hold NaN or infinity, first in rows \[3\]"),
        (random_embeddings(n=10), {"levels": 1, "codebook_size": 9}, r"10 items .* 1 levels x 9 codes \(9 at most\)"),
        (np.zeros(4), {}, r"must be \[N, D\]"),
    ],
)
def test_bad_embeddings(tmp_path, embeddings, changes, message):
    with pytest.raises(ValueError, match=message):
        learn(tmp_path, embeddings, **changes)
    assert not list(tmp_path.glob("index*"))


def test_supplement_needs_a_free_level(tmp_path):
    with pytest.raises(ValueError, match=r"index_levels = 26: .*'supplement' adds a level"):
        learn(tmp_path, random_embeddings(n=10), method="supplement", levels=26)
    assert not list(tmp_path.iterdir())


def test_equal_embeddings_are_logged(tmp_path, caplog):
    learned = learn(tmp_path, np.full((50, 6), 3.0, dtype=np.float32))
    assert "variance_lost" not in report_of(learned) and "All items have the same embedding" in caplog.text


def test_an_index_of_another_code_version_is_not_reused(tmp_path, monkeypatch):
    learn(tmp_path, random_embeddings())
    monkeypatch.setattr("recbole_lcrec.indexing.learn._FORM", 10**6)
    assert not learn(tmp_path, random_embeddings()).reused


def test_rqkmeans_is_balanced_unless_set_otherwise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    embeddings = np.concatenate([rng.normal(size=(600, 4)), 12 * rng.normal(size=(20, 4))]).astype(np.float32)
    largest = []
    for balanced in (True, False):
        settings = {"method": "rqkmeans", "levels": 3, "kmeans_balanced": balanced}
        learned = learn(tmp_path / str(balanced), embeddings, **settings)
        codes = load_method(learned.folder, CPU).method.assign(embeddings, range(len(embeddings))).codes
        largest.append(int(np.bincount(codes[:, 0]).max()))
    assert largest[0] < largest[1], largest
