"""Read and write id files (``item2id``, ``user2id``): lines of ``ORIGINAL<TAB>number``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from logging import getLogger
from pathlib import Path

__all__ = ["original_ids", "read_id_file", "write_id_file"]


def read_id_file(path: Path) -> dict[str, str]:
    """Read an id file.

    An original id may contain blanks and tabs: the last tab of a line separates it from the number. Identical lines may
    be repeated.

    Returns:
        number, as written -> original id.

    Raises:
        ValueError: the file is not UTF-8, a line is damaged, or two lines contradict each other; names the lines.
    """
    originals: dict[str, str] = {}
    numbers: dict[str, str] = {}
    lines: dict[str, int] = {}
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise ValueError(f"{path} is not a readable id file ({err}); restore it from its source, or remove it") from err
    for at, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip("\r")
        if not line.strip():
            continue
        original, _, number = line.rpartition("\t")
        if not original.strip() or not (number.isascii() and number.isdecimal()) or set(original) & set("\r\x00"):
            raise ValueError(f"{path}, line {at}: expected an id, a tab and a whole number, found {line!r:.80}")
        for key, value, known in ((number, original, originals), (original, number, numbers)):
            if known.setdefault(key, value) != value:
                raise ValueError(
                    f"{path}: {key!r} stands for {known[key]!r} on line {lines[key]}, and for {value!r} on line {at}; "
                    "ids and numbers must correspond one to one"
                )
            lines.setdefault(key, at)
    return originals


def original_ids(path: Path, ids: Iterable[str], what: str) -> dict[str, str]:
    """Return the original ids of a data set's items or users.

    The log counts ids without a line in the file, and lines whose number is not in the data.

    Args:
        path: the id file.
        ids: the ids of the data.
        what: ``items`` or ``users``, for messages.

    Returns:
        id -> original id, for ids that the file lists.

    Raises:
        ValueError: as in :func:`read_id_file`, or the file has none of the ids.
    """
    known, listed = list(ids), read_id_file(path)
    found = {one: listed[one] for one in known if one in listed}
    if known and not found:
        example = next(iter(listed.items()), None)
        raise ValueError(
            f"{path} lists none of the {what} of the data: its first number is {example and example[0]!r}, the data's "
            f"first id {known[0]!r}; it belongs to other data: restore it from its source, or remove it"
        )
    if len(found) < len(known) or len(found) < len(listed):
        getLogger().warning(
            f"{path.name}: {len(known) - len(found):,} of {len(known):,} {what} have no original id, and "
            f"{len(listed) - len(found):,} of {len(listed):,} lines are for {what} that are not in the data"
        )
    return found


def write_id_file(path: Path, originals: Mapping[str, str]) -> None:
    """Write number -> original id as an id file, in the order of the mapping.

    Raises:
        ValueError: an original id contains a line break, or a number is not a whole number.
    """
    for number, original in originals.items():
        if not original.strip() or any(sign in original for sign in "\r\n\x00"):
            raise ValueError(
                f"{path.name}: the id {original!r:.80} is blank or contains a line break; correct it in the data"
            )
        if not (number.isascii() and number.isdecimal()):
            raise ValueError(f"{path.name}: {number!r} is not a whole number")
    text = "".join(f"{original}\t{number}\n" for number, original in originals.items())
    path.write_text(text, encoding="utf-8", newline="")
