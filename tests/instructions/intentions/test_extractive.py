"""Sentences chosen by hand and by brute force; no word of a held-out review is used."""

import math
import re

import numpy as np
import pytest

from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.data.reviews import read_reviews
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.intentions.extractive import extract_user_texts, sentence_scores, sentences_of
from recbole_lcrec.instructions.user_texts import Intention, Preference
from tests.data.reviewed_shop import (
    COLUMNS,
    ITEMS,
    REVIEW_FIELDS,
    TEXTS,
    held_out_markers,
    training,
    training_markers,
    write_reviewed,
)
from tests.instructions.intentions.plain_settings import settings_of


def of(*histories):
    offsets = np.r_[0, np.cumsum([len(history) for history in histories])].astype(np.int64)
    items = [item for history in histories for item in history]
    return UserSequences(np.arange(len(histories)) + 1, np.array(items, dtype=np.int64), offsets)


def texts_of(*pairs):
    return ItemTexts(tuple(map(str, range(len(pairs)))), *map(tuple, zip(*pairs, strict=True)))


def by_hand(sentence, documents):
    words = {word for word in re.findall(r"[a-z]{2,}", sentence.lower())}
    inside = [set(re.findall(r"[a-z]{2,}", text.lower())) for text in documents]
    df = {word: sum(word in text for text in inside) for word in words}
    weights = [math.log((1 + len(documents)) / (1 + df[word])) + 1 for word in words if df[word]]
    return sum(weights) / (len(weights) + 4)


def test_scores_against_the_formula():
    documents = ["the red lamp", "the red rug", "the clay vase 500", "a lamp"]
    sentences = ["The clay lamp", "the the the", "unknown words", "500 1 %", "The red rug, the vase"]
    expected = [by_hand(sentence, documents) for sentence in sentences]
    assert sentence_scores(sentences, documents) == pytest.approx(expected)
    assert expected[2:4] == [0, 0]


def test_words_of_one_text_do_not_count_among_many():
    documents = [f"the lamp {word}" for word in ("typo", *(f"{a}{b}z" for a in "abcdefghijk" for b in "abcdefghijk"))]
    scores = sentence_scores(["typo", "lamp"], documents)
    assert scores[0] == 0 < scores[1]


def test_texts_without_words_have_no_scores():
    assert sentence_scores(["1 2", "3"], ["12", ""]).tolist() == [0, 0]
    assert sentence_scores([], ["lamp"]).tolist() == []


def test_sentences():
    text = "It is 3.5 in. long! Really?  Yes • washable | Yes • \u597d\u3002\u5427\uff01 Yes"
    assert sentences_of(text) == [
        "It is 3.5 in.", "long!", "Really?", "Yes", "washable", "\u597d\u3002", "\u5427\uff01",
    ]  # fmt: skip
    assert sentences_of("  ") == []


def test_the_best_sentences_of_the_newest_item_in_their_order():
    description = "The thing is here. It has a clay vase shape. It is it. It suits an oak table well."
    texts = texts_of(("lamp", "The lamp is here. It is it."), ("vase", description), ("oak table", ""))
    documents = [f"{title} {text}" for title, text in zip(texts.titles, texts.descriptions, strict=True)]
    scored = sorted(sentences_of(description), key=lambda sentence: -by_hand(sentence, documents))[:2]
    expected = " ".join(sentence for sentence in sentences_of(description) if sentence in scored)
    found = extract_user_texts(of([2, 0, 1], [1, 2]), texts, {}, settings_of())
    assert found.intentions == (Intention(0, 2, expected), Intention(1, 1, "oak table"))
    assert found.source == "extractive"


def test_review_takes_precedence_over_description_over_title():
    texts = texts_of(("title", "description"), ("other", ""), ("", ""))
    reviews = {(0, 2): "the review"}
    found = extract_user_texts(of([1, 0, 0, 1, 2]), texts, reviews, settings_of(per_user=None))
    assert [(one.position, one.text) for one in found.intentions] == [
        (1, "description"),
        (2, "the review"),
        (3, "other"),
    ]


