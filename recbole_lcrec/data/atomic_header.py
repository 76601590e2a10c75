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
        ValueError: the file is empty, compressed, in another encoding or without rows, names a column twice, or its
            first row has more fields than the header.
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
    columns = [column.partition(":") for column in header.split(separator)]
    names = [name for name, _, _ in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: the header names the column {twice[0]!r} twice; give each column a name of its own")
    fields = row.rstrip("\r\n").split(separator)
    if len(fields) > len(names):
        raise ValueError(
            f"{path}: the first row has {len(fields)} fields, but the header names {len(names)} columns, separated by "
            f"{separator!r} (field_separator); name every column, or remove the surplus fields"
        )
    return {name: kind for name, _, kind in columns}


def require_columns(
    path: Path, names: Sequence[str], separator: str, encoding: str, required_by: str, kind: str | None = None
) -> None:
    """Check from its header that an atomic file has the given columns.

    Args:
        path: the file.
        names: of the columns.
        separator: RecBole's ``field_separator``.
        encoding: RecBole's ``encoding``.
        required_by: the parameters that need the columns, for messages.
        kind: the type that all of them must have; None: any of RecBole's.

    Raises:
        ValueError: a column is missing or has no valid type, or the file is not an atomic file; names the column, the
            parameter that needs it, and the existing columns.
    """
    columns = atomic_columns(path, separator, encoding)
    absent = [name for name in names if name not in columns]
    if absent:
        hint = f"; columns must be separated by {separator!r}, or set --field_separator" if len(columns) == 1 else ""
        raise ValueError(
            f"{path}: no column {', '.join(map(repr, absent))}, required by {required_by}; "
            f"its columns are {', '.join(columns)}{hint}"
        )
    untyped = [name for name in names if columns[name] not in _TYPES]
    if untyped:
        raise ValueError(
            f"{path}: the header must name {untyped[0]!r} with its type, as {untyped[0]}:token, with columns separated "
            f"by {separator!r} (field_separator); the types are {', '.join(_TYPES)}, not {columns[untyped[0]]!r}"
        )
    wrong = [name for name in names if kind is not None and columns[name] != kind]
    if wrong:
        raise ValueError(
            f"{path}: the column {wrong[0]!r} is of type {columns[wrong[0]]}, but {required_by} needs {kind}: write "
            f"{wrong[0]}:{kind} in the header"
        )
