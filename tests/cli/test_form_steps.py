"""The steps export, minionerec and texts: from flags to files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from recbole_lcrec.cli.data.form_steps import EXPORT, MINIONEREC, TEXTS
from recbole_lcrec.cli.data.step import Step
from tests.preparation.amazon.amazon_raw import json_lines, meta_2018
from tests.preparation.forms.made import columns, names_in, read_published, write_json, write_published, write_table
from tests.preparation.forms.minionerec_csv import cells, rows_of, split_files, write_csv


def do(step: Step, *flags: str) -> None:
    parser = argparse.ArgumentParser()
    step.add_flags(parser)
    parser.add_argument("--data_path", default="dataset")
    step.work(parser.parse_args(list(flags)))


def test_export(tmp_path: Path) -> None:
    write_published(tmp_path / "data" / "shop", "shop", inter={"0": [1, 2]}, index={"1": ["<a_0>"], "2": ["<a_1>"]})
    here = f"--data_path={tmp_path / 'data'}"
    do(EXPORT, "shop", here, "--form=atomic", f"--out={tmp_path / 'atomic'}")
    assert names_in(tmp_path / "atomic" / "shop") == ["shop.index.json", "shop.inter", "shop.item"]
    there = f"--data_path={tmp_path / 'atomic'}"
    do(EXPORT, "shop", there, "--form=published", f"--out={tmp_path / 'new'}", "--renumber")
    assert read_published(tmp_path / "new" / "shop", "shop")["inter"] == {"0": [0, 1]}
    with pytest.raises(ValueError, match="exists already"):
        do(EXPORT, "shop", there, "--form=published", f"--out={tmp_path / 'new'}")
    do(EXPORT, "shop", there, "--form=published", f"--out={tmp_path / 'new'}", "--overwrite")
    assert read_published(tmp_path / "new" / "shop", "shop")["inter"] == {"0": [1, 2]}
    with pytest.raises(ValueError, match="--index, --title_field: not used by --form=atomic"):
        do(EXPORT, "shop", here, "--form=atomic", f"--out={tmp_path / 'x'}", "--index=i.json", "--title_field=t")
    with pytest.raises(ValueError, match="was not found"):
        do(EXPORT, "none", here, "--form=atomic", f"--out={tmp_path / 'x'}")
    with pytest.raises(SystemExit):
        do(EXPORT, "shop", here, "--form=csv", f"--out={tmp_path / 'x'}")


def test_export_of_recboles_copy_of_ml_100k(tmp_path: Path) -> None:
    flags = ("--form=published", f"--out={tmp_path}", f"--data_path={tmp_path / 'none'}")
    with pytest.raises(ValueError, match=r"no column 'title', required by --title_field; .*movie_title"):
        do(EXPORT, "ml-100k", *flags)
    do(EXPORT, "ml-100k", *flags, "--title_field=movie_title", "--categories_field=class")
    found = read_published(tmp_path / "ml-100k", "ml-100k")
    assert (len(found["inter"]), sum(map(len, found["inter"].values())), len(found["item"])) == (943, 100_000, 1682)
    assert found["item"]["1"]["title"] == "Toy Story" and "item2id" not in found


def test_minionerec(tmp_path: Path) -> None:
    known = {"A0": [0, 1, 2, 3], "A1": [2, 0, 1]}
    source = split_files(tmp_path / "csv", rows_of(known, 2), "Office_5.csv")
    here = f"--data_path={tmp_path / 'data'}"
    do(MINIONEREC, "office", here, f"--source={source}", "--category=Office")
    assert len(columns(tmp_path / "data" / "office" / "office.inter", "item_id")) == 7
    train = write_csv(tmp_path / "train.csv", [cells("A0", [0], 1)])
    items = write_json(tmp_path / "items.json", {"0": {"title": "zero"}})
    do(MINIONEREC, "one", here, f"--train={train}", f"--items={items}")
    assert columns(tmp_path / "data" / "one" / "one.item", "title")[0] == ("zero",)
    for flags in ((), (f"--source={source}", f"--train={train}")):
        with pytest.raises(ValueError, match="either --source, or --train"):
            do(MINIONEREC, "two", here, *flags)


def test_texts(tmp_path: Path) -> None:
    header = ["user_id:token", "item_id:token", "timestamp:float"]
    write_table(tmp_path / "amazon-video-games-18" / "amazon-video-games-18.inter", header, [("u", "B1", 1)])
    meta = json_lines(tmp_path / "meta.json.gz", [meta_2018("B1", "One")])
    do(TEXTS, "amazon-video-games-18", f"--data_path={tmp_path}", f"--metadata={meta}", "--edition=2018")
    path = tmp_path / "amazon-video-games-18" / "amazon-video-games-18.item"
    assert columns(path, "item_id", "title") == [("B1", "One")]


def test_help_examples_are_valid_commands() -> None:
    for step in (EXPORT, MINIONEREC, TEXTS):
        parser = argparse.ArgumentParser()
        step.add_flags(parser)
        for example in step.examples.splitlines():
            words = example.split()
            assert words[:4] == ["python", "-m", "recbole_lcrec.data", step.name]
            parser.parse_args(words[4:])
    assert json.dumps([step.name for step in (EXPORT, MINIONEREC, TEXTS)]) == '["export", "minionerec", "texts"]'
