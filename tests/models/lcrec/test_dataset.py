"""The data stage: given and learned indices, their reuse, and bad input."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_lcrec import Config, create_dataset
from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import TuningSettings
from recbole_lcrec.indexing.encoder_models import resolve_encoder
from recbole_lcrec.instructions.template_file import load_templates
from recbole_lcrec.models.lcrec.tuning_data import alignment_source
from tests.conftest import N_ITEMS, SHOP, shop_index, shop_sequences
from tests.word_limits import word_limits

Parameters = Callable[..., dict[str, Any]]


def dataset_of(parameters: dict[str, Any], name: str = SHOP) -> Any:
    return create_dataset(Config("LCRec", name, config_dict=parameters))


def write_index(folder: Path, index: Any) -> None:
    (folder / SHOP / f"{SHOP}.index.json").write_text(json.dumps(index), encoding="utf-8")


def test_a_given_index_is_used(indexed_shop: Path, tiny: Parameters) -> None:
    dataset = dataset_of(tiny(indexed_shop))
    assert dict(zip(dataset.item_ids, map(list, dataset.item_index.item_tokens()), strict=True)) == shop_index()


def test_conflicts_of_a_given_index_are_resolved(indexed_shop: Path, tiny: Parameters, caplog: Any) -> None:
    """In a conflict the lowest item id keeps its code, and the other gets the lowest free code of the prefix."""
    index = shop_index()
    index["i7"] = index["i2"]  # <a_2><b_0><c_0>; i17 has <a_2><b_0><c_1>
    write_index(indexed_shop, index)
    caplog.set_level(logging.INFO)
    dataset = dataset_of(tiny(indexed_shop))
    tokens = dict(zip(dataset.item_ids, dataset.item_index.item_tokens(), strict=True))
    moved = {item: tokens[item] for item in index if list(tokens[item]) != index[item]}
    assert moved == {"i7": ("<a_2>", "<b_0>", "<c_2>")}
    assert len(set(tokens.values())) == N_ITEMS
    assert "29 distinct rows, 1 items moved" in caplog.text


def test_rqvae_is_learned_once_and_reused(shop: Path, tiny: Parameters, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    first = dataset_of(tiny(shop))
    assert first.item_index.codes.shape == (N_ITEMS, 3)
    assert len(np.unique(first.item_index.codes, axis=0)) == N_ITEMS
    assert "embeddings made" in caplog.text and "index made" in caplog.text
    caplog.clear()
    again = dataset_of(tiny(shop))
    assert np.array_equal(first.item_index.codes, again.item_index.codes)
    assert "embeddings reused" in caplog.text and "index reused" in caplog.text
    caplog.clear()
    dataset_of(tiny(shop, index_epochs=6))
    assert "embeddings reused" in caplog.text and "index made" in caplog.text


def test_new_encoder_files_or_libraries_need_new_embeddings(
    shop: Path, tiny: Parameters, tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tmp_path / "encoder"
    shutil.copytree(resolve_encoder("all-MiniLM-L6-v2"), encoder)
    parameters = tiny(shop, text_encoder=str(encoder))
    caplog.set_level(logging.INFO)
    dataset_of(parameters)
    (encoder / "note.txt").write_text("trained further")
    dataset_of(parameters)
    assert caplog.text.count("embeddings made") == 2
    monkeypatch.setattr("recbole_lcrec.indexing.embeddings.version", lambda package: "99.0")
    dataset_of(parameters)
    assert caplog.text.count("embeddings made") == 3 and "embeddings reused" not in caplog.text


def test_index_method_rqvae_reuses_what_auto_has_learned(shop: Path, tiny: Parameters, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    dataset_of(tiny(shop))
    dataset_of(tiny(shop, index_method="rqvae"))
    assert "index reused" in caplog.text


def test_index_method_rqvae_ignores_a_given_index(indexed_shop: Path, tiny: Parameters) -> None:
    dataset = dataset_of(tiny(indexed_shop, index_method="rqvae"))
    assert dataset.item_index.codebook_sizes == (8, 8, 8)


def test_interrupted_index_training_leaves_no_trace(
    shop: Path, tiny: Parameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    import recbole_lcrec.indexing.stage as module

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "learn_item_index", interrupted)
        with pytest.raises(KeyboardInterrupt):
            dataset_of(tiny(shop))
    artifacts = Path(tiny(shop)["checkpoint_dir"]) / "artifacts"
    assert not list(artifacts.glob("index-*"))
    assert len(np.unique(dataset_of(tiny(shop)).item_index.codes, axis=0)) == N_ITEMS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON|cannot be read|damaged|corrupt|truncated"),
        ({"i0": ["<a_1>", "<b_1>", "<c_1>"]}, "29"),
        ({**shop_index(), "i0": ["<a_0>"]}, "i0|level"),
        ({**shop_index(), "stranger": ["<a_0>", "<b_0>", "<c_0>"]}, "stranger"),
    ],
)
def test_a_bad_index_is_named(indexed_shop: Path, tiny: Parameters, content: Any, message: str) -> None:
    if isinstance(content, str):
        (indexed_shop / SHOP / f"{SHOP}.index.json").write_text(content)
    else:
        write_index(indexed_shop, content)
    with pytest.raises(ValueError, match=message) as error:
        dataset_of(tiny(indexed_shop))
    assert f"{SHOP}.index.json" in str(error.value)


def test_items_without_text_are_counted_and_named(shop: Path, tiny: Parameters, caplog: Any) -> None:
    path = shop / SHOP / f"{SHOP}.item"
    lines = path.read_text().splitlines()
    lines[4] = "i3\t\t"
    path.write_text("\n".join(lines) + "\n")
    dataset_of(tiny(shop))
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING and "text" in r.message]
    assert any("1 " in message and "i3" in message for message in warnings)


def test_all_texts_empty(shop: Path, tiny: Parameters) -> None:
    path = shop / SHOP / f"{SHOP}.item"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row.split("\t")[0] + "\t\t" for row in rows)]) + "\n")
    with pytest.raises(ValueError, match="none of the 30 items has text: set text_title_fields"):
        dataset_of(tiny(shop))


def test_a_missing_text_field(shop: Path, tiny: Parameters) -> None:
    with pytest.raises(ValueError, match=r"headline.*text_title_fields|text_title_fields.*headline"):
        dataset_of(tiny(shop, text_title_fields=["headline"]))


def test_a_catalogue_of_one_item(tmp_path: Path, tiny: Parameters) -> None:
    folder = tmp_path / "data" / "one"
    folder.mkdir(parents=True)
    rows = [f"u{user}\tonly\t{step}" for user in range(3) for step in range(4)]
    (folder / "one.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n")
    with pytest.raises(ValueError, match="catalogue of 1 item"):
        dataset_of(tiny(folder.parent, topk=[1], valid_metric="NDCG@1"), "one")


def test_fewer_items_than_topk(indexed_shop: Path, tiny: Parameters) -> None:
    parameters = tiny(indexed_shop, topk=[40], valid_metric="NDCG@40", decoding_beam_size=50)
    with pytest.raises(ValueError, match=r"max\(topk\) = 40, but the catalogue has only 30 items"):
        dataset_of(parameters)


@pytest.mark.parametrize("seq_format", ["instruction", "stream"])
def test_no_held_out_item_is_trained_on(indexed_shop: Path, tiny: Parameters, seq_format: str) -> None:
    """The targets of an epoch are the middle of each user's sequence: neither the first item nor held-out ones."""
    config = Config("LCRec", SHOP, config_dict=tiny(indexed_shop, tuning_seq_format=seq_format))
    train = create_dataset(config).build()[0]
    templates = load_templates(properties_dir() / "instructions" / "lcrec.yaml")
    source = alignment_source(train, config.stage(TuningSettings), templates, word_limits())
    index = {item: "".join(tokens) for item, tokens in shop_index().items()}
    expected = sorted(index[item] for items in shop_sequences().values() for item in items[1:-2])
    size = len(index["i0"])
    for epoch in (0, 1):
        responses = "".join(source.instruction(epoch, datum).response for datum in range(source.size(epoch)))
        assert sorted(responses[i : i + size] for i in range(0, len(responses), size)) == expected


def test_the_tokenizer_is_trained_on_titles_if_there_are_any(indexed_shop: Path, tiny: Parameters) -> None:
    templates = load_templates(properties_dir() / "instructions" / "lcrec.yaml")
    with_texts = dataset_of(tiny(indexed_shop)).tokenizer_texts(templates)
    assert "hammer number 1" in with_texts
    (indexed_shop / SHOP / f"{SHOP}.item").unlink()
    assert dataset_of(tiny(indexed_shop)).tokenizer_texts(templates) == templates.texts()
