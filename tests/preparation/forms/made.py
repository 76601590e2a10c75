"""Data sets of the tests in several formats, written and read by plain Python."""

import csv
import json

from recbole_lcrec.preparation.forms.atomic_table import read_atomic


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def write_published(folder, name, **contents):
    """Write ``inter``, ``item``, ``index`` and ``user`` as JSON, ``item2id`` and ``user2id`` from pairs or text."""
    for kind, content in contents.items():
        if kind in ("item2id", "user2id"):
            folder.mkdir(parents=True, exist_ok=True)
            text = content if isinstance(content, str) else "".join(f"{one}\t{number}\n" for one, number in content)
            (folder / f"{name}.{kind}").write_text(text, encoding="utf-8")
        else:
            write_json(folder / f"{name}.{kind}.json", content)
    return folder


def read_published(folder, name):
    """Read the existing files, by kind; id files as number -> id."""
    found = {}
    for kind in ("inter", "item", "index", "user"):
        path = folder / f"{name}.{kind}.json"
        if path.exists():
            found[kind] = json.loads(path.read_text(encoding="utf-8"))
    for kind in ("item2id", "user2id"):
        path = folder / f"{name}.{kind}"
        if path.exists():
            lines = [line.rsplit("\t", 1) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
            found[kind] = {number: one for one, number in lines}
    return found


def write_table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


def columns(path, *names):
    """Return the rows of an atomic file as tuples of some columns."""
    table = read_atomic(path).columns
    return list(zip(*(table[name] for name in names), strict=True))


def sequences(path):
    """Return user -> items in time order, for an ``.inter`` file whose times are whole numbers."""
    rows = columns(path, "user_id", "item_id", "timestamp")
    found = {}
    for _, user, item in sorted(((float(time), user, item) for user, item, time in rows), key=lambda row: row[0]):
        found.setdefault(user, []).append(item)
    return found


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())
