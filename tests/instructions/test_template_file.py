"""Our template file, filled-in prompts, users' own files, and every error in a template file."""

import copy
import pickle
import re
import string

import pytest
import yaml

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.instructions.tasks import subtasks
from recbole_lcrec.instructions.template_file import load_templates
from recbole_lcrec.instructions.templates import Instruction, Template, Templates

SUBTASKS = subtasks()
OURS = properties_dir() / "instructions" / "lcrec.yaml"
GOOD = {
    "frame": "Q: {instruction}\nA: ",
    "tasks": {
        "seq": [
            {"instruction": "After {history}?", "response": "{item}"},
            {"instruction": "{history}, {history} and then?", "response": "It is {item}."},
        ]
    },
}


def write(tmp_path, content):
    path = tmp_path / "own.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def changed(**parts):
    return {**GOOD, **parts}


def seq(*entries):
    return changed(tasks={"seq": list(entries)})


def test_the_sub_tasks_of_the_paper():
    shown_and_asked = {
        name: ("+".join(sorted(task.shown)), "+".join(sorted(task.asked))) for name, task in SUBTASKS.items()
    }
    paper = {
        "seq": ("history", "item"),
        "mut_title": ("title", "item"),
        "mut_description": ("description", "item"),
        "mut_text": ("description+title", "item"),
        "mut_item": ("item", "description+title"),
        "mut_item_title": ("item", "title"),
        "asy_title": ("history", "title"),
        "asy_description": ("history", "description"),
        "asy_titles": ("titles", "item"),
        "ite": ("intention", "item"),
        "ite_history": ("history+intention", "item"),
        "per": ("history", "preference"),
    }
    assert shown_and_asked.items() >= paper.items()


@pytest.mark.parametrize("subtask", SUBTASKS)
def test_our_file_has_many_templates_for_every_sub_task(subtask):
    group = load_templates(OURS).tasks[subtask]
    assert len({template.instruction for template in group}) == len(group) >= (10 if subtask == "seq" else 5)
    words = [frozenset(re.sub(r"{\w+}", "", template.instruction.lower()).split()) for template in group]
    pairs = [(a, b) for place, a in enumerate(words) for b in words[:place]]
    assert max(len(a & b) / len(a | b) for a, b in pairs) < 0.5  # no two differ in a few words only


def test_our_file_has_no_template_twice():
    wordings = [template.instruction for group in load_templates(OURS).tasks.values() for template in group]
    assert len(set(wordings)) == len(wordings) and set(load_templates(OURS).tasks) == set(SUBTASKS)


@pytest.mark.parametrize("subtask", SUBTASKS)
def test_our_templates_are_filled_in(subtask):
    templates = load_templates(OURS)
    shown, asked = (
        {name: f"<{name} {{x}}>" for name in part} for part in (SUBTASKS[subtask].shown, SUBTASKS[subtask].asked)
    )
    for template in templates.tasks[subtask]:
        made = templates.instruction(template, shown, asked)
        assert all(made.prompt.count(value) == 1 for value in shown.values())
        assert all(made.response.count(value) == 1 for value in asked.values())
        assert not any(value in made.prompt for value in asked.values())
        rest = made.prompt + made.response
        for value in (*shown.values(), *asked.values()):
            rest = rest.replace(value, "")
        assert "{" not in rest and "}" not in rest
        before, after = templates.frame.split("{instruction}")
        assert made.prompt.startswith(before) and made.prompt.endswith(after)
        assert made.response == made.response.strip() and template.instruction == template.instruction.strip()


def test_prompts_by_hand(tmp_path):
    templates = load_templates(write(tmp_path, GOOD))
    first, second = templates.tasks["seq"]
    assert templates.instruction(first, {"history": "x, y"}, {"item": "z"}) == Instruction("Q: After x, y?\nA: ", "z")
    made = templates.instruction(second, {"history": "x"}, {"item": "z"})
    assert made == Instruction("Q: x, x and then?\nA: ", "It is z.")


