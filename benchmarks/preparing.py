"""Seconds and memory of preparing raw files of Amazon Review Data 2018, of the size of Video_Games.

    python benchmarks/preparing.py --reviews=20_000
    python benchmarks/preparing.py --folder=/large/disk/empty

The raw files are synthetic and of the publishers' form: 2,565,349 reviews by 1.54 M users on 71,982 products, sorted by
product, a table of the same ratings, and 84,819 lines of metadata; ``--reviews`` scales all of it alike. Texts are
stretches of one long line of words of Zipf's frequencies, of log-normal length, 600 characters in the mean. Users and
products are of log-normal popularity, so that the 5-core leaves about what it leaves of the true files (50,546 users,
16,859 items, 452,989 interactions); some lines are there twice, and some titles are empty or page source.

``reviews`` prepares reviews and metadata, ``ratings`` has the table of ratings beside them, from which interactions are
then taken. Each is ``python -m recbole_lcrec.data prepare Games`` in a process of its own, imports included. Peak
memory must stay below 4 GiB at the full size, and the seconds of processor time are what to compare on a machine that
does other things too. The full size takes about 3 GB of disk: of ``--folder``, which keeps the files, else of the
system's temporary folder, which does not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
NAME, CATEGORY = "Games", "Video_Games"
REVIEWS, USERS, PRODUCTS, METADATA_LINES = 2_565_349, 1_540_000, 71_982, 84_819
RATINGS_FILE, REVIEWS_FILE, METADATA_FILE = f"{CATEGORY}.csv", f"{CATEGORY}.json.gz", f"meta_{CATEGORY}.json.gz"
FORMS = {"reviews": (REVIEWS_FILE, METADATA_FILE), "ratings": (RATINGS_FILE, REVIEWS_FILE, METADATA_FILE)}
USER_SPREAD, PRODUCT_SPREAD = 1.8, 1.95  # of the logarithm; chosen for what the 5-core leaves
TWICE, UNLISTED, LISTED_TWICE = 0.03, 0.003, 0.015  # shares of reviews, of products, of lines of metadata
TEXT_MEAN, TEXT_SPREAD, TEXT_LONGEST = 600, 1.2, 32_000
LINE_OF_WORDS, N_WORDS = 6_000_000, 30_000
MARKED = ("I'm", "don't", '"great"', "10/10.", "it\u2019s", "&amp;", "&#34;fun&#34;", "<br />", "\n\n", "\u2022")
DAY, FIRST_DAY, LAST_DAY = 86_400, "1999-10-14", "2018-10-03"
PAGE_SOURCE = "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();"
AT_ONCE = 10_000
GIB, MIB = 2**30, 2**20


class Texts:
    """Stretches of one long line of words."""

    def __init__(self, rng: np.random.Generator) -> None:
        letters = np.frombuffer(b"eeeettaaooiinnsshhrrddllucmwfgypbvk", dtype="S1")
        lengths = 2 + rng.poisson(np.linspace(1, 6, N_WORDS))
        words = [rng.choice(letters, n).tobytes().decode() for n in lengths.tolist()]
        words[150 : 150 + len(MARKED)] = MARKED
        shares = np.cumsum(1 / (np.arange(N_WORDS) + 2.7))
        ranks = np.searchsorted(shares, shares[-1] * rng.random(LINE_OF_WORDS))
        self._line, self._rng = " ".join(map(words.__getitem__, ranks.tolist())), rng

    def draw(self, count: int, mean: float, spread: float = 0.5) -> list[str]:
        """Texts of log-normal length, at least one character each."""
        lengths = self._rng.lognormal(np.log(mean) - spread**2 / 2, spread, count).clip(1, TEXT_LONGEST).astype(int)
        starts = self._rng.integers(len(self._line) - TEXT_LONGEST, size=count)
        ends = starts + lengths
        return [self._line[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def ids(prefix: str, count: int, digits: int, rng: np.random.Generator) -> list[str]:
    """Ids such as ``A2L77EE7U53NWQ``, drawn; of so many digits that no two are alike."""
    signs = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype="S1")
    drawn = signs[rng.integers(36, size=(count, digits), dtype=np.uint8)].view(f"S{digits}")[:, 0]
    return [prefix + one.decode() for one in drawn.tolist()]


def by_popularity(count: int, rows: int, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Codes int64 [rows], each at least once, beyond that by log-normal popularity, in no order."""
    shares = np.cumsum(rng.lognormal(sigma=spread, size=count))
    more = np.searchsorted(shares, shares[-1] * rng.random(rows - count))
    return rng.permutation(np.concatenate([np.arange(count), more]))


