"""Answers of a saved run, equal to RecBole's model and to exhaustive scoring, and the errors of wrong requests."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_lcrec import Recommender, load_data_and_model
from tests.conftest import N_ITEMS, shop_titles
from tests.saved_runs import (
    INDEX_TEXT,
    configured,
    copied,
    make_run,
    no_model_calls,
    prompt,
    require_alike,
    require_exhaustive,
)

HISTORIES = [["i1", "i2", "i3"], ["i29"], ["i4", "i4", "i5", "i9", "i1"]]


def worded_run(root: Path) -> Path:
    """Tune a run on instructions, whose data set exists."""
    return make_run(root, tuning_tasks=["seq", "ite"], intention_source="extractive")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run tuned on instructions, whose data set and artifacts are deleted."""
    root = tmp_path_factory.mktemp("words")
    folder = copied(worded_run(root), tmp_path_factory.mktemp("alone"))
    shutil.rmtree(root)
    return folder


@pytest.fixture(scope="module")
def stream_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("stream"), tuning_seq_format="stream")


@pytest.fixture(scope="module")
def wide(alone: Path) -> Recommender:
    """A recommender with as many beams as there are items."""
    return Recommender.load(alone, decoding_beam_size=N_ITEMS)


def test_three_lines_are_enough(alone: Path) -> None:
    recommender = Recommender.load(str(alone))
    found = recommender.recommend([["i1", "i2"]], k=5)
    assert [len(answer) for answer in found] == [5]
    assert len({one.item for one in found[0]}) == 5
    assert all(one.title == shop_titles()[one.item] and one.log_prob < 0 for one in found[0])
    assert not next(iter(recommender.answering.ranker.reader._model.modules())).training  # type: ignore[attr-defined]


def test_answers_are_those_of_the_run_in_recbole(tmp_path: Path) -> None:
    run = worded_run(tmp_path / "root")
    _, model, dataset, *_, test_data = load_data_and_model(run)
    interaction = next(iter(test_data))[0]
    scores = model.full_sort_predict(interaction)
    names = dataset.field2id_token[dataset.iid_field]
    lengths = interaction[model.ITEM_SEQ_LEN].tolist()
    histories = [
        [str(names[item]) for item in items[:length]]
        for items, length in zip(interaction[model.ITEM_SEQ].tolist(), lengths, strict=True)
    ]
    best = scores.topk(10)
    for answer, values, items in zip(
        Recommender.load(run).recommend(histories, k=10), best.values.tolist(), best.indices.tolist(), strict=True
    ):
        assert [one.item for one in answer] == [names[item] for item in items]
        assert [one.log_prob for one in answer] == pytest.approx(values, rel=1e-6)


def test_answers_are_the_best_of_all_items(wide: Recommender, alone: Path) -> None:
    for history, answer in zip(HISTORIES, wide.recommend(HISTORIES, k=N_ITEMS), strict=True):
        require_exhaustive(wide, answer, [prompt(alone, "seq", history=history)])
        assert all(one.certified for one in answer)


def test_intentions_work_with_and_without_a_history(wide: Recommender, alone: Path) -> None:
    histories = [["i1", "i2"], [], ["i3"]]
    found = wide.recommend(histories, 7, intention=["A lamp &amp; a  rope", "Gloves", None])
    texts = [
        prompt(alone, "ite_history", history=["i1", "i2"], intention="A lamp & a rope"),
        prompt(alone, "ite", intention="Gloves"),
        prompt(alone, "seq", history=["i3"]),
    ]
    for answer, text in zip(found, texts, strict=True):
        require_exhaustive(wide, answer, [text])
    for answer in wide.recommend([[], []], 7, intention="Gloves"):
        require_alike(answer, found[1])


def test_an_ensemble_adds_the_scores_of_all_wordings(alone: Path) -> None:
    recommender = Recommender.load(alone, decoding_beam_size=N_ITEMS, eval_templates="ensemble")
    found = recommender.recommend([["i1"], ["i1"], []], 4, intention=[None, "A lamp", "A lamp"])
    tasks = recommender.answering.catalogue.templates.tasks
    asked: dict[str, dict[str, Any]] = {
        "seq": {"history": ["i1"]},
        "ite_history": {"history": ["i1"], "intention": "A lamp"},
        "ite": {"intention": "A lamp"},
    }
    for answer, (task, values) in zip(found, asked.items(), strict=True):
        require_exhaustive(
            recommender, answer, [prompt(alone, task, number, **values) for number in range(len(tasks[task]))]
        )


