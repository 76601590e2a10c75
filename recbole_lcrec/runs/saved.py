"""Files of a run from which it recommends without its data set.

Trie, titles, templates and allowed items.

A fingerprint of item index and vocabulary in the trie's file shows whether the files belong together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np

from recbole_lcrec.config.values import read_yaml, write_yaml
from recbole_lcrec.data.item_choice import rows_of
from recbole_lcrec.decoding import Trie
from recbole_lcrec.decoding.trie_file import load_trie, save_trie
from recbole_lcrec.indexing.item_index import ItemIndex, indexed_items, load_index
from recbole_lcrec.indexing.saved import saved_codebook_sizes
from recbole_lcrec.instructions.template_file import load_templates
from recbole_lcrec.instructions.templates import Templates
from recbole_lcrec.runtime.artifacts import replace_text
from recbole_lcrec.runtime.fingerprints import fingerprint

__all__ = [
    "ALLOWED_FILE",
    "TEMPLATE_FILE",
    "TRIE_FILE",
    "SavedCatalogue",
    "allowed_file",
    "index_fingerprint",
    "lacks_files",
    "load_for_recommending",
    "load_titles",
    "require_own_index",
    "run_items",
    "run_values",
    "save_for_recommending",
    "titles_name",
]

TRIE_FILE = "trie.safetensors"
TEMPLATE_FILE = "templates.yaml"
ALLOWED_FILE = "allowed_items.txt"


@dataclass(frozen=True, eq=False)
class SavedCatalogue:
    """The items that a saved run can recommend, and the templates with which it was tuned.

    Attributes:
        item_ids: the N original ids, in the order of the trie's rows.
        index: indices of the N items.
        trie: the same indices as token ids, on the CPU.
        titles: title of each item, None if it has none.
        templates: the templates of all sub-tasks.
    """

    item_ids: tuple[str, ...]
    index: ItemIndex
    trie: Trie
    titles: tuple[str | None, ...]
    templates: Templates

    def __post_init__(self) -> None:
        """Check that all parts have the same number of items.

        Raises:
            ValueError: the numbers differ.
        """
        counts = (self.trie.n_rows, self.index.n_items, len(self.item_ids), len(self.titles))
        if len(set(counts)) != 1:
            raise ValueError(f"trie, index, item ids and titles have {counts} items; the numbers must be equal")


def titles_name(dataset: str) -> str:
    """Return the name of the file of titles, a JSON object from item id to title."""
    return f"{dataset}.titles.json"


def allowed_file(folder: Path, named: str | None) -> str | None:
    """Return the file of the items that a run may recommend.

    Args:
        folder: folder of the run.
        named: ``decoding_allowed_items`` of the run's ``config.yaml``, a path that was valid for the tuning.

    Returns:
        The folder's own list; ``named`` if the folder has none; None if the run may recommend all items.
    """
    own = folder / ALLOWED_FILE
    return str(own) if named is not None and own.is_file() else named


def lacks_files(folder: Path, dataset: str) -> bool:
    """Return whether a file is missing that :func:`save_for_recommending` writes for every run."""
    return not all((folder / name).is_file() for name in (TRIE_FILE, TEMPLATE_FILE, titles_name(dataset)))


def save_for_recommending(
    folder: Path,
    dataset: str,
    catalogue: SavedCatalogue,
    vocabulary: Mapping[str, int],
    allowed: Sequence[str] | None = None,
) -> None:
    """Write the files for recommending beside ``<dataset>.index.json``, each atomically, the trie last.

    Args:
        folder: an existing folder.
        dataset: the data set's name.
        catalogue: the items in the order of ``<dataset>.index.json``, and the templates of the tuning.
        vocabulary: token -> id of the run's tokenizer.
        allowed: ids of the items that may be recommended; None: all, and no list is written.

    Raises:
        ValueError: an allowed item is not in the catalogue, or the vocabulary lacks an index token.
    """
    item_ids, templates = catalogue.item_ids, catalogue.templates
    if allowed is not None:
        rows = {item: row for row, item in enumerate(item_ids)}
        if not len(rows_of(allowed, rows, "allowed items", "leave them out")):
            raise ValueError("allowed items: the list is empty, so nothing can be recommended; give None to allow all")
    digest = index_fingerprint(catalogue.index, item_ids, vocabulary)
    named = {item: title for item, title in zip(item_ids, catalogue.titles, strict=True) if title}
    replace_text(folder / titles_name(dataset), json.dumps(named, ensure_ascii=False))
    tasks = {
        task: [{"instruction": template.instruction, "response": template.response} for template in group]
        for task, group in templates.tasks.items()
    }
    write_yaml({"frame": templates.frame, "tasks": tasks}, folder / TEMPLATE_FILE)
    if allowed is not None:
        replace_text(folder / ALLOWED_FILE, "".join(f"{item}\n" for item in allowed))
    save_trie(catalogue.trie, folder / TRIE_FILE, digest)


def load_for_recommending(folder: Path, dataset: str, vocabulary: Mapping[str, int]) -> SavedCatalogue:
    """Read the files that :func:`save_for_recommending` wrote, and the index beside them.

    Args:
        folder: folder of the run.
        dataset: the data set's name.
        vocabulary: token -> id of the run's tokenizer.

    Raises:
        ValueError: a file is missing or damaged, or the index or the tokenizer has changed since the trie was written.
    """
    for name in (f"{dataset}.index.json", titles_name(dataset), TEMPLATE_FILE, TRIE_FILE):
        _require(folder, name)
    item_ids, index = _read_index(folder, dataset)
    trie = _read_trie(folder, item_ids, index, vocabulary)
    titles = load_titles(folder, dataset)
    unknown = sorted(titles.keys() - set(item_ids))
    if unknown:
        raise ValueError(
            f"{folder / titles_name(dataset)}: {len(unknown)} titles are of items that are not in the item index, "
            f"first {unknown[:5]}; restore the run's own file, or delete it: {_rewrite(folder)}"
        )
    templates = load_templates(folder / TEMPLATE_FILE)
    return SavedCatalogue(item_ids, index, trie, tuple(titles.get(item) for item in item_ids), templates)


def require_own_index(folder: Path, dataset: str, vocabulary: Mapping[str, int]) -> None:
    """Check that a run's index and tokenizer are those that its trie was saved with.

    For a run that was saved without a trie this cannot be checked; a warning is logged.

    Args:
        folder: folder of the run.
        dataset: the data set's name.
        vocabulary: token -> id of the tokenizer in use.

    Raises:
        ValueError: the index or the tokenizer has changed since, or the trie is damaged.
    """
    if not (folder / TRIE_FILE).is_file():
        getLogger().warning(
            f"{folder} contains no {TRIE_FILE}, so it cannot be checked whether its item index is that of the tuning"
        )
        return
    _read_trie(folder, *_read_index(folder, dataset), vocabulary)


def load_titles(folder: Path, dataset: str) -> dict[str, str]:
    """Return item id -> title of the items that have one.

    Raises:
        ValueError: the file is missing, or is not a JSON object of titles.
    """
    path = _require(folder, titles_name(dataset))
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise ValueError(f"{path} is damaged ({err}); delete it: {_rewrite(folder)}") from err
    if not isinstance(content, dict) or not all(isinstance(title, str) for title in content.values()):
        raise ValueError(f"{path} is not a JSON object from item id to title; delete it: {_rewrite(folder)}")
    return content


def run_values(folder: Path) -> dict[str, Any]:
    """Return the values of a saved run's ``config.yaml``.

    Raises:
        ValueError: there is no such folder, or it contains no ``config.yaml``.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder; give the folder of a saved run")
    return read_yaml(_require(folder, "config.yaml"))


