"""Our template file, filled-in prompts, and every error of a template file."""

import string

import pytest
import yaml

from recbole_lcrec.instructions.templates import Instruction, Template, Templates, load_templates
from recbole_lcrec.resources import properties_dir

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


def test_ours_has_ten_wordings_of_seq():
    group = load_templates(OURS).tasks["seq"]
    assert len({template.instruction for template in group}) == len(group) >= 10
    words = [frozenset(template.instruction.lower().replace("{history}", "").split()) for template in group]
    pairs = [(a, b) for place, a in enumerate(words) for b in words[:place]]
    assert max(len(a & b) / len(a | b) for a, b in pairs) < 0.5  # no two are the same but for a word


def test_ours_fills_in():
    templates = load_templates(OURS)
    for template in templates.tasks["seq"]:
        made = templates.instruction(template, {"history": "<a_1><b_2>, <a_3><b_4>"}, {"item": "<a_5><b_6>"})
        assert made.prompt.count("<a_1><b_2>, <a_3><b_4>") == 1
        assert made.response == "<a_5><b_6>"
        assert "{" not in made.prompt + made.response
        before, after = templates.frame.split("{instruction}")
        assert made.prompt.startswith(before) and made.prompt.endswith(after)


def test_prompts_by_hand(tmp_path):
    templates = load_templates(write(tmp_path, GOOD))
    first, second = templates.tasks["seq"]
    assert templates.instruction(first, {"history": "x, y"}, {"item": "z"}) == Instruction("Q: After x, y?\nA: ", "z")
    made = templates.instruction(second, {"history": "x"}, {"item": "z"})
    assert made == Instruction("Q: x, x and then?\nA: ", "It is z.")


def test_values_are_not_read_as_templates(tmp_path):
    templates = load_templates(write(tmp_path, GOOD))
    made = templates.instruction(templates.tasks["seq"][0], {"history": "{item} {{"}, {"item": "{0}}"})
    assert made == Instruction("Q: After {item} {{?\nA: ", "{0}}")


def test_doubled_braces_are_braces(tmp_path):
    path = write(tmp_path, seq({"instruction": "{{{history}}}", "response": "{item}{{}}"}))
    templates = load_templates(path)
    made = templates.instruction(templates.tasks["seq"][0], {"history": "x"}, {"item": "z"})
    assert made == Instruction("Q: {x}\nA: ", "z{}")


def test_texts_are_all_wordings(tmp_path):
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
        (changed(tasks={"sequence": []}), "unknown task 'sequence'; known are seq"),
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


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ValueError, match="named by tuning_template_file, cannot be read"):
            load_templates(path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes('frame: "é"'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.yaml is not valid YAML"):
        load_templates(latin)


def test_ours_names_no_placeholder_that_a_reader_could_not_fill():
    names = {name for text in load_templates(OURS).texts() for _, name, _, _ in string.Formatter().parse(text) if name}
    assert names == {"instruction", "history", "item"}
