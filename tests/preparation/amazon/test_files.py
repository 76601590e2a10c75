"""Which raw files are used, errors if some are missing, and their addresses."""

import gzip

import pytest

from recbole_lcrec.preparation.amazon import prepare
from recbole_lcrec.preparation.amazon.files import category_of, expected_counts, find_raw, remote_files

HEADER_2023 = b"user_id,parent_asin,rating,timestamp\n"


def put(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        content = HEADER_2023 if name == "new.csv.gz" else b"B1,A1,5.0,1400000000\n"
        (folder / name.replace("new.csv", "Video_Games.csv")).write_bytes(gzip.compress(content))


def test_the_papers_names_map_to_categories():
    assert [category_of(name) for name in ("Games", "Instruments", "Arts", "Industrial_and_Scientific")] == [
        "Video_Games", "Musical_Instruments", "Arts_Crafts_and_Sewing", "Industrial_and_Scientific",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="cannot be an Amazon category"):
        category_of("../etc")


def test_counts_are_those_of_table_ii_without_padding():
    assert expected_counts("Games", "2018") == (50_547 - 1, 16_860 - 1, 452_989)
    assert expected_counts("Instruments", "2018") == (24_773 - 1, 9_923 - 1, 206_153)
    assert expected_counts("Arts", "2018") == (45_142 - 1, 20_957 - 1, 390_832)
    assert expected_counts("Games", "2023") is None and expected_counts("Video_Games", "2018") is None


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (
            ["Video_Games.csv", "Video_Games.json.gz", "Video_Games_5.json.gz", "meta_Video_Games.json.gz"],
            ("2018", "Video_Games.csv", "Video_Games_5.json.gz"),
        ),
        (["Video_Games.json", "meta_Video_Games.json"], ("2018", "Video_Games.json", "Video_Games.json")),
        (["Video_Games.csv.gz", "meta_Video_Games.json.gz"], ("2018", "Video_Games.csv.gz", None)),
        (["new.csv.gz", "meta_Video_Games.jsonl.gz"], ("2023", "Video_Games.csv.gz", None)),
        (
            ["Video_Games.jsonl.gz", "meta_Video_Games.jsonl.gz"],
            ("2023", "Video_Games.jsonl.gz", "Video_Games.jsonl.gz"),
        ),
    ],
)
def test_files_are_found_plain_and_gzipped(tmp_path, names, taken):
    put(tmp_path, *names)
    raw = find_raw("Games", tmp_path)
    assert (raw.edition, raw.interactions.name, raw.reviews and raw.reviews.name) == taken
    assert raw.category == "Video_Games" and raw.metadata.name == names[-1]
    assert find_raw("Arts", tmp_path) is None
    assert find_raw("mine", tmp_path, category="Video_Games") is not None


def test_a_smaller_core_reads_the_full_reviews(tmp_path):
    put(tmp_path, "Video_Games.json.gz", "Video_Games_5.json.gz", "meta_Video_Games.json.gz")
    assert find_raw("Games", tmp_path).interactions.name == "Video_Games_5.json.gz"
    assert find_raw("Games", tmp_path, full_reviews=True).interactions.name == "Video_Games.json.gz"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["Video_Games.csv"], "not meta_Video_Games.json.gz"),
        (["meta_Video_Games.json.gz"], "not Video_Games.csv or Video_Games_5.json.gz"),
        (["new.csv.gz", "meta_Video_Games.json.gz"], "both editions"),
        (["meta_Video_Games.jsonl.gz", "meta_Video_Games.json.gz"], "both editions"),
    ],
)
def test_an_incomplete_set_of_files_is_rejected(tmp_path, names, words):
    put(tmp_path, *names)
    with pytest.raises(ValueError, match=words):
        find_raw("Games", tmp_path)


def test_both_editions_in_one_folder_need_a_choice(tmp_path):
    put(tmp_path, *(f"{stem}Video_Games.{end}.gz" for stem in ("", "meta_") for end in ("json", "jsonl")))
    for edition, end in (("2018", "json"), ("2023", "jsonl")):
        assert find_raw("Games", tmp_path, edition).metadata.name == f"meta_Video_Games.{end}.gz"
    with pytest.raises(ValueError, match="edition = '2014' must be one of"):
        find_raw("Games", tmp_path, "2014")


def test_missing_files_are_listed_with_addresses(tmp_path):
    with pytest.raises(ValueError) as caught:
        prepare.require_raw("Games", tmp_path / "raw")
    for words in (str(tmp_path / "raw"), "https://", "/metaFiles2/meta_Video_Games.json.gz", "Video_Games.csv"):
        assert words in str(caught.value)


def test_addresses_follow_the_edition_and_the_mirror():
    files = {file.kind: file for file in remote_files("Arts", "2023")}
    assert files["metadata"].address.endswith("/amazon_2023/raw/meta_categories/meta_Arts_Crafts_and_Sewing.jsonl.gz")
    assert files["ratings"].name == "Arts_Crafts_and_Sewing.csv.gz"
    mirrored = remote_files("Arts", mirror="http://localhost:1/a/")
    assert mirrored[0].address == "http://localhost:1/a/categoryFilesSmall/Arts_Crafts_and_Sewing.csv"
    with pytest.raises(ValueError, match="did you mean"):
        remote_files("Arts", "203")


def test_downloads_keep_their_names(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        prepare, "download", lambda address, target, *known, **how: calls.append((address, target, how))
    )
    prepare.download_amazon("Games", tmp_path, mirror="http://m", proxy="http://p", kinds=("ratings", "metadata"))
    assert [(address.rsplit("/", 1)[-1], target) for address, target, _ in calls] == [
        (name, tmp_path / name) for name in ("Video_Games.csv", "meta_Video_Games.json.gz")
    ]
    assert all(how["proxy"] == "http://p" for _, _, how in calls)