def run_items(folder: Path) -> list[str]:
    """Return the original ids of a saved run's items, without loading its model.

    Raises:
        ValueError: there is no such run, or its item index is missing or damaged.
    """
    dataset = run_values(folder).get("dataset")
    return indexed_items(_require(folder, f"{dataset}.index.json"))


def index_fingerprint(index: ItemIndex, item_ids: Sequence[str], vocabulary: Mapping[str, int]) -> str:
    """Return the fingerprint of an item index together with the token ids of its tokens.

    Raises:
        ValueError: the vocabulary lacks an index token that an item has.
    """
    tokens = index.tokens_by_level()
    used = [tokens[level][code] for level, codes in enumerate(index.codes.T) for code in np.unique(codes).tolist()]
    missing = [token for token in used if token not in vocabulary]
    if missing:
        raise ValueError(
            f"the tokenizer lacks {len(missing)} of {len(used)} index tokens, first {missing[:5]}; restore the "
            "tokenizer and the item index of the same run"
        )
    ids = {token: int(vocabulary[token]) for token in used}
    return fingerprint({"codes": index.codes, "item_ids": json.dumps(list(item_ids)).encode(), "token_ids": ids})


def _read_index(folder: Path, dataset: str) -> tuple[tuple[str, ...], ItemIndex]:
    path = folder / f"{dataset}.index.json"
    ids = indexed_items(path)
    index = load_index(path, ids, saved_codebook_sizes(folder))
    index.require_unique()
    return tuple(ids), index


def _read_trie(folder: Path, item_ids: Sequence[str], index: ItemIndex, vocabulary: Mapping[str, int]) -> Trie:
    """Read the trie if it belongs to this index; a missing one is not rebuilt, because the index may be a wrong one."""
    return load_trie(
        folder / TRIE_FILE,
        index_fingerprint(index, item_ids, vocabulary),
        rebuild=f"delete it: {_rewrite(folder)}",
        put_back="restore the run's own index and tokenizer, or tune again; if --extend was interrupted, run the same "
        "command again",
    )


def _require(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        ours = name in (TRIE_FILE, TEMPLATE_FILE) or name.endswith(titles_name(""))
        remedy = _rewrite(folder) if ours else "the run that saved this folder may have been interrupted"
        raise ValueError(f"{path} is missing: {remedy}")
    return path


def _rewrite(folder: Path) -> str:
    return (
        f"if the data set is available, python -m recbole_lcrec.indexing --extend={folder} writes the missing files "
        "that recommending needs; else tune again"
    )
