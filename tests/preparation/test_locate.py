"""Finding a data set, converting it once, and the error if there is none."""

import json
import logging

import pytest

from recbole_lcrec import Config, create_dataset
from recbole_lcrec.preparation.locate import artifact_store, find_data_files, prepare_data_files, require_dataset


@pytest.fixture
def published(tmp_path):
    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    contents = {
        "inter": {"anna": ["1", "2", "3", "4"], "ben": ["3", "2", "1", "5"]},
        "item": {str(item): {"title": f"thing {item}"} for item in range(1, 6)},
        "index": {str(item): [f"<a_{item}>"] for item in range(1, 7)},
    }
    for suffix, content in contents.items():
        (folder / f"shop.{suffix}.json").write_text(json.dumps(content))
    return folder


def config_of(folder, **changes):
    places = {"data_path": str(folder.parent), "checkpoint_dir": str(folder.parent.parent / "saved")}
    return Config("Pop", folder.name, config_dict={**places, **changes})


def snapshot(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_missing_data_set_names_the_ways_to_get_it(tmp_path):
    with pytest.raises(ValueError) as caught:
        require_dataset(config_of(tmp_path / "data" / "nowhere"))
    message = str(caught.value)
    folder = tmp_path / "data" / "nowhere"
    for part in (
        "'nowhere' was not found",
        str(folder / "nowhere.inter"),
        str(folder / "nowhere.inter.json"),
        "nowhere.item.json",
        "--data_path",
        "--dataset=ml-100k",
    ):
        assert part in message


def test_missing_data_set_stops_every_model(tmp_path):
    with pytest.raises(ValueError, match="was not found"):
        create_dataset(config_of(tmp_path / "data" / "nowhere"))
    assert not (tmp_path / "saved").exists()


def test_atomic_files_take_precedence_and_stay_in_place(published):
    (published / "shop.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\ti\t1\n")
    found = find_data_files("shop", published)
    assert found.atomic and found.index == published / "shop.index.json"
    config = config_of(published)
    before = config["data_path"]
    assert prepare_data_files(config) == found
    assert config["data_path"] == before == str(published)
    assert not artifact_store(config).root.exists()


def test_index_is_optional(published):
    (published / "shop.index.json").unlink()
    found = find_data_files("shop", published)
    assert found.index is None and not found.atomic


def test_source_is_never_written(published):
    before = snapshot(published)
    config = config_of(published)
    assert create_dataset(config).item_num == 1 + 6
    assert snapshot(published) == before
    assert config["data_path"] != str(published)


def test_a_second_run_reuses_the_conversion(published, caplog):
    with caplog.at_level(logging.INFO):
        first = config_of(published)
        files = prepare_data_files(first)
        assert "Converted" in caplog.text and "2 users, 6 items, 8 interactions, 5 items with texts" in caplog.text
        caplog.clear()
        second = config_of(published)
        assert prepare_data_files(second) == files
        assert "Reusing the converted atomic files" in caplog.text and "Converted" not in caplog.text
    assert first["data_path"] == second["data_path"]


@pytest.mark.parametrize("suffix", ["inter", "item", "index"])
def test_a_changed_source_is_converted_again(published, suffix):
    first = config_of(published)
    prepare_data_files(first)
    path = published / f"shop.{suffix}.json"
    content = json.loads(path.read_text())
    content["9"] = {"inter": ["8", "1"], "item": {"title": "new"}, "index": ["<a_9>"]}[suffix]
    path.write_text(json.dumps(content))
    second = config_of(published)
    prepare_data_files(second)
    assert second["data_path"] != first["data_path"]
    assert create_dataset(config_of(published)).item_num == 1 + 7


def test_a_configuration_can_be_prepared_twice(published):
    config = config_of(published)
    prepare_data_files(config)
    once = config["data_path"]
    again = prepare_data_files(config)
    assert config["data_path"] == once and again.atomic
    assert again.index is not None
    assert json.loads(again.index.read_text()) == json.loads((published / "shop.index.json").read_text())


def test_a_failed_conversion_leaves_no_artifact(published):
    (published / "shop.inter.json").write_text('{"anna": ["1"')
    config = config_of(published)
    with pytest.raises(ValueError, match="not valid JSON"):
        prepare_data_files(config)
    assert config["data_path"] == str(published)
    assert not [path for path in artifact_store(config).root.iterdir() if path.is_dir()]


def test_location_of_artifacts(tmp_path):
    config = {"artifact_dir": None, "checkpoint_dir": str(tmp_path / "saved")}
    assert artifact_store(config).root == tmp_path / "saved" / "artifacts"
    assert artifact_store({**config, "artifact_dir": str(tmp_path / "own")}).root == tmp_path / "own"


@pytest.mark.parametrize("suffix", ["inter", "item"])
def test_invalid_files_are_reported_before_loading(published, suffix):
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    (published / "shop.inter").write_text(header + "u\t1\t1\n")
    (published / f"shop.{suffix}").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"shop\.{suffix} is empty"):
        require_dataset(config_of(published))