def test_another_template_can_be_chosen(alone: Path) -> None:
    recommender = Recommender.load(alone, decoding_beam_size=N_ITEMS, decoding_template=3)
    (answer,) = recommender.recommend([["i1", "i7"]], 6)
    require_exhaustive(recommender, answer, [prompt(alone, "seq", 3, history=["i1", "i7"])])


def test_a_stream_prompt_is_a_sequence_of_indices(stream_run: Path) -> None:
    recommender = Recommender.load(stream_run, decoding_beam_size=N_ITEMS)
    (answer,) = recommender.recommend([["i1", "i7"]], 6)
    require_exhaustive(recommender, answer, [INDEX_TEXT["i1"] + INDEX_TEXT["i7"]])
    with no_model_calls(), pytest.raises(ValueError, match=r"tuning_seq_format = 'stream'.*cannot take an intention"):
        recommender.recommend([["i1"]], 5, intention="A lamp")


def test_certificates_are_true_and_exact_gives_them_all(wide: Recommender, alone: Path) -> None:
    narrow, exact = (
        Recommender.load(alone, decoding_beam_size=5),
        Recommender.load(alone, decoding_beam_size=5, decoding_exact=True),
    )
    truth = wide.recommend(HISTORIES, 5)
    for answer, best in zip(narrow.recommend(HISTORIES, 5), truth, strict=True):
        proofs = [one.certified for one in answer]
        assert proofs == sorted(proofs, reverse=True)
        for one, other in zip(answer, best, strict=True):
            assert not one.certified or one.log_prob == pytest.approx(other.log_prob, abs=1e-4)
    for answer, best in zip(exact.recommend(HISTORIES, 5), truth, strict=True):
        assert all(one.certified for one in answer)
        assert [one.log_prob for one in answer] == pytest.approx([one.log_prob for one in best], abs=1e-4)


def test_only_allowed_items_are_recommended(wide: Recommender) -> None:
    allowed = ["i20", "i3", "i11", "i20"]
    everything = wide.recommend(HISTORIES, N_ITEMS)
    for answer, all_items in zip(wide.recommend(HISTORIES, 3, allowed_items=allowed), everything, strict=True):
        expected = [one for one in all_items if one.item in allowed]
        assert [one.item for one in answer] == [one.item for one in expected]
        assert [one.log_prob for one in answer] == pytest.approx([one.log_prob for one in expected], abs=1e-4)


def test_a_mask_of_allowed_items_is_a_list_of_ids(wide: Recommender) -> None:
    assert wide.item_ids == wide.answering.catalogue.item_ids and set(wide.item_ids) == set(INDEX_TEXT)
    assert wide.recommend(HISTORIES, 7, allowed_items=np.ones(N_ITEMS, dtype=bool)) == wide.recommend(HISTORIES, 7)
    allowed = ["i20", "i3", "i11"]
    expected = wide.recommend(HISTORIES, 3, allowed_items=allowed)
    mask = [item in allowed for item in wide.item_ids]
    masks: list[Any] = [mask, np.array(mask), pd.Series(mask), pd.Series(mask, dtype="boolean"), torch.tensor(mask)]
    for given in masks:
        assert wide.recommend(HISTORIES, 3, allowed_items=given) == expected


def test_the_history_can_be_excluded(wide: Recommender, alone: Path) -> None:
    long = [f"i{n}" for n in range(12)]  # more than MAX_ITEM_LIST_LENGTH
    (answer,) = wide.recommend([long], N_ITEMS - 12, exclude_history=True)
    assert {one.item for one in answer} == set(INDEX_TEXT) - set(long)
    assert set(long) & {one.item for one in wide.recommend([long], N_ITEMS)[0]}
    by_setting = Recommender.load(alone, decoding_exclude_history=True)
    assert not {"i1", "i2"} & {one.item for one in by_setting.recommend([["i1", "i2"]], 10)[0]}
    assert by_setting.recommend([["i1"]], 10, exclude_history=False) != by_setting.recommend([["i1"]], 10)


