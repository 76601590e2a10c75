"""ITE and PER: every datum worked out by hand."""

from types import MappingProxyType

from recbole_lcrec.instructions.context import InstructionContext
from recbole_lcrec.instructions.tasks import ite, per
from recbole_lcrec.instructions.templates import Template, Templates
from recbole_lcrec.instructions.user_texts import Intention, Preference
from tests.instructions.plain_world import alignment_data, context_of, everything, values_of


def test_ite_by_hand():
    intentions = (Intention(1, 3, "warm"), Intention(1, 1, "soft {x}"), Intention(0, 1, "warm"))
    data = alignment_data([[5, 4], [0, 1, 2, 3]], intentions=intentions)
    sources = ite.FAMILY.sources(context_of(data, max_history=2))
    assert values_of(sources["ite"]) == [("warm", "<3>"), ("soft {x}", "<1>"), ("warm", "<4>")]
    assert values_of(sources["ite_history"]) == [
        ("<1>, <2>", "warm", "<3>"),
        ("<0>", "soft {x}", "<1>"),
        ("<5>", "warm", "<4>"),
    ]


def test_tuning_and_requests_use_the_same_prompt():
    group = {"ite": Template("{intention}?", "{item}"), "ite_history": Template("{history}: {intention}?", "{item}")}
    templates = Templates("[{instruction}] ", MappingProxyType({name: (one,) for name, one in group.items()}))
    data = alignment_data([[0, 1, 2]], intentions=(Intention(0, 2, "warm"),))
    sources = ite.FAMILY.sources(InstructionContext(data, templates, 3, 0))
    for name, history in (("ite", []), ("ite_history", ["<0>", "<1>"])):
        asked = ite.intention_prompt(templates, group[name], "warm", history)
        assert [one.prompt for one in everything(sources[name], 0)] == [asked]


def test_per_by_hand():
    preferences = (Preference(1, 4, "wool"), Preference(1, 1, "silk"), Preference(0, 2, "wool"))
    data = alignment_data([[5, 4], [0, 1, 2, 3]], preferences=preferences)
    assert values_of(per.FAMILY.sources(context_of(data, max_history=3))["per"]) == [
        ("<1>, <2>, <3>", "wool"),
        ("<0>", "silk"),
        ("<5>, <4>", "wool"),
    ]
