"""A tiny shop on disk and the configuration of a tiny LC-Rec on it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a name that is no folder must fail at once, not after a time-out

SHOP = "shop"
N_USERS, N_ITEMS = 24, 30
KINDS = ("bolt", "hammer", "glove", "lamp", "rope")


def shop_sequences() -> dict[str, list[str]]:
    """Return user -> items in time order, in which neighbours in the catalogue follow one another."""
    rng = np.random.default_rng(5)
    sequences = {}
    for user in range(N_USERS):
        start, length = int(rng.integers(N_ITEMS)), int(rng.integers(4, 12))
        sequences[f"u{user}"] = [f"i{(start + step) % N_ITEMS}" for step in range(length)]
    return sequences


def shop_titles() -> dict[str, str]:
    """Return item -> title."""
    return {f"i{item}": f"{KINDS[item % len(KINDS)]} number {item}" for item in range(N_ITEMS)}


def shop_index() -> dict[str, list[str]]:
    """Return item -> index of 3 levels, all distinct."""
    return {f"i{n}": [f"<a_{n % 5}>", f"<b_{n // 5 % 3}>", f"<c_{n // 15}>"] for n in range(N_ITEMS)}


def write_shop(data_path: Path) -> Path:
    """Write ``shop`` as atomic files with texts and without an index, and return ``data_path``."""
    folder = data_path / SHOP
    folder.mkdir(parents=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user, items in shop_sequences().items():
        lines += [f"{user}\t{item}\t{1_700_000_000 + step}" for step, item in enumerate(items)]
    (folder / f"{SHOP}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [f"{item}\t{title}\tA fine {title}" for item, title in shop_titles().items()]
    header = "item_id:token\ttitle:token_seq\tdescription:token_seq"
    (folder / f"{SHOP}.item").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return data_path


def write_index(data_path: Path) -> Path:
    """Write the shop's index beside its atomic files, and return ``data_path``."""
    (data_path / SHOP / f"{SHOP}.index.json").write_text(json.dumps(shop_index()), encoding="utf-8")
    return data_path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A data_path with ``shop`` as atomic files, with texts and without an index."""
    return write_shop(tmp_path / "data")


@pytest.fixture
def indexed_shop(shop: Path) -> Path:
    """A data_path with ``shop`` and a given index beside its atomic files."""
    return write_index(shop)


TINY: dict[str, Any] = {
    "scratch_vocab_size": 320,
    "scratch_hidden_size": 32,
    "scratch_intermediate_size": 64,
    "scratch_layers": 2,
    "scratch_heads": 2,
    "scratch_dropout": 0.0,
    "tuning_tasks": ["seq"],
    "tuning_seq_format": "stream",
    "train_batch_size": 8,
    "learning_rate": 0.01,
    "epochs": 2,
    "topk": [1, 5],
    "valid_metric": "NDCG@5",
    "decoding_beam_size": 10,
    "show_progress": False,
    "index_levels": 3,
    "index_codebook_size": 8,
    "index_latent_dim": 8,
    "index_hidden_sizes": [32],
    "index_epochs": 5,
    "index_report": False,
    "MAX_ITEM_LIST_LENGTH": 6,
    "state": "INFO",
}


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Function that returns the parameters of a tiny LC-Rec with given changes; results go to a temporary folder."""

    def parameters(data_path: Path, **changes: Any) -> dict[str, Any]:
        places = {"data_path": str(data_path), "checkpoint_dir": str(tmp_path / "saved")}
        return {**TINY, **places, **changes}

    return parameters


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a temporary working directory, because RecBole writes ``log/`` and ``log_tensorboard/`` there."""
    monkeypatch.chdir(tmp_path)
