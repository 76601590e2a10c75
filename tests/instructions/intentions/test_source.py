"""The choice of the source, settings that are refused before data are read, and a language model asked once."""

import dataclasses
import json
import logging
import re
import sys
import types

import numpy as np
import pytest

from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.data.reviews import read_reviews
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.intentions.source import check_intentions, find_intention_file, user_texts_of
from recbole_lcrec.instructions.user_texts import Intention, Preference, UserTexts
from recbole_lcrec.runtime.artifacts import ArtifactStore
from tests.data.reviewed_shop import COLUMNS, ITEMS, REVIEW_FIELDS, TEXTS, held_out_markers, training, write_reviewed
from tests.instructions.intentions.plain_settings import settings_of

BLANK = ItemTexts(tuple(ITEMS), ("",) * 5, ("",) * 5)


def unread():
    raise AssertionError("reviews are not needed here")


def ask(tmp_path, settings, given=None, texts=TEXTS, reviews=dict, sequences=None):
    users, plain = training()
    store = ArtifactStore(tmp_path / "store")
    return user_texts_of(settings, given, sequences or plain, users, ITEMS, texts, reviews, store, False)


def jsonl(folder, user="plain"):
    path = folder / "shop.intentions.jsonl"
    path.write_text(json.dumps({"user": user, "position": 1, "intention": "from the file"}) + "\n")
    return path


@pytest.fixture
def model(monkeypatch):
    """A stand-in for the language model that records every call."""
    calls = []
    stand_in = types.ModuleType("recbole_lcrec.instructions.intentions.from_llm")

    def ask_user_texts(sequences, texts, reviews, settings, store, show_progress):
        calls.append((texts, dict(reviews), store))
        intentions = tuple(
            Intention(user, position, f"about \u00fc {text}") for (user, position), text in reviews.items() if position
        )
        return UserTexts(intentions, (Preference(0, 2, "likes"),), "llm stand-in")

    def check_llm(settings):
        if settings.llm_model is None:
            raise ValueError("intention_llm_model is missing")

    stand_in.ask_user_texts, stand_in.check_llm = ask_user_texts, check_llm
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    return calls


def test_find_intention_file(tmp_path):
    assert find_intention_file("shop", tmp_path) is None
    path = jsonl(tmp_path)
    assert find_intention_file("shop", tmp_path) == path
    (tmp_path / "shop.user.json").write_text("{}")
    assert find_intention_file("shop", tmp_path) == tmp_path / "shop.user.json"
    assert find_intention_file("other", tmp_path) is None


def test_auto_takes_a_given_file_first(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        found, reason = ask(tmp_path, settings_of(), given=jsonl(tmp_path), reviews=unread)
    assert [one.text for one in found.intentions] == ["from the file"]
    assert reason == ""
    assert re.search(r"1 intentions and 0 preferences of 3 users, from source file shop\S+, [\d.]+ s", caplog.text)


@pytest.mark.parametrize("source", ["auto", "file"])
def test_a_named_file_takes_precedence_over_one_beside_the_data(tmp_path, source):
    named = tmp_path / "mine.jsonl"
    named.write_text(json.dumps({"user": "tie", "until": 1, "preference": "mine"}) + "\n")
    settings = settings_of(source=source, file=str(named))
    for given in (None, jsonl(tmp_path)):
        found, _ = ask(tmp_path, settings, given=given, reviews=unread)
        assert [one.text for one in found.preferences] == ["mine"] and not found.intentions


def test_auto_takes_sentences_where_there_is_no_file(tmp_path):
    found, reason = ask(tmp_path, settings_of())
    assert found.source == "extractive" and reason == ""
    found, _ = ask(tmp_path, settings_of(), texts=None, reviews=lambda: {(0, 1): "a review"})
    assert [one.text for one in found.intentions] == ["a review"]


def test_other_sources_ignore_a_file_beside_the_data(tmp_path):
    found, _ = ask(tmp_path, settings_of(source="extractive"), given=jsonl(tmp_path))
    assert found.source == "extractive"


@pytest.mark.parametrize("source", ["auto", "extractive"])
@pytest.mark.parametrize("texts", [None, BLANK])
def test_the_reason_for_no_texts_is_returned(tmp_path, source, texts):
    found, reason = ask(tmp_path, settings_of(source=source), texts=texts)
    assert found is None and reason == "the data set has no item texts and no reviews"


def test_none_reads_nothing(tmp_path):
    found, reason = ask(tmp_path, settings_of(source="none"), given=jsonl(tmp_path), reviews=unread)
    assert found is None and reason == "intention_source = none"


def test_texts_of_items_outside_training_give_a_reason(tmp_path):
    texts = dataclasses.replace(BLANK, titles=("", "", "", "", "vase"))
    found, reason = ask(tmp_path, settings_of(), texts=texts)
    assert found is None and "no training interaction" in reason


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"source": "file"}, "no file is given"),
        ({"source": "file", "file": "absent.jsonl"}, "'absent.jsonl': there is no such file"),
        ({"file": "absent.jsonl"}, "'absent.jsonl': there is no such file"),
        ({"source": "llm", "file": "x", "llm_model": "m"}, "would not be used, because intention_source = 'llm'"),
        ({"source": "extractive", "file": "x"}, "would not be used, because intention_source = 'extractive'"),
        ({"source": "none", "file": "x"}, "would not be used, because intention_source = 'none'"),
        ({"source": "llm"}, "intention_llm_model"),
    ],
)
def test_invalid_settings_are_refused_first(model, changes, problem):
    with pytest.raises(ValueError, match=problem):
        check_intentions(settings_of(**changes), None)


