"""The tests' shop with brands as shops write them, and the settings of a tiny baseline on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conftest import SHOP, shop_sequences, shop_titles

__all__ = ["BRANDS", "SHOP", "brand_of", "tiny_baseline", "write_branded_shop"]

BRANDS = ("Sealed Unit Parts Co., Inc.", "3M", 'The "Best" Tools', "", "NA", "Ünïform & Söhne")
"""Spaces, commas, quotes, no brand, what pandas reads as missing, and letters beyond ASCII."""


def brand_of(item: int) -> str:
    return BRANDS[item % len(BRANDS)]


def write_branded_shop(data_path: Path) -> Path:
    """Write ``shop`` as atomic files with titles, brands and prices, and return ``data_path``."""
    folder = data_path / SHOP
    folder.mkdir(parents=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user, items in shop_sequences().items():
        lines += [f"{user}\t{item}\t{1_700_000_000 + step}" for step, item in enumerate(items)]
    (folder / f"{SHOP}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = ["item_id:token\ttitle:token_seq\tbrand:token\tprice:float\tnothing:token"]
    for number, (item, title) in enumerate(shop_titles().items()):
        brand = brand_of(number).replace('"', '""')
        rows.append(f'{item}\t{title}\t"{brand}"\t{number}.5\t' if '"' in brand else f"{item}\t{title}\t{brand}\t1.5\t")
    (folder / f"{SHOP}.item").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return data_path


def tiny_baseline(data_path: Path, model: str = "S3Rec") -> dict[str, Any]:
    """Return parameters of one epoch of a tiny model of RecBole."""
    sizes: dict[str, Any] = {"hidden_size": 8}
    if model in ("SASRec", "BERT4Rec", "FDSA", "S3Rec", "SASRecF"):
        sizes |= {"inner_size": 8, "n_layers": 1}
    elif model in ("GRU4Rec", "GRU4RecF"):
        sizes |= {"embedding_size": 8}
    elif model in ("Caser", "HGN"):
        sizes = {"embedding_size": 8}
    if model == "S3Rec":
        sizes |= {"pretrain_epochs": 1}
    return {
        "data_path": str(data_path),
        "checkpoint_dir": str(data_path.parent / "saved"),
        "epochs": 1,
        "train_batch_size": 64,
        "MAX_ITEM_LIST_LENGTH": 6,
        "topk": [1, 5],
        "valid_metric": "NDCG@5",
        "show_progress": False,
        "use_gpu": False,
        **sizes,
    }
