"""From embeddings to an index without conflicts, whatever the embeddings; nothing half written."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recbole_lcrec.artifacts import ArtifactStore
from recbole_lcrec.indexing.learn import INDEX_FILE, STATE_FILE, learn_item_index, read_index, write_learned
from recbole_lcrec.indexing.quantizer import ResidualQuantizer
from recbole_lcrec.indexing.rqvae import RQVAE
from recbole_lcrec.settings import IndexSettings

SETTINGS = IndexSettings(
    method="rqvae", file=None, levels=3, codebook_size=16, latent_dim=8, hidden_sizes=(32,), beta=0.25, epochs=3,
    learning_rate=1e-3, weight_decay=1e-4, batch_size=256, sinkhorn_epsilon=0.01, sinkhorn_iterations=20,
)  # fmt: skip


def learn(embeddings, seed=0, **changes):
    return learn_item_index(embeddings, dataclasses.replace(SETTINGS, **changes), seed, torch.device("cpu"))


def random_embeddings(n=400, dim=24, duplicates=0.05, seed=0):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(n, dim)).astype(np.float32)
    copies = int(n * duplicates)
    embeddings[rng.choice(n, copies, replace=False)] = embeddings[rng.integers(n, size=copies)]
    return embeddings


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
    ],
    ids=[
        "5% duplicates",
        "all drawn again",
        "every leaf taken",
        "fewer items than codes",
        "two items",
        "constant",
        "linear",
    ],
)
def test_distinct_rows_equal_items(embeddings, changes, caplog):
    with caplog.at_level(logging.INFO):
        learned = learn(embeddings, **changes)
    assert len({tuple(row) for row in learned.index.codes.tolist()}) == len(embeddings)
    assert learned.report["conflict_rate_after"] == 0
    assert "before and 0.0000 after reassignment" in caplog.text


def test_report_agrees_with_the_saved_model(tmp_path):
    embeddings = random_embeddings()
    learned = learn(embeddings)
    ids = [f"i{n}" for n in range(len(embeddings))]
    write_learned(learned, ids, tmp_path)
    model = RQVAE(24, (32,), ResidualQuantizer(3, 16, 8), torch.Generator())
    model.load_state_dict(load_file(tmp_path / STATE_FILE))
    with torch.no_grad():
        inputs = torch.from_numpy(embeddings)
        codes = model.quantizer.encode(model.latents(inputs))
        lost = (model.decoder(model.quantizer.decode(codes)) - model.scaled(inputs)).square().mean().item()
    assert learned.report["reconstruction_loss"] == pytest.approx(lost, rel=1e-4)
    distinct = len({tuple(row) for row in codes.tolist()})
    assert learned.report["conflict_rate_before"] == pytest.approx((400 - distinct) / 400)
    assert learned.report["moved_items"] == int((codes.numpy() != learned.index.codes).any(axis=1).sum())
    assert learned.report["codes_used"] == [len(set(level)) for level in learned.index.codes.T.tolist()]


def test_round_trip_keeps_the_trained_codebook_size(tmp_path):
    learned = learn(random_embeddings(n=6), codebook_size=100)
    ids = list("abcdef")
    write_learned(learned, ids, tmp_path)
    again = read_index(tmp_path, ids[::-1])
    np.testing.assert_array_equal(again.codes, learned.index.codes[::-1])
    assert again.codebook_size == 100


def test_same_seed_same_index_whatever_the_global_seed():
    embeddings = random_embeddings()
    torch.manual_seed(1)
    first = learn(embeddings, seed=4)
    torch.manual_seed(2)
    np.testing.assert_array_equal(first.index.codes, learn(embeddings, seed=4).index.codes)
    assert (first.index.codes != learn(embeddings, seed=5).index.codes).any()


def test_an_interrupted_training_leaves_no_half_artifact(tmp_path, monkeypatch):
    embeddings = random_embeddings()
    ids = [str(n) for n in range(len(embeddings))]

    def build(folder):
        write_learned(learn(embeddings), ids, folder)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    store = ArtifactStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("recbole_lcrec.indexing.learn.save_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.get_or_build("index", {"seed": 0}, build)
    assert not list(tmp_path.rglob(INDEX_FILE))
    artifact = store.get_or_build("index", {"seed": 0}, build)
    assert not artifact.reused
    read_index(artifact.path, ids).require_unique()
    assert store.get_or_build("index", {"seed": 0}, build).reused


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
def test_bad_embeddings(embeddings, changes, message):
    with pytest.raises(ValueError, match=message):
        learn(embeddings, **changes)