def test_braces_in_values_are_not_placeholders(tmp_path):
    templates = load_templates(write(tmp_path, GOOD))
    made = templates.instruction(templates.tasks["seq"][0], {"history": "{item} {{"}, {"item": "{0}}"})
    assert made == Instruction("Q: After {item} {{?\nA: ", "{0}}")


def test_doubled_braces_are_braces(tmp_path):
    path = write(tmp_path, seq({"instruction": "{{{history}}}", "response": "{item}{{}}"}))
    templates = load_templates(path)
    made = templates.instruction(templates.tasks["seq"][0], {"history": "x"}, {"item": "z"})
    assert made == Instruction("Q: {x}\nA: ", "z{}")


def test_texts_are_the_frame_and_all_templates(tmp_path):
    assert load_templates(write(tmp_path, GOOD)).texts() == [
        "Q: {instruction}\nA: ",
        "After {history}?",
        "{item}",
        "{history}, {history} and then?",
        "It is {item}.",
    ]


def test_templates_cannot_be_changed():
    templates = load_templates(OURS)
    with pytest.raises(TypeError):
        templates.tasks["seq"] = ()
    assert isinstance(templates, Templates) and isinstance(templates.tasks["seq"][0], Template)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("frame: [", "is not valid YAML"),
        ("", "must hold a mapping with the keys frame and tasks"),
        ([GOOD], "must hold a mapping with the keys frame and tasks"),
        ({"frame": "{instruction}"}, "must hold a mapping with the keys frame and tasks"),
        (changed(extra=1), "must hold a mapping with the keys frame and tasks"),
        (changed(tasks=[]), "must hold a mapping with the keys frame and tasks"),
        (changed(frame="no place"), r"frame must use exactly the placeholders \{instruction\}, but uses none"),
        (changed(frame="{instruction} {x}"), r"frame must use exactly .* but uses \{instruction\}, \{x\}"),
        (changed(frame=5), "frame must be a text, but is 5"),
        (changed(frame=""), "frame must be a text, but is ''"),
        (changed(tasks={"sequence": []}), "unknown task 'sequence'; known are seq, mut_title, .*, per"),
        (changed(tasks={"asy_titel": []}), "unknown task 'asy_titel'; .*; did you mean 'asy_title'"),
        (changed(tasks={"mut": []}), "unknown task 'mut'; known are seq"),
        (changed(tasks={7: []}), "unknown task 7"),
        (
            seq({"instruction": "{history}", "response": " {item}"}),
            "response must not begin or end with whitespace.*' {item}'",
        ),
        (
            seq({"instruction": "{history}", "response": "{item}\n"}),
            "seq template 0 response must not begin or end with",
        ),
        (
            changed(tasks={"ite_history": [{"instruction": "{intention}", "response": "{item}"}]}),
            r"ite_history template 0 instruction must use .* \{history\}, \{intention\}, but uses \{intention\}",
        ),
        (
            changed(tasks={"mut_item": [{"instruction": "{item}", "response": "{title}"}]}),
            r"mut_item template 0 response must use .* \{description\}, \{title\}, but uses \{title\}",
        ),
        (changed(tasks={"seq": []}), "task seq must list at least one template"),
        (changed(tasks={"seq": {"instruction": "x"}}), "task seq must list at least one template"),
        (seq("{history}"), "seq template 0 must have exactly the keys instruction and response"),
        (seq({"instruction": "{history}"}), "seq template 0 must have exactly the keys"),
        (seq({**GOOD["tasks"]["seq"][0], "note": "x"}), "seq template 0 must have exactly the keys"),
        (
            seq(GOOD["tasks"]["seq"][0], {"instruction": "What next?", "response": "{item}"}),
            r"seq template 1 instruction must use exactly the placeholders \{history\}, but uses none: 'What next\?'",
        ),
        (seq({"instruction": "{histroy}", "response": "{item}"}), r"template 0 instruction .* but uses \{histroy\}"),
        (seq({"instruction": "{history} {item}", "response": "{item}"}), r"but uses \{history\}, \{item\}"),
        (seq({"instruction": "{history} {}", "response": "{item}"}), r"but uses \{\}, \{history\}"),
        (seq({"instruction": "{history.x}", "response": "{item}"}), r"but uses \{history\.x\}"),
        (seq({"instruction": "{history!r}", "response": "{item}"}), r"but uses \{history!r\}"),
        (seq({"instruction": "{history:{w}}", "response": "{item}"}), r"but uses \{history:\{w\}\}"),
        (
            seq({"instruction": "{history}", "response": "none"}),
            r"template 0 response must use .*\{item\}, but uses none",
        ),
        (seq({"instruction": "{history}", "response": None}), "template 0 response must be a text, but is None"),
        (seq({"instruction": "{history", "response": "{item}"}), "template 0 instruction: unbalanced braces"),
        (seq({"instruction": "{history}", "response": "{item}}"}), "template 0 response: unbalanced braces"),
    ],
)
def test_every_error_names_file_and_place(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as caught:
        load_templates(path)
    assert str(path) in str(caught.value)


OWN = {"tasks": {"seq": [{"instruction": "Own {history}?", "response": "{item}"}]}}


def test_a_partial_file_is_completed_from_our_file(tmp_path):
    ours, own = load_templates(OURS), load_templates(write(tmp_path, OWN), OURS)
    assert own.frame == ours.frame
    assert own.tasks["seq"] == (Template("Own {history}?", "{item}"),)  # not ours as well
    assert {name: group for name, group in own.tasks.items() if name != "seq"} == {
        name: group for name, group in ours.tasks.items() if name != "seq"
    }


def test_a_frame_alone_is_completed_too(tmp_path):
    framed = load_templates(write(tmp_path, {"frame": "[{instruction}]"}), OURS)
    assert framed.frame == "[{instruction}]" and framed.tasks == load_templates(OURS).tasks
    assert load_templates(write(tmp_path, GOOD), OURS).frame == GOOD["frame"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "one or both of the keys frame and tasks"),
        ({}, "one or both of the keys frame and tasks"),
        ({"task": {}}, "one or both of the keys frame and tasks"),
        ({**OWN, "note": 1}, "one or both of the keys frame and tasks"),
        ({"tasks": None}, "one or both of the keys frame and tasks"),
        ({"frame": None}, "frame must be a text, but is None"),
        ({"frame": "", "tasks": OWN["tasks"]}, "frame must be a text, but is ''"),
        ({"tasks": {"seq": []}}, "task seq must list at least one template"),
    ],
)
def test_a_fallback_does_not_hide_errors(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load_templates(write(tmp_path, content), OURS)


def test_a_fallback_must_be_complete_by_itself(tmp_path):
    with pytest.raises(ValueError, match="must hold a mapping with the keys frame and tasks"):
        load_templates(OURS, write(tmp_path, OWN))


def test_templates_can_be_pickled():
    ours = load_templates(OURS)
    assert pickle.loads(pickle.dumps(ours)) == ours == copy.deepcopy(ours)


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ValueError, match="named by tuning_template_file, cannot be read"):
            load_templates(path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes('frame: "é"'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.yaml is not valid YAML"):
        load_templates(latin)


def test_our_file_explains_every_placeholder_at_the_top():
    names = {name for text in load_templates(OURS).texts() for _, name, _, _ in string.Formatter().parse(text) if name}
    head = OURS.read_text(encoding="utf-8").split("\nframe:")[0]
    for name in names:
        assert f"{{{name}}}" in head
    assert all(re.search(rf" {name} ", head) for name in SUBTASKS)
    assert names == {"instruction"}.union(*(task.shown | task.asked for task in SUBTASKS.values()))


def test_a_task_given_twice_names_both_lines(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("tasks:\n  seq: []\n  mut: []\n  seq: []\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.yaml gives 'seq' twice, in lines 2 and 4"):
        load_templates(path)
