"""Header of RecBole's atomic files.

Column names and types, and checks that a file is atomic at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["atomic_columns", "require_columns"]

_TYPES = ("token", "token_seq", "float", "float_seq")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh9": "bzip2", b"\xfd7zXZ": "xz"}
_MARK = "\ufeff"


def atomic_columns(path: Path, separator: str, encoding: str) -> dict[str, str]:
    """Read the column names and types from the first line of an atomic file, in their order.

    Args:
        path: a ``.inter``, ``.item`` or ``.user`` file.
        separator: RecBole's ``field_separator``.
        encoding: RecBole's ``encoding``.

    Raises:
        ValueError: the file is empty, compressed, in another encoding, or has no rows.
    """
    with path.open("rb") as file:
        begin = file.read(max(map(len, _COMPRESSED)))
    if not begin:
        raise ValueError(f"{path} is empty; its first line must name the columns, such as item_id:token")
    compression = next((name for magic, name in _COMPRESSED.items() if begin.startswith(magic)), None)
    if compression:
        raise ValueError(f"{path} is compressed ({compression}); decompress it, RecBole reads plain text")
    try:
        with path.open(encoding=encoding) as lines:
            header, row = lines.readline().rstrip("\r\n"), next((line for line in lines if line.strip()), None)
    except UnicodeDecodeError as err:
        raise ValueError(f"{path} is not {encoding} ({err}); save it as UTF-8, or set --encoding") from err
    except LookupError as err:
        raise ValueError(
            f"encoding = {encoding!r}: Python has no encoding of this name; the usual one is utf-8"
        ) from err
    if header.startswith(_MARK):
        raise ValueError(
            f"{path} starts with a byte-order mark; save it as UTF-8 without one, or set --encoding=utf-8-sig"
        )
    if row is None:
        raise ValueError(f"{path} has a header but no rows")
    return {name: kind for name, _, kind in (column.partition(":") for column in header.split(separator))}


def require_columns(path: Path, names: Sequence[str], separator: str, encoding: str, required_by: str) -> None:
    """Check from its header that an atomic file has the given columns.

    Raises:
        ValueError: a column is missing or has no valid type, or the file is not an atomic file; names the column, the
            parameter that needs it, and the existing columns.
    """
    columns = atomic_columns(path, separator, encoding)
    absent = [name for name in names if name not in columns]
    if absent:
        raise ValueError(
            f"{path}: no column {', '.join(map(repr, absent))}, required by {required_by}; "
            f"its columns are {', '.join(columns)}"
        )
    untyped = [name for name in names if columns[name] not in _TYPES]
    if untyped:
        raise ValueError(
            f"{path}: the header must name {untyped[0]!r} with its type, as {untyped[0]}:token, with columns separated "
            f"by {separator!r} (field_separator); the types are {', '.join(_TYPES)}, not {columns[untyped[0]]!r}"
        )