def test_the_oldest_items_are_dropped_first(wide: Recommender, alone: Path, caplog: Any) -> None:
    long = [f"i{n}" for n in range(20)]
    caplog.set_level(logging.INFO)
    answers = wide.recommend([long, ["i3"]], 5)
    require_alike(answers[0], wide.recommend([long[-6:]], 5)[0])  # MAX_ITEM_LIST_LENGTH
    assert "1 of 2 histories lost their oldest items" in caplog.text


def test_an_intention_displaces_the_oldest_items(alone: Path, tmp_path: Path, caplog: Any) -> None:
    """With few tokens allowed, exactly as many items are kept as fit."""
    folder = copied(alone, tmp_path)
    wish = "A lamp, a lamp and a rope or a bolt, a hammer, a glove"  # longer than any wording of seq
    history = [f"i{n}" for n in range(6)]

    def length(items: list[str]) -> int:
        tokenizer: Any = Recommender.load(alone).answering.writer.writer.tokenizer
        return len(tokenizer(prompt(alone, "ite_history", history=items, intention=wish))["input_ids"])

    room = length(history[-4:]) + 3 + 1  # an index and an end
    configured(folder, tuning_max_length=room)
    caplog.set_level(logging.INFO)
    recommender = Recommender.load(folder, decoding_beam_size=N_ITEMS)
    (answer,) = recommender.recommend([history], 5, intention=wish)
    require_exhaustive(recommender, answer, [prompt(alone, "ite_history", history=history[-4:], intention=wish)])
    assert "1 of 1 histories lost their oldest items" in caplog.text
    with no_model_calls(), pytest.raises(ValueError, match=r"user number 1: an intention .* does not fit"):
        recommender.recommend([["i1"], ["i2"]], 5, intention=[None, "lamps, ropes and gloves " * 40])