def test_settings_that_work(tmp_path, model):
    path = jsonl(tmp_path)
    for changes in ({}, {"source": "none"}, {"source": "extractive"}, {"source": "llm", "llm_model": "m"}):
        check_intentions(settings_of(**changes), None)
        check_intentions(settings_of(**changes), path)
    check_intentions(settings_of(source="file"), path)
    for given in (None, path):
        check_intentions(settings_of(source="file", file=str(path)), given)


def test_a_language_model_is_asked_once_per_data_and_settings(tmp_path, model):
    settings = settings_of(source="llm", llm_model="m")
    first, reason = ask(tmp_path, settings, reviews=lambda: {(0, 1): "red"})
    again, _ = ask(tmp_path, settings, reviews=lambda: {(0, 1): "red"})
    assert first == again and reason == "" and len(model) == 1
    assert first.intentions == (Intention(0, 1, "about \u00fc red"),)
    assert first.source == "llm stand-in"
    assert model[0][2] == tmp_path / "store" / "requests"
    ask(
        tmp_path,
        dataclasses.replace(settings, llm_parallel=7, llm_retries=3, sentences=5),
        reviews=lambda: {(0, 1): "red"},
    )
    assert len(model) == 1
    for n, changed in enumerate(
        (
            {"settings": dataclasses.replace(settings, llm_model="n")},
            {"settings": dataclasses.replace(settings, llm_base_url="http://localhost:1/v1")},
            {"settings": dataclasses.replace(settings, llm_max_tokens=9)},
            {"settings": dataclasses.replace(settings, per_user=2)},
            {"reviews": lambda: {(0, 1): "blue"}},
            {"reviews": lambda: {(1, 1): "red"}},
            {"texts": None},
            {"sequences": UserSequences(np.arange(3), np.array([0, 1, 2, 3, 4, 0]), np.array([0, 2, 4, 6]))},
        ),
        start=2,
    ):
        ask(tmp_path, **{"settings": settings, "reviews": lambda: {(0, 1): "red"}, **changed})
        assert len(model) == n


def test_a_source_that_returns_held_out_texts_is_an_error(tmp_path, model):
    _, sequences = training()
    beyond = int(sequences.lengths()[0])
    with pytest.raises(RuntimeError, match="training"):
        ask(tmp_path, settings_of(source="llm", llm_model="m"), reviews=lambda: {(0, beyond): "held out"})


@pytest.mark.parametrize("source", ["extractive", "llm"])
def test_no_held_out_review_is_used_or_sent(tmp_path, model, source):
    users, sequences = training()
    path = write_reviewed(tmp_path)
    settings = settings_of(source=source, llm_model="m" if source == "llm" else None, per_user=None, sentences=9)
    found, _ = ask(
        tmp_path, settings, reviews=lambda: read_reviews(path, users, ITEMS, sequences, COLUMNS, REVIEW_FIELDS)
    )
    used = " ".join(one.text for one in (*found.intentions, *found.preferences))
    sent = " ".join(text for _, reviews, _ in model for text in reviews.values())
    assert re.findall(r"marker\w+", used)
    assert not set(re.findall(r"marker\w+", used + sent)) & held_out_markers()
