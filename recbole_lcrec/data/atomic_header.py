"""The first line of an atomic file: which columns it has, and what keeps a file from being one.

Knows RecBole's ``name:type``. Refuses to know what a column means.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["atomic_columns", "require_columns"]

_TYPES = ("token", "token_seq", "float", "float_seq")
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh9": "bzip2", b"\xfd7zXZ": "xz"}
_MARK = "\ufeff"


def atomic_columns(path: Path, separator: str, encoding: str) -> dict[str, str]:
    """The columns of an atomic file in their order: name -> type, as the first line has them.

    Args:
        path: a ``.inter``, ``.item`` or ``.user`` file.
        separator: RecBole's ``field_separator``.
        encoding: RecBole's ``encoding``.

    Raises:
        ValueError: the file is empty, packed, in another encoding, or without rows.
    """
    with path.open("rb") as file:
        begin = file.read(max(map(len, _PACKED)))
    if not begin:
        raise ValueError(f"{path} is empty; its first line must name the columns, such as item_id:token")
    packed = next((name for magic, name in _PACKED.items() if begin.startswith(magic)), None)
    if packed:
        raise ValueError(f"{path} is packed by {packed}; unpack it, RecBole reads plain text")
    try:
        with path.open(encoding=encoding) as lines:
            header, row = lines.readline().rstrip("\r\n"), next((line for line in lines if line.strip()), None)
    except UnicodeDecodeError as err:
        raise ValueError(f"{path} is not {encoding} ({err}); save it as UTF-8, or name its --encoding") from err
    except LookupError as err:
        raise ValueError(f"encoding = {encoding!r}: Python knows none of this name; utf-8 is the usual one") from err
    if header.startswith(_MARK):
        raise ValueError(
            f"{path} begins with a byte-order mark; save it as UTF-8 without one, or set --encoding=utf-8-sig"
        )
    if row is None:
        raise ValueError(f"{path} has a header and no rows")
    return {name: kind for name, _, kind in (column.partition(":") for column in header.split(separator))}


def require_columns(path: Path, names: Sequence[str], separator: str, encoding: str, asked_by: str) -> None:
    """Makes sure, by its header alone, that an atomic file has columns.

    Raises:
        ValueError: it lacks one, names the column, who asks for it, and the columns there are; or the column has no
            type of RecBole's; or the file is no atomic file.
    """
    columns = atomic_columns(path, separator, encoding)
    absent = [name for name in names if name not in columns]
    if absent:
        raise ValueError(
            f"{path}: no column {', '.join(map(repr, absent))}, asked for by {asked_by}; "
            f"its columns are {', '.join(columns)}"
        )
    untyped = [name for name in names if columns[name] not in _TYPES]
    if untyped:
        raise ValueError(
            f"{path}: the first line must name {untyped[0]!r} with its type, as {untyped[0]}:token, parted by "
            f"{separator!r} (field_separator); the types are {', '.join(_TYPES)}, and it has {columns[untyped[0]]!r}"
        )
