"""Both file forms, worked out by hand; nothing held out is used, and damage is reported with file and place."""

import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.intentions.from_file import _position, read_user_texts
from recbole_lcrec.instructions.user_texts import Intention, Preference

USERS, ITEMS = ["7", "nine"], ["10", "11", "12", "13"]
# user 7: items 10 11 12 10 11 13, then 12 is held out; user nine: 12 13
SEQUENCES = UserSequences(np.array([1, 2]), np.array([0, 1, 2, 0, 1, 3, 2, 3]), np.array([0, 6, 8]))


def read(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_user_texts(path, SEQUENCES, USERS, ITEMS)


def published(user, item, inters, querys=("wants it",), preferences=None):
    return {
        "user_explicit_preference": preferences or {},
        "user_vague_intention": {"train": {user: {"item": item, "inters": inters, "querys": list(querys)}}, "test": {}},
    }


def lines(*entries):
    return "\n".join(json.dumps(entry) for entry in entries) + "\n"


def test_the_published_file_form(tmp_path):
    content = {
        "user_explicit_preference": {"7": ["likes\n tools", "likes &amp; buys"], "nine": ["likes rugs"]},
        "user_vague_intention": {
            "train": {
                "7": {"item": 10, "inters": [10, 11, 12], "querys": ["of the user", "of the item"]},
                "nine": {"item": "13", "inters": ["12"], "querys": ["a shelf"]},
            },
            "test": {"7": {"item": 13, "inters": [10, 11, 12, 10, 11], "querys": ["NEVER"]}, "nine": "damaged"},
        },
    }
    found = read(tmp_path / "shop.user.json", content)
    assert found.intentions == (
        Intention(0, 3, "of the user"),
        Intention(0, 3, "of the item"),
        Intention(1, 1, "a shelf"),
    )
    assert found.preferences == (
        Preference(0, 5, "likes tools"),
        Preference(0, 5, "likes & buys"),
        Preference(1, 1, "likes rugs"),
    )
    assert "shop.user.json" in found.source
    found.require_training(SEQUENCES)


@pytest.mark.parametrize(
    "inters", [[10, 11], ["10", "11"], [10.0, 11.0], "[10, 11]", "10, 11", "10 11", "['10', '11']"]
)
def test_histories_as_lists_and_texts(tmp_path, inters):
    assert read(tmp_path / "x.json", published("7", 12, inters)).intentions == (Intention(0, 2, "wants it"),)


@pytest.mark.parametrize(
    ("item", "inters", "position"),
    [
        (11, [10], 1),  # exactly the history, though 10 11 occurs again later
        (10, [12], 3),  # a history cut to its newest item
        (13, [10, 11], 5),  # cut; 10 11 is also the start, where 12 follows
        (13, [12, 10, 11], 5),
        (13, [10, 11, 12, 10, 11], 5),
    ],
)
def test_where_an_item_follows_its_history(tmp_path, item, inters, position):
    assert read(tmp_path / "x.json", published("7", item, inters)).intentions[0].position == position


@pytest.mark.parametrize(
    ("item", "inters"),
    [
        (12, [10, 11, 12, 10, 11, 13]),  # the held-out item
        (12, [13]),  # held out, history cut
        (13, [10]),  # never follows
        (13, [12, 11]),
        (10, []),  # the first item has no history
        (99, [10]),  # not in the catalogue
        (12, [99, 10, 11]),
    ],
)
def test_intentions_without_a_training_item_are_counted(tmp_path, caplog, item, inters):
    content = published("7", item, inters, ["one", "two"], {"7": ["likes tools"]})
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path / "x.json", content).intentions == ()
    assert "2 whose item does not follow its history" in caplog.text


def test_a_history_that_may_lead_to_a_held_out_item_is_left_out(tmp_path):
    # 10 11 | 12: once within training, and once where training ends and a held-out item follows
    assert intentions_of(tmp_path, [3, 0, 1, 2, 0, 1], 12, [10, 11]) == ()


def intentions_of(folder, training, item, inters):
    sequences = UserSequences(np.array([1]), np.array(training), np.array([0, len(training)]))
    (folder / "x.json").write_text(json.dumps(published("7", item, inters, preferences={"7": ["likes tools"]})))
    return read_user_texts(folder / "x.json", sequences, ["7"], ITEMS).intentions


@pytest.mark.parametrize(
    ("training", "item", "inters"),
    [
        ([0, 1, 0, 1], 10, [10, 11]),  # 10 11 | 10: at the start, and at the end before a held-out item
        ([0, 0], 10, [10]),
        ([0, 1, 2, 0], 11, [10]),
    ],
)
def test_a_first_history_that_also_ends_training_is_left_out(tmp_path, caplog, training, item, inters):
    with caplog.at_level(logging.WARNING):
        assert intentions_of(tmp_path, training, item, inters) == ()
    assert "1 whose item does not follow its history in the training sequence, or may be held out" in caplog.text
    longer = [*training, 3]  # the history is no longer at the end
    assert intentions_of(tmp_path, longer, item, inters) == (Intention(0, len(inters), "wants it"),)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=3, max_size=9), st.integers(1, 2), st.integers(1, 4))
def test_held_out_items_get_no_position_for_any_cut_history(items, held_out, kept):
    training, item = items[:-held_out], items[len(items) - held_out]
    history = training[-kept:]
    assert _position([str(one) for one in training], [str(one) for one in history], str(item)) is None


