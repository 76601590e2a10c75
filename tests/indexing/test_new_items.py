"""New items after training: distinct indices, and no existing index changes."""

import numpy as np
import pytest
import torch

from recbole_lcrec.indexing.learn import learn_item_index
from recbole_lcrec.indexing.new_items import extend_index
from recbole_lcrec.indexing.saved import load_method
from recbole_lcrec.runtime.artifacts import ArtifactStore
from tests.indexing.plain_settings import index_settings

CPU = torch.device("cpu")


def learned(root, embeddings, **changes):
    return learn_item_index(
        len(embeddings), embeddings, index_settings(**changes), None, ArtifactStore(root), 0, CPU, False
    )


def embeddings_of(n, seed):
    return np.random.default_rng(seed).normal(size=(n, 12)).astype(np.float32)


@pytest.mark.parametrize("method", ["rqvae", "rqkmeans", "supplement", "random"])
def test_new_items_get_free_indices(tmp_path, method):
    old, new = embeddings_of(150, 0), embeddings_of(100, 1)
    new[:30] = old[:30]  # copies of existing items: each of these is in conflict
    new[30:40] = new[30]
    made = learned(tmp_path, old, method=method)
    saved = load_method(made.folder, CPU)
    extended = extend_index(saved, made.index, None if method == "random" else new, 100)
    np.testing.assert_array_equal(extended.codes[:150], made.index.codes)
    assert extended.codebook_sizes == made.index.codebook_sizes
    assert len({tuple(row) for row in extended.codes.tolist()}) == 250


@pytest.mark.parametrize("method", ["rqvae", "rqkmeans"])
def test_an_item_without_conflict_has_its_nearest_codes(tmp_path, method):
    made = learned(tmp_path, embeddings_of(60, 0), method=method)
    saved = load_method(made.folder, CPU)
    new = embeddings_of(40, 1)
    nearest = saved.method.assign(new, range(60, 100)).codes
    extended = extend_index(saved, made.index, new, 40).codes[60:]
    taken = [tuple(row) for row in made.index.codes.tolist()]
    alone = [row for row in range(40) if (taken + [tuple(r) for r in nearest.tolist()]).count(tuple(nearest[row])) == 1]
    assert len(alone) > 10
    np.testing.assert_array_equal(extended[alone], nearest[alone])


def test_the_last_free_index_is_used_before_the_error(tmp_path):
    made = learned(tmp_path, embeddings_of(60, 0), levels=2, codebook_size=8)
    saved = load_method(made.folder, CPU)
    extended = extend_index(saved, made.index, embeddings_of(4, 1), 4)
    assert len({tuple(row) for row in extended.codes.tolist()}) == 64
    with pytest.raises(ValueError, match=r"1 items and 64 existing ones cannot have distinct indices"):
        extend_index(saved, extended, embeddings_of(1, 2), 1)


def test_vanilla_rejects_new_items(tmp_path):
    made = learned(tmp_path, embeddings_of(20, 0), method="vanilla")
    with pytest.raises(ValueError, match=r"vanilla.* cannot take new items"):
        extend_index(load_method(made.folder, CPU), made.index, None, 5)


def test_embeddings_of_another_encoder(tmp_path):
    made = learned(tmp_path, embeddings_of(20, 0))
    saved = load_method(made.folder, CPU)
    with pytest.raises(ValueError, match=r"expected \[3, 12\]"):
        extend_index(saved, made.index, np.zeros((3, 13), dtype=np.float32), 3)
    bad = np.zeros((3, 12), dtype=np.float32)
    bad[1, 1] = np.inf
    with pytest.raises(ValueError, match=r"rows \[1\]"):
        extend_index(saved, made.index, bad, 3)
