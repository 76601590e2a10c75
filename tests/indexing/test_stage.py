"""The index stage and its export on plain values, without RecBole's Config."""

import json

import numpy as np
import pytest
import torch

from recbole_lcrec.indexing.export import export_index
from recbole_lcrec.indexing.report import make_report
from recbole_lcrec.indexing.saved import METHOD_FILE, PAGE_FILE, REPORT_FILE
from recbole_lcrec.indexing.stage import IndexStage, index_items
from recbole_lcrec.runtime.artifacts import ArtifactStore
from tests.indexing.plain_settings import index_settings
from tests.indexing.test_saved import TEXT

IDS = tuple(f"i{row}" for row in range(40))


def no_texts():
    raise AssertionError("texts were read")


def stage(root, given=None, ids=IDS, **changes):
    settings = index_settings(**changes)
    return IndexStage(ids, no_texts, settings, TEXT, given, ArtifactStore(root), 3, torch.device("cpu"), False)


def test_random_indices_need_no_texts_and_are_reused(tmp_path):
    first = index_items(stage(tmp_path, method="random"))
    assert first.index.n_items == 40 and not first.index.n_conflicts() and first.embeddings is None
    assert index_items(stage(tmp_path, method="random")).folder == first.folder


def test_embeddings_are_returned_for_a_report_alone(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    np.save(tmp_path / "e.npy", vectors)
    (tmp_path / "e.ids").write_text("\n".join(IDS), encoding="utf-8")
    source = {"method": "rqkmeans", "embedding_file": str(tmp_path / "e.npy")}
    np.testing.assert_array_equal(index_items(stage(tmp_path / "a", **source, report=True)).embeddings, vectors)
    assert index_items(stage(tmp_path / "a", **source, report=False)).embeddings is None


def test_an_exported_index_is_given_to_the_next_stage(tmp_path):
    made = index_items(stage(tmp_path / "artifacts", method="random"))
    labels = [frozenset({"ab"[row % 2]}) for row in range(40)]
    settings, arguments = index_settings(label_field="brand"), ("shop", IDS, made.index, made.folder)
    export_index(tmp_path, *arguments, report=lambda: make_report(*arguments, None, None, labels, settings, TEXT, 3))
    assert {METHOD_FILE, REPORT_FILE, PAGE_FILE, "shop.index.json"} <= {path.name for path in tmp_path.iterdir()}
    assert "Purity of brand" in (tmp_path / PAGE_FILE).read_text(encoding="utf-8")
    given = index_items(stage(tmp_path / "unused", tmp_path / "shop.index.json", method="auto"))
    np.testing.assert_array_equal(given.index.codes, made.index.codes)
    assert given.folder == tmp_path and given.index.codebook_sizes == made.index.codebook_sizes
    assert not (tmp_path / "unused").exists()


def test_a_given_index_is_ignored_by_a_named_method(tmp_path):
    assert index_items(stage(tmp_path, tmp_path / "none.json", method="vanilla")).index.levels == 1


def test_items_newer_than_the_index_name_the_remedy(tmp_path):
    made = index_items(stage(tmp_path / "artifacts", method="random"))
    export_index(tmp_path, "shop", IDS, made.index, made.folder, None)
    with pytest.raises(ValueError, match=r"1 of 41 items .* --extend="):
        index_items(stage(tmp_path, tmp_path / "shop.index.json", (*IDS, "new"), method="auto"))


def test_a_page_written_before_is_copied(tmp_path):
    made = index_items(stage(tmp_path / "artifacts", method="random"))
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir(), after.mkdir()
    (before / PAGE_FILE).write_text("page", encoding="utf-8")
    export_index(after, "shop", IDS, made.index, made.folder, lambda: pytest.fail("made again"), before)
    assert (after / PAGE_FILE).read_text(encoding="utf-8") == "page"
    assert len(json.loads((after / "shop.index.json").read_text(encoding="utf-8"))) == 40