def test_unverifiable_preferences_are_counted_in_one_warning(tmp_path, caplog):
    preferences = {"7": ["likes tools", "likes rugs", " "], "nine": "likes lamps", "stranger": ["likes all"]}
    with caplog.at_level(logging.WARNING):
        read(tmp_path / "x.json", published("7", 11, [10], preferences=preferences))
    (message,) = (record.getMessage() for record in caplog.records if "cannot be verified" in record.getMessage())
    assert "its 3 preferences come from training interactions only" in message
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        read(tmp_path / "x.json", published("7", 11, [10]))
        read(tmp_path / "x.jsonl", lines({"user": "7", "until": 4, "preference": "likes tools"}))
    assert not caplog.records


def test_json_lines(tmp_path):
    found = read(
        tmp_path / "x.jsonl",
        lines(
            {"user": 7, "position": 5, "item": 13, "intention": "a  rug"},
            {"user": "nine", "position": 1, "intention": "a lamp"},
            {"user": "7", "until": 4, "preference": "likes tools"},
        )
        + "\n",
    )
    assert found.intentions == (Intention(0, 5, "a rug"), Intention(1, 1, "a lamp"))
    assert found.preferences == (Preference(0, 4, "likes tools"),)


def test_json_lines_are_recognized_by_their_content(tmp_path):
    content = lines({"user": 7, "until": 1, "preference": "x"}, {"user": 7, "until": 2, "preference": "y"})
    assert len(read(tmp_path / "texts.txt", content).preferences) == 2


def test_lines_beyond_training_are_left_out_and_counted(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        found = read(
            tmp_path / "x.jsonl",
            lines(
                {"user": "7", "position": 6, "item": "12", "intention": "HELD OUT"},
                {"user": "7", "until": 7, "preference": "HELD OUT"},
                {"user": "7", "position": 0, "intention": "FIRST"},
                {"user": "nobody", "position": 1, "intention": "UNKNOWN"},
                {"user": "7", "position": 1, "intention": " <br> "},
                {"user": "7", "until": 6, "preference": "likes tools"},
            ),
        )
    assert found.intentions == () and found.preferences == (Preference(0, 6, "likes tools"),)
    for words in ("2 that point beyond", "1 of a user's first", "1 of users without", "1 empty"):
        assert words in caplog.text


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"user": 7, "pos', "line 2: not valid JSON"),
        ('["user"]', "line 2: expected"),
        ('{"user": 7, "position": 1}', "line 2: expected"),
        ('{"user": 7, "position": 1, "intention": "a", "preference": "b"}', "line 2: expected"),
        ('{"position": 1, "intention": "a"}', "line 2: expected"),
        ('{"user": 7, "position": -1, "intention": "a"}', "line 2: position must be a whole number of at least 0"),
        ('{"user": 7, "position": "1", "intention": "a"}', "line 2: position must be a whole number"),
        ('{"user": 7, "intention": "a"}', "line 2: position must be a whole number"),
        ('{"user": 7, "until": 0, "preference": "a"}', "line 2: until must be a whole number of at least 1"),
        ('{"user": 7, "until": true, "preference": "a"}', "line 2: until must be a whole number"),
        ('{"user": 7, "position": 1, "intention": ["a"]}', "line 2, intention: expected a text"),
        ('{"user": null, "position": 1, "intention": "a"}', "line 2, user: expected an id"),
        ('{"user": 7, "position": 1, "item": 12, "intention": "a"}', "line 2: item '12' is not at position 1"),
    ],
)
def test_damaged_lines_are_reported_with_their_number(tmp_path, line, problem):
    path = tmp_path / "x.jsonl"
    with pytest.raises(ValueError, match=problem) as caught:
        read(path, lines({"user": 7, "until": 1, "preference": "x"}) + line + "\n")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not valid JSON"),
        ("[]", "must hold a JSON object"),
        ({"other": 1}, "user_explicit_preference or user_vague_intention"),
        ({"user_explicit_preference": ["a"]}, "user_explicit_preference: expected an object"),
        ({"user_explicit_preference": {"7": 3}}, "user_explicit_preference, user '7': expected a text"),
        ({"user_vague_intention": {"test": {}}}, "user_vague_intention: expected an object with train"),
        ({"user_vague_intention": {"train": []}}, "user_vague_intention.train: expected an object"),
        ({"user_vague_intention": {"train": {"7": {"item": 1}}}}, "user '7': expected an object with item, inters"),
        (published("7", None, [10]), "user '7', item: expected an id"),
        (published("7", 11, 10), "user '7', inters: expected a list"),
        (published("7", 11, [[10]]), "user '7', inters: expected an id"),
        (published("7", 11, [10], [4]), "user '7', querys: expected a text"),
        (published("stranger", 11, [10]), "no intention and no preference"),
        ("", "not valid JSON"),
    ],
)
def test_damaged_published_files_are_reported(tmp_path, content, problem):
    path = tmp_path / "x.user.json"
    with pytest.raises(ValueError, match=problem) as caught:
        read(path, content)
    assert str(path) in str(caught.value)


def test_unreadable_and_empty_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not a readable file"):
        read_user_texts(tmp_path / "absent.json", SEQUENCES, USERS, ITEMS)
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a readable file"):
        read_user_texts(tmp_path / "bytes.jsonl", SEQUENCES, USERS, ITEMS)
    with pytest.raises(ValueError, match="no intention and no preference"):
        read(tmp_path / "x.jsonl", "\n")
