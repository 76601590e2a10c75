"""Known sequences as CSV files in MiniOneRec's format."""

import csv

import numpy as np

from recbole_lcrec.preparation.forms.minionerec_rows import COLUMNS

TITLES = [
    "plain",
    'it\'s "quoted"',
    "a, b; c",
    "🎮 ünï",
    "[not a list]",
    "tab\tand\nline",
    "nul\x00byte",
    "<a_1> in it",
]


def title_of(item):
    return f"{TITLES[item % len(TITLES)]} {item}"


def sid_of(item):
    return f"<a_{item % 3}><b_{item % 5}><c_{item}>"


def rows_of(known, cut):
    """Return (user, place, history, target) for each item but the first, with histories cut to their newest items."""
    return [
        (user, at, items[max(0, at - cut) : at], items[at])
        for user, items in known.items()
        for at in range(1, len(items))
    ]


def cells(user, history, target):
    return [
        user,
        repr([title_of(item) for item in history]),
        title_of(target),
        repr(history),
        target,
        repr([sid_of(item) for item in history]),
        sid_of(target),
    ]


def write_csv(path, rows, header=COLUMNS):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


def split_files(folder, rows, name="Shop_5_2016-10-2018-11.csv"):
    """Split rows in time order 8 : 1 : 1, in the published layout."""
    bounds = [0, len(rows) * 8 // 10, len(rows) * 9 // 10, len(rows)]
    for split, start, end in zip(("train", "valid", "test"), bounds, bounds[1:], strict=False):
        write_csv(folder / split / name, [cells(user, history, target) for user, _, history, target in rows[start:end]])
    return folder


def random_sequences(rng, repeats):
    n_items = 6 if repeats else 60
    return {
        f"A{user}": [int(item) for item in rng.choice(n_items, size=rng.integers(2, 30), replace=repeats)]
        for user in range(25)
    }


def by_time(rng, rows, known):
    """Return all rows by random times, each user's own in order."""
    times = {user: np.sort(rng.random(len(items))) for user, items in known.items()}
    return sorted(rows, key=lambda row: times[row[0]][row[1]])
