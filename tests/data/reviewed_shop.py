"""A tiny data set with reviews, each with a unique word that names its user and position: ``marker<user>x<place>``."""

import numpy as np

from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.data.sequences import UserSequences

ITEMS = ["a", "b", "c", "d", "e"]
COLUMNS = ("user_id", "item_id", "timestamp")
REVIEW_FIELDS = ("summary", "review")
# user, item, seconds; lines are not in time order, items repeat (also held out), times are equal
EVENTS = [
    ("again", "a", 30), ("plain", "c", 3), ("again", "b", 20), ("tie", "b", 7), ("again", "a", 10), ("tie", "a", 7),
    ("plain", "a", 1), ("again", "a", 40), ("tie", "b", 7), ("again", "b", 50), ("plain", "b", 2), ("tie", "a", 7),
    ("plain", "d", 4), ("again", "a", 60), ("tie", "b", 7), ("plain", "e", 5), ("tie", "c", 6),
]  # fmt: skip
TEXTS = ItemTexts(
    tuple(ITEMS),
    ("oak table", "steel lamp", "wool rug", "pine shelf", "clay vase"),
    tuple(f"A {name} for the house. It was made by hand." for name in ("table", "lamp", "rug", "shelf", "")),
)


def marker(user, place):
    """One word of letters only, so that word tokenizers keep it."""
    return f"marker{user}x{'abcdefghij'[place]}"


def histories(events=EVENTS):
    """User -> (item, line) by time, then line."""
    found = {}
    for line, (user, item, time) in enumerate(events):
        found.setdefault(user, []).append((time, line, item))
    return {user: [(item, line) for _, line, item in sorted(rows)] for user, rows in found.items()}


def write_reviewed(root, events=EVENTS):
    """Write an atomic ``shop.inter`` with quotes, tabs and line breaks in reviews, as pandas writes them."""
    folder = root / "shop"
    folder.mkdir(parents=True, exist_ok=True)
    place_of = {line: (user, n) for user, rows in histories(events).items() for n, (_, line) in enumerate(rows)}
    lines = ["user_id:token\titem_id:token\ttimestamp:float\tsummary:token_seq\treview:token_seq"]
    for line, (user, item, time) in enumerate(events):
        word = marker(*place_of[line])
        review = f'"I said ""good"" {word}.\n<b>Very</b>\tgood & cheap."'
        lines.append(f"{user}\t{item}\t{1_700_000_000 + time}\tSummary {word}!\t{review}")
    path = folder / "shop.inter"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "shop.item").write_text("\n".join(["item_id:token", *ITEMS]) + "\n", encoding="utf-8")
    return path


def training(events=EVENTS, held_out=2):
    """(user ids, training sequences): all but each user's last two."""
    users, items, offsets = [], [], [0]
    for user, rows in sorted(histories(events).items()):
        kept = rows[: len(rows) - held_out]
        users.append(user)
        items += [ITEMS.index(item) for item, _ in kept]
        offsets.append(len(items))
    return users, UserSequences(np.arange(len(users)) + 1, np.array(items, dtype=np.int64), np.array(offsets))


def held_out_markers(events=EVENTS, held_out=2):
    return {
        marker(user, place)
        for user, rows in histories(events).items()
        for place in range(len(rows) - held_out, len(rows))
    }


def training_markers(events=EVENTS, held_out=2):
    """(user, place) -> marker."""
    return {
        (user, place): marker(user, place)
        for user, rows in histories(events).items()
        for place in range(len(rows) - held_out)
    }