def drawn_events(n_reviews: int, n_users: int, n_products: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Users, products, ratings and days since 1970, [n_reviews] each, sorted by product."""
    first, last = (int(np.datetime64(day, "D").astype(int)) for day in (FIRST_DAY, LAST_DAY))
    once = n_reviews - int(TWICE * n_reviews)
    users = by_popularity(n_users, once, USER_SPREAD, rng)
    products = by_popularity(n_products, once, PRODUCT_SPREAD, rng)
    days = first + ((last - first) * rng.beta(4, 1.5, size=once)).astype(np.int64)
    ratings = rng.choice(5, once, p=(0.12, 0.06, 0.09, 0.17, 0.56)) + 1
    rows = np.concatenate([np.arange(once), rng.integers(once, size=n_reviews - once)])
    rows = rows[np.argsort(products[rows], kind="stable")]
    return users[rows], products[rows], ratings[rows], days[rows]


def rating_lines(events: tuple[np.ndarray, ...], user_ids: list[str], product_ids: list[str]) -> Iterator[str]:
    """The table: product, user, rating, seconds; without a header."""
    for start in range(0, len(events[0]), AT_ONCE):
        part = (column[start : start + AT_ONCE].tolist() for column in events)
        for user, product, rating, day in zip(*part, strict=True):
            yield f"{product_ids[product]},{user_ids[user]},{rating}.0,{day * DAY}"


def review_lines(
    events: tuple[np.ndarray, ...],
    user_ids: list[str],
    product_ids: list[str],
    texts: Texts,
    rng: np.random.Generator,
) -> Iterator[str]:
    """Reviews as JSON; days in words are as ``09 1, 2016``."""
    days = np.arange(events[3].min(), events[3].max() + 1)
    words = {
        day: date.strftime("%m ") + f"{date.day}, {date.year}"
        for day, date in zip(days.tolist(), days.astype("M8[D]").tolist(), strict=True)
    }
    for start in range(0, len(events[0]), AT_ONCE):
        part = [column[start : start + AT_ONCE].tolist() for column in events]
        count = len(part[0])
        told = (texts.draw(count, TEXT_MEAN, TEXT_SPREAD), texts.draw(count, 25), texts.draw(count, 13))
        marks = (rng.random((4, count)) < np.array([[0.8], [0.5], [0.12], [0.01]])).tolist()
        for user, product, rating, day, text, summary, name, bought, styled, voted, shown in zip(
            *part, *told, *marks, strict=True
        ):
            record: dict[str, Any] = {"overall": float(rating)}
            if voted:
                record["vote"] = "7"
            if shown:
                record["image"] = [f"https://images-na.ssl-images-amazon.com/images/I/{product_ids[product]}._SY88.jpg"]
            record |= {"verified": bought, "reviewTime": words[day], "reviewerID": user_ids[user]}
            record["asin"] = product_ids[product]
            if styled:
                record["style"] = {"Platform:": " PlayStation 4", "Edition:": " Standard"}
            record |= {"reviewerName": name, "reviewText": text, "summary": summary, "unixReviewTime": day * DAY}
            yield json.dumps(record)


def metadata_lines(count: int, product_ids: list[str], texts: Texts, rng: np.random.Generator) -> Iterator[str]:
    """Metadata as JSON: nearly all products, some twice, and products that nobody reviewed."""
    listed = product_ids[int(UNLISTED * len(product_ids)) :]
    twice = int(LISTED_TWICE * count)
    listed += ids("B0", count - twice - len(listed), 8, rng)
    order = rng.permutation(np.concatenate([np.arange(len(listed)), rng.integers(len(listed), size=twice)]))
    brands = texts.draw(max(count // 20, 1), 12)
    for row in order.tolist():
        product, chance = listed[row], rng.random()
        n_described, n_features, n_bought, n_viewed = rng.integers((1, 0, 0, 0), (4, 6, 60, 60)).tolist()
        bought, viewed = (
            [product_ids[other] for other in rng.integers(len(product_ids), size=n).tolist()]
            for n in (n_bought, n_viewed)
        )
        image = f"https://images-na.ssl-images-amazon.com/images/I/{product}"
        yield json.dumps(
            {
                "category": ["Video Games", "PlayStation 4", "Games", "</span></span></span>", *texts.draw(1, 15)],
                "tech1": "",
                "description": texts.draw(n_described, 700, 0.9),
                "fit": "",
                "title": "" if chance < 0.005 else PAGE_SOURCE if chance < 0.01 else texts.draw(1, 45)[0],
                "also_buy": bought,
                "tech2": "",
                "brand": f"by\n    \n    {brands[row % len(brands)]}",
                "feature": texts.draw(n_features, 100),
                "rank": [f">#{row:,} in Video Games (See Top 100 in Video Games)"],
                "also_view": viewed,
                "details": {"Shipping Weight:": "4 ounces", "ASIN: ": product},
                "main_cat": "Video Games",
                "similar_item": "<table>" + "<td></td>".join(texts.draw(4, 300)) + "</table>" if chance > 0.8 else "",
                "date": "",
                "price": f"${100 * chance:.2f}",
                "asin": product,
                "imageURL": [f"{image}._SX38_SY50_CR,0,0,38,50_.jpg"],
                "imageURLHighRes": [f"{image}.jpg"],
            }
        )


def write_lines(path: Path, lines: Iterable[str]) -> dict[str, int]:
    """Writes a file, gzipped where its name says so; its lines, bytes on disk and bytes unpacked."""
    count = unpacked = 0
    rest = iter(lines)
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as stream:
        while part := list(islice(rest, AT_ONCE)):
            data = ("\n".join(part) + "\n").encode()
            stream.write(data)
            count, unpacked = count + len(part), unpacked + len(data)
    return {"lines": count, "on disk": path.stat().st_size, "unpacked": unpacked}


def write_raw(folder: Path, n_reviews: int, seed: int) -> dict[str, dict[str, int]]:
    """The three raw files, and the size of each."""
    rng = np.random.default_rng(seed)
    n_users, n_products, n_lines = (max(n * n_reviews // REVIEWS, 1) for n in (USERS, PRODUCTS, METADATA_LINES))
    texts, user_ids, product_ids = Texts(rng), ids("A", n_users, 13, rng), ids("B0", n_products, 8, rng)
    events = drawn_events(n_reviews, n_users, n_products, rng)
    lines = {
        RATINGS_FILE: rating_lines(events, user_ids, product_ids),
        REVIEWS_FILE: review_lines(events, user_ids, product_ids, texts, rng),
        METADATA_FILE: metadata_lines(n_lines, product_ids, texts, rng),
    }
    return {name: write_lines(folder / name, each) for name, each in lines.items()}


def prepare(files: Path, form: str, folder: Path) -> dict[str, float]:
    """Prepares one form in a process of its own: what it took and what it left."""
    raw = folder / NAME / "raw"
    raw.mkdir(parents=True)
    for name in FORMS[form]:
        (raw / name).symlink_to(files / name)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-m", "recbole_lcrec.data", "prepare", NAME, f"--data_path={folder}"]
    log = folder / "prepare.log"
    with log.open("wb") as stream:
        begin = perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{form}: exit status {process.returncode}\n{log.read_text(errors='replace')}")
    report = json.loads((folder / NAME / f"{NAME}.report.json").read_text(encoding="utf-8"))
    left = report["steps"][-1]
    return {
        "wall s": wall,
        "processor s": usage.ru_utime + usage.ru_stime,
        "peak memory, GiB": usage.ru_maxrss * (1024 if platform.system() == "Linux" else 1) / GIB,
        **{f"{what} left": left[what] for what in ("users", "items", "interactions")},
        "interactions with a review": report["notes"]["interactions with a review"],
    }


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Writes the raw files, prepares each form of them, and prints the table."""
    # a process starts with the peak of the one that started it: what writes must not be what starts the preparation
    command = [sys.executable, str(Path(__file__).resolve()), f"--reviews={options.reviews}", f"--seed={options.seed}"]
    files = folder / "files"
    files.mkdir()
    begin = perf_counter()
    done = subprocess.run([*command, f"--write={files}"], check=True, stdout=subprocess.PIPE, text=True)
    writing = perf_counter() - begin
    sizes = json.loads(done.stdout.splitlines()[-1])
    columns = []
    for form, names in FORMS.items():
        lines, on_disk, unpacked = (sum(sizes[n][what] for n in names) for what in ("lines", "on disk", "unpacked"))
        found = prepare(files, form, folder / form)
        columns.append(
            {
                "lines of the raw files": f"{lines:,}",
                "on disk, MiB": f"{on_disk / MIB:,.0f}",
                "unpacked, MiB": f"{unpacked / MIB:,.0f}",
                **{
                    name: f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" for name, value in found.items()
                },
            }
        )
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    table = tabulate(rows, headers=[f"{options.reviews:,} reviews", *FORMS], tablefmt="pipe", disable_numparse=True)
    sys.stdout.write(f"{platform.machine()}, files written in {writing:,.0f} s\n{table}\n")


def main() -> None:
    """Measures in a folder of the user's, or in a temporary one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, default=REVIEWS, help="reviews; all else in proportion")
    parser.add_argument("--folder", type=Path, help="empty or new; takes the files, which stay there")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        sys.stdout.write(json.dumps(write_raw(options.write, options.reviews, options.seed)) + "\n")
    elif options.reviews < 1000:
        parser.error(f"--reviews={options.reviews}: too few for a 5-core; give 1000 or more")
    elif options.folder is None:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder).resolve(), options)
    else:
        options.folder.mkdir(parents=True, exist_ok=True)
        if any(options.folder.iterdir()):
            parser.error(f"--folder={options.folder} is not empty; name another")
        measure(options.folder.resolve(), options)


if __name__ == "__main__":
    main()
