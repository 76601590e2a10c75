"""Convert LC-Rec's published format (``.inter.json``, ``.item.json``) to RecBole's atomic files.

The published sequences are in time order but have no times, so the n-th item of a user (from 0) gets time n.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from decimal import Decimal
from logging import getLogger
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_lcrec.config.values import DuplicateKeyError, distinct_keys
from recbole_lcrec.data.item_text import leaves
from recbole_lcrec.data.reserved_ids import NOT_IN_IDS, RESERVED_IDS
from recbole_lcrec.preparation.forms.atomic_writer import write_atomic
from recbole_lcrec.preparation.forms.id_files import original_ids

__all__ = [
    "TEXT_FIELDS",
    "convert_published",
    "item_rows",
    "numbers_first",
    "one_line",
    "read_json_object",
    "sequence_rows",
]

TEXT_FIELDS = {"title": "token_seq", "description": "token_seq", "brand": "token", "categories": "token_seq"}
"""Item fields of the published format -> RecBole's types."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAMED = 5


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that contains one object.

    Raises:
        ValueError: the file is missing, is not valid JSON (truncated, for example) or not an object, or has a duplicate
            key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=distinct_keys)
    except DuplicateKeyError as err:
        raise ValueError(f"{path}: {err}, so one of the two values would be lost; keep one") from err
    except OSError as err:
        raise ValueError(f"{path} cannot be read ({err.strerror}); check the path") from err
    except (ValueError, RecursionError) as err:  # bad UTF-8 and numbers of thousands of digits are ValueErrors too
        raise ValueError(f"{path} is not valid JSON ({err}); restore it from its source") from err
    if not isinstance(content, dict):
        raise ValueError(f"{path} must contain a JSON object, not a {type(content).__name__}")
    return content


def one_line(text: Any) -> str:
    """Convert a value to one line of text: atomic files separate fields by tabs and records by line breaks.

    Control characters, which not every reader accepts, become blanks; lone surrogates, which no file can store, become
    question marks. The elements of a list are joined; None and NaN give "".
    """
    if isinstance(text, list):
        parts = leaves(text, lambda part: part if isinstance(part, list) else None)
        return " ".join(filter(None, map(one_line, parts)))
    missing = text is None or text != text  # Python's JSON may contain NaN
    line = "" if missing else " ".join(_CONTROL.sub(" ", str(text)).split())
    return line.encode("utf-8", "replace").decode("utf-8")


def numbers_first(item_id: str) -> tuple[Decimal, str]:
    """Sort key for ids: whole numbers by value, then all others by text."""
    return Decimal(item_id if item_id.isdecimal() else "Infinity"), item_id  # int() refuses thousands of digits


def sequence_rows(sequences: Mapping[str, Any], source: Path) -> pd.DataFrame:
    """Return users' sequences as rows of an ``.inter`` file, with each item's position as its time.

    Raises:
        ValueError: a user's entry is not a list of ids, an id cannot be stored in a table, or there is no interaction.
    """
    users: list[str] = []
    items: list[str] = []
    times: list[int] = []
    for user, sequence in sequences.items():
        if not isinstance(sequence, list) or not all(_is_id(item) for item in sequence):
            raise ValueError(f"{source}: user {user!r} must have a list of item ids, but has {sequence!r:.80}")
        users += [user] * len(sequence)
        items += [str(item) for item in sequence]
        times += range(len(sequence))
    if not users:
        raise ValueError(f"{source} contains no interaction; restore it from its source")
    for ids in (dict.fromkeys(users), dict.fromkeys(items)):
        _check_ids(ids, source)
    return pd.DataFrame({"user_id:token": users, "item_id:token": items, "timestamp:float": times})


