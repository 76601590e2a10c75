"""Save and load a trie as one safetensors file.

The file holds a fingerprint of what the trie was built from.

The caller computes the fingerprint of the item index and the tokenizer; a trie with another fingerprint is not loaded.
"""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from recbole_lcrec.decoding.trie import Trie
from recbole_lcrec.runtime.fingerprints import fingerprint as digest_of

__all__ = ["load_trie", "save_trie"]

_KEY = "recbole_lcrec.trie"
_VERSION = 2
_WITHOUT_DIGEST = 1
_REBUILD = "delete it and build the trie from the item index again"
_PUT_BACK = "restore the item index and the tokenizer that it was saved with"
_Arrays = dict[str, npt.NDArray[np.int32]]


def save_trie(trie: Trie, path: Path, fingerprint: str) -> None:
    """Write a trie to a temporary file and rename it, so that a partial file is never read.

    The file holds the arguments of :meth:`Trie.from_levels`, about 12 bytes for each item and 8 for each inner node.

    Args:
        trie: the trie, on any device.
        path: the file; its folder must exist.
        fingerprint: identifies the item index and its token ids.

    Raises:
        OSError, safetensors.SafetensorError: the file cannot be written; an existing one is unchanged.
    """
    inner = trie.level_offsets[trie.n_levels]
    arrays = {
        "token": trie.token[1:].cpu().numpy(),
        "n_children": trie.n_children[:inner].cpu().numpy(),
        "leaf_items": trie.leaf_items.int().cpu().numpy(),
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    offsets, n_rows = list(trie.level_offsets), trie.n_rows
    about = {"version": _VERSION, "fingerprint": fingerprint, "n_rows": n_rows, "level_offsets": offsets}
    about["digest"] = _digest(arrays, offsets, n_rows)
    metadata = {_KEY: json.dumps(about)}  # one entry: safetensors does not write several in a fixed order
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(arrays, temporary, metadata=metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_trie(path: Path, fingerprint: str, rebuild: str = _REBUILD, put_back: str = _PUT_BACK) -> Trie:
    """Read a trie.

    Args:
        path: the file.
        fingerprint: identifies the current item index and its token ids.
        rebuild: remedy in the error message for a damaged file.
        put_back: remedy in the error message for an intact file with another fingerprint, where a rebuilt trie would
            make a mistake permanent.

    Returns:
        The trie, on the CPU.

    Raises:
        ValueError: the file is missing, damaged or not a trie, or was built from another item index or other token
            ids.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            written = (file.metadata() or {}).get(_KEY)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as err:
        raise ValueError(f"{path} cannot be read as a saved trie ({err}); {rebuild}") from err
    if written is None:
        raise ValueError(f"{path} is not a saved trie; replace it with the right file")
    try:
        about = json.loads(written)
        version, made_from = about["version"], about["fingerprint"]
        offsets, n_rows = [int(offset) for offset in about["level_offsets"]], int(about["n_rows"])
        digest = about["digest"] if version == _VERSION else None  # version 1 had none
    except (KeyError, TypeError, ValueError) as err:
        raise ValueError(f"{path} does not say what it holds ({err!r}); {rebuild}") from err
    if made_from != fingerprint:  # checked first: a rebuilt trie would be of the wrong index
        raise ValueError(
            f"the item index or the tokenizer has changed since this trie was saved: {path} was built from "
            f"{made_from}, and the current fingerprint is {fingerprint}; {put_back}"
        )
    if version not in (_WITHOUT_DIGEST, _VERSION):
        raise ValueError(f"{path} has format version {version}, but this package reads version {_VERSION}; {rebuild}")
    problem = _problem(arrays, offsets, n_rows)
    if not problem and version == _VERSION and digest != _digest(arrays, offsets, n_rows):
        problem = "its digest does not match its content"
    if problem:
        raise ValueError(f"{path} is inconsistent: {problem}; {rebuild}")
    return Trie.from_levels(
        tokens=_split_at(arrays["token"], [offset - 1 for offset in offsets[1:]]),
        n_children=_split_at(arrays["n_children"], offsets[:-1]),
        leaf_items=torch.from_numpy(arrays["leaf_items"]).long(),
        n_rows=n_rows,
    )


def _problem(arrays: _Arrays, offsets: list[int], n_rows: int) -> str | None:
    """Return what is wrong with the arrays, or None; every check is one pass over them."""
    sizes = np.diff(offsets)
    if len(offsets) < 3 or offsets[:2] != [0, 1] or (sizes < 1).any():
        return f"invalid level offsets {offsets}"
    lengths = {"token": offsets[-1] - 1, "n_children": offsets[-2], "leaf_items": int(sizes[-1])}
    if {name: (array.shape, array.dtype) for name, array in arrays.items()} != {
        name: ((length,), np.dtype(np.int32)) for name, length in lengths.items()
    }:
        return f"its arrays are not int32 of the lengths {lengths}"
    token, n_children, leaf_items = (arrays[name] for name in lengths)
    sums = np.add.reduceat(n_children, offsets[:-2], dtype=np.int64)
    if n_children.min() < 1 or (sums != sizes[1:]).any():
        return "the numbers of children do not add up to the nodes of the next level"
    runs = np.concatenate([[0], np.cumsum(n_children, dtype=np.int64)[:-1]])
    ascending = token[1:] > token[:-1]
    ascending[runs[1:] - 1] = True
    if token.min() < 0 or not ascending.all():
        return "the tokens of a node's children do not ascend"
    if leaf_items.min() < 0 or leaf_items.max() >= n_rows:
        return f"item rows are not all below {n_rows}"
    if (np.bincount(leaf_items, minlength=n_rows) > 1).any():
        return "an item has two leaves"
    return None


def _digest(arrays: _Arrays, offsets: list[int], n_rows: int) -> str:
    """Return a digest of the content; swapped items at the leaves would pass all other checks."""
    return digest_of({"arrays": arrays, "level_offsets": offsets, "n_rows": n_rows})


def _split_at(array: npt.NDArray[np.int32], bounds: list[int]) -> list[torch.Tensor]:
    """Return the parts of an array between consecutive bounds."""
    return [torch.from_numpy(array[start:end]) for start, end in pairwise(bounds)]