@pytest.mark.parametrize(("per_user", "positions"), [(1, [3]), (2, [2, 3]), (9, [1, 2, 3]), (None, [1, 2, 3])])
def test_the_newest_interactions_with_a_text(per_user, positions):
    texts = texts_of(("lamp", ""), ("", ""))
    found = extract_user_texts(of([0, 0, 0, 0, 1], [1, 1], [0]), texts, {}, settings_of(per_user=per_user))
    assert [one.position for one in found.intentions] == positions
    assert {one.user for one in found.intentions} == {0}
    assert found.preferences == (Preference(0, 5, "lamp"), Preference(2, 1, "lamp"))


def test_preferences_against_brute_force():
    rng = np.random.default_rng(1)
    words = [f"{a}{b}" for a in "bcdfgh" for b in ("ak", "el", "im")]
    phrases = [" ".join(rng.choice(words, int(rng.integers(1, 7)))).capitalize() + "." for _ in range(14)]
    pairs = [("", " ".join(rng.choice(phrases, int(rng.integers(0, 4))))) for _ in range(9)]
    texts = texts_of(*pairs)
    histories = [rng.integers(0, 9, int(rng.integers(1, 8))).tolist() for _ in range(20)]
    documents = [f" {text}" for _, text in pairs]
    found = {
        one.user: one for one in extract_user_texts(of(*histories), texts, {}, settings_of(sentences=3)).preferences
    }
    for user, history in enumerate(histories):
        newest = {}
        for place, item in enumerate(history):
            for number, sentence in enumerate(sentences_of(pairs[item][1])):
                newest[sentence] = (place, number)
        if not newest:
            assert user not in found
            continue
        best = sorted((round(-by_hand(text, documents), 9), -at[0], at[1]) for text, at in newest.items())[:3]
        worst, chosen = best[-1], found[user].text
        assert found[user].until == len(history)
        expected = sorted(
            (at, text) for text, at in newest.items() if (round(-by_hand(text, documents), 9), -at[0], at[1]) <= worst
        )
        assert chosen == " ".join(text for _, text in expected)


def test_a_preference_has_no_sentence_twice():
    texts = texts_of(("", "Made of oak. Fine lamp."), ("", "MADE OF OAK. Wool rug."))
    text = extract_user_texts(of([0, 1, 0]), texts, {}, settings_of(sentences=9)).preferences[0].text
    assert text.lower().count("made of oak") == 1
    assert "Fine lamp." in text and "Wool rug." in text


def test_no_word_of_a_held_out_review_is_used(tmp_path):
    users, sequences = training()
    reviews = read_reviews(write_reviewed(tmp_path), users, ITEMS, sequences, COLUMNS, REVIEW_FIELDS)
    settings = settings_of(per_user=None, sentences=9)
    found = extract_user_texts(sequences, TEXTS, reviews, settings)
    own = {(users.index(user), place): word for (user, place), word in training_markers().items()}
    assert {(one.user, one.position) for one in found.intentions} == {key for key in own if key[1] >= 1}
    for one in found.intentions:
        assert set(re.findall(r"marker\w+", one.text)) == {own[one.user, one.position]}
    for one in found.preferences:
        mine = {word for key, word in own.items() if key[0] == one.user and key[1] < one.until}
        assert set(re.findall(r"marker\w+", one.text)) == mine
    everything = " ".join(one.text for one in (*found.intentions, *found.preferences))
    assert not set(re.findall(r"marker\w+", everything)) & held_out_markers()


def test_reviews_of_other_interactions_are_ignored():
    texts = texts_of(("lamp", ""), ("rug", ""))
    plain = extract_user_texts(of([0, 1]), texts, {}, settings_of())
    assert extract_user_texts(of([0, 1]), texts, {(0, 2): "held", (5, 0): "out"}, settings_of()) == plain


def test_the_same_input_gives_the_same_texts():
    users, sequences = training()
    first, second = (extract_user_texts(sequences, TEXTS, {}, settings_of(per_user=None)) for _ in range(2))
    assert first == second and len(first.preferences) == len(users)


def test_no_texts_give_no_user_texts():
    blank = texts_of(("", ""), ("", ""))
    found = extract_user_texts(of([0, 1]), blank, {}, settings_of())
    assert found.intentions == () and found.preferences == ()


def test_texts_of_another_catalogue_are_refused():
    with pytest.raises(ValueError, match="item row 4"):
        extract_user_texts(of([0, 4]), texts_of(("lamp", "")), {}, settings_of())