def item_rows(
    item_ids: Iterable[str],
    texts: Mapping[str, Any],
    source: Path | None,
    originals: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return items as rows of an ``.item`` file.

    Args:
        item_ids: the catalogue, in the order of the rows.
        texts: item id -> object with optional title, description, brand and categories.
        source: name of the texts' file, for messages.
        originals: item id -> original id, added as a column; None for no such column.

    Raises:
        ValueError: an item's entry is not an object, or an id cannot be stored in a table.
    """
    rows = []
    ids = list(item_ids)
    _check_ids(ids, source)
    for item_id in ids:
        features = texts.get(item_id, {})
        if not isinstance(features, Mapping):
            raise ValueError(f"{source}: item {item_id!r} must have an object of texts, but has {features!r:.80}")
        rows.append([item_id, *(one_line(features.get(name, "")) for name in TEXT_FIELDS)])
    frame = pd.DataFrame(rows, columns=["item_id:token", *(f"{name}:{kind}" for name, kind in TEXT_FIELDS.items())])
    if originals is not None:
        frame["original_id:token"] = [originals.get(item, "") for item in ids]
    return frame


def convert_published(source: Path, name: str, target: Path) -> dict[str, int]:
    """Write ``<name>.inter`` and ``<name>.item`` as atomic files, and copy ``<name>.index.json``.

    The catalogue contains every item of the item file, the index file and the sequences, so items without interactions
    can be ranked too. If there is ``<name>.item2id``, the items get a column ``original_id``; if there is
    ``<name>.user2id``, ``<name>.user`` contains the users' ``original_user_id``. (RecBole allows one kind of values per
    column name, so the two need different names.)

    Args:
        source: folder with ``<name>.inter.json`` and, optionally, ``<name>.item.json``, ``<name>.index.json``,
            ``<name>.item2id`` and ``<name>.user2id``.
        name: name of the data set.
        target: existing folder for the atomic files.

    Returns:
        Counts of users, items and interactions, of items with texts and, if known, with original ids.

    Raises:
        ValueError: a file is damaged or not in the published format.
    """
    sequences = read_json_object(source / f"{name}.inter.json")
    interactions = sequence_rows(sequences, source / f"{name}.inter.json")
    item_file, index_file = source / f"{name}.item.json", source / f"{name}.index.json"
    texts = read_json_object(item_file) if item_file.is_file() else {}
    indexed = read_json_object(index_file) if index_file.is_file() else {}
    bought = dict.fromkeys(interactions["item_id:token"])
    if texts and not bought.keys() & texts.keys():
        raise ValueError(
            f"{item_file} has none of the items of the sequences: its first is {next(iter(texts))!r}, theirs "
            f"{next(iter(bought))!r}; it belongs to other data"
        )
    catalogue = sorted(bought.keys() | texts.keys() | indexed.keys(), key=numbers_first)
    counts = {
        "users": len(sequences),
        "items": len(catalogue),
        "interactions": len(interactions),
        "items with texts": len(texts),
    }
    item_numbers, user_numbers = source / f"{name}.item2id", source / f"{name}.user2id"
    originals = None
    if item_numbers.is_file():
        originals = original_ids(item_numbers, catalogue, "items")
        counts["items with an original id"] = len(originals)
    users = interactions["user_id:token"].drop_duplicates()
    _warn_of_reserved(name, [*users, *catalogue])
    write_atomic(target / f"{name}.inter", interactions)
    write_atomic(target / f"{name}.item", item_rows(catalogue, texts, item_file if texts else None, originals))
    if user_numbers.is_file():
        owners = original_ids(user_numbers, users, "users")
        column = [owners.get(user, "") for user in users]
        frame = pd.DataFrame({"user_id:token": list(users), "original_user_id:token": column})
        write_atomic(target / f"{name}.user", frame)
        counts["users with an original id"] = len(owners)
    if index_file.is_file():
        shutil.copyfile(index_file, target / index_file.name)
    return counts


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _check_ids(ids: Iterable[str], source: Path | None) -> None:
    for one in ids:
        if not one.strip() or NOT_IN_IDS.search(one):
            raise ValueError(f"{source}: the id {one!r:.80} is blank, or contains a line break or a control character")


def _warn_of_reserved(name: str, ids: Iterable[str]) -> None:
    reserved = [one for one in ids if one in RESERVED_IDS]
    if reserved:
        shown = f"{', '.join(reserved[:_NAMED])}{', ...' if len(reserved) > _NAMED else ''}"
        getLogger().warning(
            f"{name}: RecBole reads {len(reserved):,} id(s) as missing values, whose rows it drops, or as its padding: "
            f"{shown}; rename them to keep the rows"
        )
