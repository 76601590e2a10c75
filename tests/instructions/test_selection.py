"""The choice of task families: names in the settings, and what the data of a run allow."""

import pytest

from recbole_lcrec import Config
from recbole_lcrec.instructions.selection import chosen_tasks, missing_data, requested_families, task_problems
from recbole_lcrec.instructions.tasks import task_families
from recbole_lcrec.instructions.user_texts import Intention, Preference
from tests.instructions.plain_world import alignment_data

PAPER = ("seq", "mut", "asy", "ite", "per")


def test_all_families_where_all_data_exist():
    data = alignment_data(
        [[0, 1]], ("t",) * 6, ("",) * 6, intentions=(Intention(0, 1, "i"),), preferences=(Preference(0, 1, "p"),)
    )
    missing = missing_data(data)
    assert list(missing) == list(task_families()) and missing.items() >= dict.fromkeys(PAPER, "").items()
    assert chosen_tasks("paper", data) == (PAPER, {})
    assert chosen_tasks(("per", "seq"), data) == (("seq", "per"), {})


@pytest.mark.parametrize("texts", [None, ("", " ", "", "", "", "")])
def test_auto_reports_what_it_left_out_and_the_remedy(texts):
    chosen, left_out = chosen_tasks("paper", alignment_data([[0, 1]], texts, texts))
    assert chosen[0] == "seq" and list(left_out)[:4] == ["mut", "asy", "ite", "per"]
    for family, remedy in (
        ("mut", "text_title_fields"),
        ("asy", "text_title_fields"),
        ("ite", "intention_source"),
        ("per", "intention_source"),
    ):
        assert remedy in left_out[family]


def test_texts_of_items_without_interactions_suffice_for_mut():
    missing = missing_data(alignment_data([[0, 1]], ("", "", "t", "", "", ""), ("",) * 6))
    assert missing["mut"] == "" and "no item in the training sequences has a title" in missing["asy"]


def test_a_title_before_the_target_suffices_for_asy():
    assert missing_data(alignment_data([[0, 1]], ("t", "", "", "", "", ""), ("",) * 6))["asy"] == ""


def test_sequences_of_one_item_leave_mut_alone():
    data = alignment_data([[0], [1]], ("t",) * 6, ("d",) * 6)
    missing = missing_data(data)
    assert [family for family in PAPER if missing[family]] == ["seq", "asy", "ite", "per"]
    assert "no user has two interactions" in missing["seq"] and "no user has two interactions" in missing["asy"]
    with pytest.raises(ValueError, match="'paper', but there are no data to tune seq on: no user has two"):
        chosen_tasks("paper", data)
    assert chosen_tasks(("mut",), data) == (("mut",), {})


def test_everything_that_a_list_lacks_is_reported_at_once():
    with pytest.raises(ValueError, match=r"\['ite', 'mut', 'seq'\]: ite cannot be built.*leave ite out.*mut cannot"):
        chosen_tasks(("ite", "mut", "seq"), alignment_data([[0, 1]]))


def test_unknown_names_are_reported_with_the_nearest():
    known = ", ".join(task_families())
    assert task_problems({"tuning_tasks": ("seq", "mutt"), "tuning_samples_per_task": {"seq": 5, "itee": 3}}) == [
        f"tuning_tasks = ('seq', 'mutt'): there is no task family 'mutt'; known are {known}; did you mean 'mut'?",
        f"tuning_samples_per_task = {{'seq': 5, 'itee': 3}}: there is no task family 'itee'; known are {known}; "
        "did you mean 'ite'?",
    ]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"tuning_tasks": "auto", "tuning_samples_per_task": None},
        {"tuning_tasks": ["per", "seq"], "tuning_samples_per_task": 20},
        {"tuning_samples_per_task": []},  # wrong types, reported by the settings
        {"tuning_samples_per_task": {7: 1}},
    ],
)
def test_known_names_and_wrong_caps_are_no_problem_here(values):
    assert task_problems(values) == []


@pytest.mark.parametrize("tasks", [5, None, True, "sequence", "seq, mut", [], [3, None], {"seq": 1}])
def test_malformed_tasks_list_the_known_families(tasks):
    expected = f"expected 'auto', 'paper', or a list of {', '.join(task_families())}"
    assert task_problems({"tuning_tasks": tasks})[0] == f"tuning_tasks = {tasks!r}: {expected}"
    with pytest.raises(ValueError, match=expected):
        requested_families(tasks)


def test_a_run_with_malformed_tasks_lists_the_families():
    with pytest.raises(
        ValueError, match=r"tuning_tasks = 5: expected 'auto', 'paper', or a list of seq, mut, asy, ite, per"
    ):
        Config("LCRec", "ml-100k", config_dict={"tuning_tasks": 5})


def test_requested_families_are_in_order():
    assert tuple(family.name for family in requested_families("paper")) == PAPER
    assert [family.name for family in requested_families(("per", "mut"))] == ["mut", "per"]
    with pytest.raises(ValueError, match="there is no task family 'auot'"):
        requested_families(("auot",))


def test_families_know_which_texts_they_need():
    families = requested_families(PAPER)
    assert [family.name for family in families if family.needs_item_texts] == ["mut", "asy"]
    assert [family.name for family in families if family.needs_user_texts] == ["ite", "per"]