def test_long_intentions_are_cut_at_the_end(wide: Recommender, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    wide.recommend([["i1"]], 5, intention="A lamp for the night and a rope for the day " * 30)
    assert "1 intentions were cut at the end (tuning_text_tokens)" in caplog.text


def test_a_run_without_intentions_warns_once(tmp_path: Path, alone: Path, caplog: Any) -> None:
    folder = copied(alone, tmp_path)
    configured(folder, tuning_tasks=["seq"])
    recommender = Recommender.load(folder)
    for _ in range(2):
        recommender.recommend([["i1"]], 5, intention="A lamp")
    assert caplog.text.count("not tuned on intentions") == 1
    knowing = Recommender.load(alone)
    knowing.recommend([["i1"]], 5, intention="A lamp")
    assert caplog.text.count("not tuned on intentions") == 1


def test_unknown_items_may_be_dropped(wide: Recommender, caplog: Any) -> None:
    found = wide.recommend([["i1", "X", "i2"], ["Y", "i3"]], 4, unknown_items="drop")
    for answer, expected in zip(found, wide.recommend([["i1", "i2"], ["i3"]], 4), strict=True):
        require_alike(answer, expected)
    assert "2 unknown items dropped from 2 histories" in caplog.text
    (asked,) = wide.recommend([["X"]], 4, unknown_items="drop", intention="A lamp")
    assert [asked] == wide.recommend([[]], 4, intention="A lamp")


def test_histories_may_be_any_lists(wide: Recommender) -> None:
    expected = wide.recommend([["i1", "i2"]], 4)
    column: Any = np.array(["i1", "i2"])
    assert wide.recommend((column,), 4) == expected
    assert wide.recommend([("i1", "i2")], 4, allowed_items={*INDEX_TEXT}) == expected
    assert wide.recommend([], 4) == []
    assert wide.recommend((iter(history) for history in (["i1", "i2"],)), 4) == expected
    with pytest.raises(ValueError, match="user number 1 has an empty history, and no intention"):
        wide.recommend([iter(["i1"]), iter([])], 4)


def test_numpy_scalars_are_accepted(wide: Recommender) -> None:
    k, yes, no = np.int64(2), np.True_, np.False_
    assert wide.recommend(HISTORIES, k) == wide.recommend(HISTORIES, 2)  # type: ignore[arg-type]
    for flag in (yes, no):
        expected = wide.recommend(HISTORIES, 20, exclude_history=bool(flag))
        assert wide.recommend(HISTORIES, 20, exclude_history=flag) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"k": 0}, "k = 0: expected an integer of at least 1"),
        ({"k": True}, "k = True"),
        ({"k": np.True_}, "expected an integer of at least 1"),
        ({"k": 2.0}, "k = 2.0: expected an integer"),
        ({"k": "5"}, "k = '5'"),
        ({"exclude_history": "False"}, "exclude_history = 'False': expected True or False, or None"),
        ({"exclude_history": 0}, "exclude_history = 0: expected True or False"),
        ({"k": 31}, "decoding_beam_size = 30 finds only 30: load the run with decoding_beam_size=31"),
        ({"histories": [["i1"], []]}, "user number 1 has an empty history, and no intention"),
        ({"histories": [["i1"], ["i2", "X", "Y"]]}, r"user number 1: 2 of 3 items .*\['X', 'Y'\]; .*drop.*--extend"),
        ({"histories": [["X"]], "unknown_items": "drop"}, "user number 0 has an empty history: none of its 1 items"),
        ({"unknown_items": "skip"}, "unknown_items = 'skip': expected 'error' or 'drop'"),
        ({"histories": "i1"}, "histories = 'i1' is a str; expected a list of item ids for each user"),
        ({"histories": ["i1", "i2"]}, r"histories\[0\] = 'i1' is a str; expected a list of item ids"),
        ({"histories": [[1, 2]]}, r"histories\[0\] contains 1; item ids are texts"),
        ({"histories": [["i1", None]]}, r"histories\[0\] contains None"),
        ({"histories": {"u": ["i1"]}}, "is a dict"),
        ({"histories": 3}, "histories = 3 is a int"),
        ({"allowed_items": "i1"}, "allowed_items = 'i1' is a str"),
        ({"allowed_items": []}, "allowed_items is empty"),
        ({"allowed_items": ["i1", "X"]}, r"allowed_items: 1 of 2 are not in the catalogue, first \['X'\]"),
        ({"allowed_items": np.ones(29, dtype=bool)}, r"a mask of shape \(29,\), but the run has 30 items.*item_ids"),
        ({"allowed_items": torch.ones((1, 30), dtype=torch.bool)}, r"a mask of shape \(1, 30\)"),
        ({"allowed_items": np.zeros(30, dtype=bool)}, "allowed_items is empty"),
        ({"allowed_items": np.arange(30) < 2}, "k = 3 items are requested, but only 2 are allowed"),
        ({"allowed_items": np.ones(30)}, "allowed_items contains 1.0; item ids are texts"),
        ({"allowed_items": torch.ones(30)}, "allowed_items contains 1.0; item ids are texts"),
        ({"allowed_items": [True] * 29}, r"a mask of shape \(29,\), but the run has 30 items"),
        (
            {"allowed_items": pd.Series([True] * 29 + [None])},
            "contains Booleans and None; give a mask with True or False",
        ),
        ({"allowed_items": ["i1", "i2", "i2"]}, "k = 3 items are requested, but only 2 are allowed"),
        (
            {"allowed_items": ["i1", "i2", "i3"], "exclude_history": True, "histories": [["i9"], ["i1", "i1"]]},
            "k = 3 items are requested, but 2 are left for user number 1: 3 are allowed",
        ),
        ({"intention": ""}, "intention of user number 0 is blank"),
        ({"intention": ["a", "b"]}, "2 intentions for 1 users"),
        ({"intention": [5]}, "intention of user number 0 is 5"),
        ({"intention": 5}, "intention = 5 is a int"),
    ],
)
def test_mistakes_are_errors_before_the_model_runs(wide: Recommender, given: dict[str, Any], message: str) -> None:
    with no_model_calls(), pytest.raises(ValueError, match=message):
        wide.recommend(**{"histories": [["i1"]], "k": 3, **given})