def test_files_in_another_encoding(tmp_path):
    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    events = [f"jos\u00e9\tcaf\u00e9{item}\t{item}\n" for item in range(5)]
    items = [f"caf\u00e9{item}\tth\u00e9 {item}\n" for item in range(5)]
    for suffix, header, lines in (
        ("inter", "user_id:token\titem_id:token\ttimestamp:float\n", events),
        ("item", "item_id:token\ttitle:token_seq\n", items),
    ):
        (folder / f"shop.{suffix}").write_text(header + "".join(lines), encoding="latin-1")
    with pytest.raises(ValueError, match=r"shop\.inter is not utf-8 .*--encoding"):
        require_dataset(config_of(folder))
    changes = {"encoding": "latin-1", "index_method": "random", "topk": [1], "valid_metric": "NDCG@1"}
    places = {"data_path": str(folder.parent), "checkpoint_dir": str(tmp_path / "saved")}
    dataset = create_dataset(Config("LCRec", "shop", config_dict={**places, **changes, "text_description_fields": []}))
    assert dataset.item_ids == tuple(f"caf\u00e9{item}" for item in range(5))
    assert list(dataset.item_texts.titles) == [f"th\u00e9 {item}" for item in range(5)]


def test_converted_files_are_read_as_written(published):
    config = config_of(published, encoding="utf-16", field_separator=",")
    assert create_dataset(config).item_num == 1 + 6


def test_missing_amazon_files_are_named(tmp_path):
    raw = tmp_path / "data" / "Games" / "raw"
    raw.mkdir(parents=True)
    (raw / "Video_Games.csv").write_text("A1,B1,5.0,1400000000\n")
    with pytest.raises(ValueError, match=r"meta_Video_Games\.json\.gz; put it there"):
        find_data_files("Games", raw.parent)
    (raw / "Video_Games.csv").unlink()
    (raw / "meta_Video_Games.json.gz.part").write_bytes(b"half")
    with pytest.raises(ValueError, match="was not found"):
        find_data_files("Games", raw.parent)


@pytest.mark.parametrize("files", [["orders.csv"], ["my-orders.csv", "._Video_Games.csv"]])
def test_other_tables_in_raw_are_not_taken_for_amazons(files, tmp_path):
    raw = tmp_path / "data" / "shop" / "raw"
    raw.mkdir(parents=True)
    for file in files:
        (raw / file).write_text("A1,B1,5.0,1400000000\n")
    with pytest.raises(ValueError, match="'shop' was not found"):
        find_data_files("shop", raw.parent)


def test_the_category_is_that_of_the_metadata(tmp_path):
    raw = tmp_path / "data" / "mygames" / "raw"
    raw.mkdir(parents=True)
    (raw / "Video_Games.csv").write_text("A1,B1,5.0,1400000000\n")
    (raw / "meta_Video_Games.json").write_text('{"asin": "B1", "title": "t"}\n')
    (raw / "notes.csv").write_text("a,b\n")
    found = find_data_files("mygames", raw.parent).raw
    assert found is not None and found.category == "Video_Games"


@pytest.mark.parametrize("columns", [{}, {"item": []}])
def test_an_unused_item_file_is_not_checked(columns, tmp_path):
    folder = tmp_path / "data" / "shop"
    folder.mkdir(parents=True)
    events = "".join(f"u\ti{item}\t{item}\n" for item in range(5))
    (folder / "shop.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + events)
    (folder / "shop.item").write_text("item_id,title\n")
    inter = {"inter": ["user_id", "item_id", "timestamp"]}
    assert require_dataset(config_of(folder, load_col={**inter, **columns})).atomic
