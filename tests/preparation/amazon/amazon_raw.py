"""Raw files as their publishers write them, and the expected results in plain Python over tuples."""

import gzip
import json

DAY = 86400


def packed(path, text):
    """Write a gzipped file from text or bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode() if isinstance(text, str) else text))
    return path


def json_lines(path, records):
    return packed(path, "".join(json.dumps(record) + "\n" for record in records))


def review_2018(user, item, rating, time, text="Fine.", summary="Five Stars"):
    return {
        "overall": rating, "verified": True, "reviewTime": "09 1, 2016", "reviewerID": user, "asin": item,
        "style": {"Color:": " Black"}, "reviewerName": "A. Name", "reviewText": text, "summary": summary,
        "unixReviewTime": time,
    }  # fmt: skip


def meta_2018(item, title, **fields):
    return {
        "category": ["Video Games", "PC", "Games"], "tech1": "", "description": ["A <b>fine</b> thing.", "", ""],
        "fit": "", "title": title, "also_buy": [], "tech2": "", "brand": "Maker", "feature": [], "rank": [],
        "also_view": [], "main_cat": "Video Games", "similar_item": "", "date": "", "price": "", "asin": item,
        "imageURL": [], "imageURLHighRes": [], **fields,
    }  # fmt: skip


def review_2023(user, item, rating, time, text="Fine.", title="Five Stars"):
    return {
        "rating": rating, "title": title, "text": text, "images": [], "asin": f"V{item[1:]}", "parent_asin": item,
        "user_id": user, "timestamp": time, "helpful_vote": 0, "verified_purchase": True,
    }  # fmt: skip


def meta_2023(item, title, **fields):
    return {
        "main_category": "Video Games", "title": title, "average_rating": 4.5, "rating_number": 7, "features": [],
        "description": ["A fine thing."], "price": None, "images": [], "videos": [], "store": "Maker",
        "categories": ["Video Games", "PC"], "details": {"Brand": "Other"}, "parent_asin": item,
        "bought_together": None, **fields,
    }  # fmt: skip


def ratings_2018(path, events, users_first=False):
    """Write (user, item, rating, time) as a ratings file: items first, no header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(u, i, r, t) if users_first else (i, u, r, t) for u, i, r, t in events]
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")


def user_id(number):
    return f"A{number:012d}XY"


def item_id(number):
    return f"B{number:09d}"


def random_events(rng, n_users=14, n_items=12, count=260):
    """Return events on few days, with equal times, exact duplicates and repeated items."""
    events = []
    for _ in range(count):
        user, item = user_id(rng.integers(n_users)), item_id(rng.integers(n_items))
        events.append((user, item, float(rng.integers(1, 6)), 1_400_000_000 // DAY * DAY + DAY * int(rng.integers(9))))
        if rng.random() < 0.1:
            events.append(events[int(rng.integers(len(events)))])
    return events


def prepared_by_hand(events, titled, k=5, keep_repeats=False):
    """Return counts (interactions) after each step, and the kept events in the order of the result."""
    counts = [len(events)]
    seen, left = set(), []
    for line, (user, item, rating, time) in enumerate(events):
        if (user, item, time) not in seen:
            seen.add((user, item, time))
            left.append((user, item, rating, time, line))
    counts.append(len(left))
    if not keep_repeats:
        pairs, firsts = set(), []
        for event in sorted(left, key=lambda event: (event[3], event[4])):
            if event[:2] not in pairs:
                pairs.add(event[:2])
                firsts.append(event)
        left = firsts
        counts.append(len(left))
    left = [event for event in left if event[1] in titled]
    counts.append(len(left))
    while True:
        users, items = [event[0] for event in left], [event[1] for event in left]
        stays = [event for event in left if users.count(event[0]) >= k and items.count(event[1]) >= k]
        if len(stays) == len(left):
            break
        left = stays
    counts.append(len(left))
    first_line = {}
    for line, event in enumerate(events):
        first_line.setdefault(event[0], line)
    return counts, sorted(left, key=lambda event: (first_line[event[0]], event[3], event[4]))
