"""General instructions from a file."""

import json

import pytest

from recbole_lcrec.instructions.general import read_general
from recbole_lcrec.instructions.templates import Instruction, Templates

TEMPLATES = Templates("Q: {instruction}\nA: ", {})
GOOD = {"instruction": "Add.", "input": "1 and 2", "output": "3"}


def write(tmp_path, *lines):
    path = tmp_path / "general.jsonl"
    text = "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def test_lines_become_framed_instructions(tmp_path):
    path = write(
        tmp_path,
        GOOD,
        {"instruction": "Say {hello}.", "output": "{hello}"},
        "",
        {"output": "é\u2028x", "instruction": "Two\nlines", "input": ""},
    )
    assert read_general(path, TEMPLATES) == (
        Instruction("Q: Add.\n1 and 2\nA: ", "3"),
        Instruction("Q: Say {hello}.\nA: ", "{hello}"),
        Instruction("Q: Two\nlines\nA: ", "é\u2028x"),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3 is not valid JSON"),
        ("[1]", r"line 3 must be an object with instruction, output and optionally input, but is '\[1\]'"),
        ({"instruction": "x"}, "line 3: output is missing or blank"),
        ({"output": "x"}, "line 3: instruction is missing or blank"),
        ({**GOOD, "output": " "}, "line 3: output is missing or blank"),
        ({**GOOD, "input": None}, "line 3: input must be a text, but is None"),
        ({**GOOD, "output": 3}, "line 3: output must be a text, but is 3"),
        ({"instruction": "x", "outptu": "y"}, "line 3: unknown key 'outptu'; .*did you mean 'output'"),
    ],
)
def test_errors_name_file_and_line(tmp_path, line, message):
    path = write(tmp_path, GOOD, "", line, GOOD)
    with pytest.raises(ValueError, match=message) as caught:
        read_general(path, TEMPLATES)
    assert str(path) in str(caught.value)


def test_files_without_instructions(tmp_path):
    with pytest.raises(ValueError, match="tuning_general_file, holds no instructions"):
        read_general(write(tmp_path, "", " "), TEMPLATES)
    with pytest.raises(ValueError, match="tuning_general_file, cannot be read: No such file"):
        read_general(tmp_path / "none.jsonl", TEMPLATES)
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"instruction": "é"}'.encode("latin-1"))
    with pytest.raises(ValueError, match="tuning_general_file, is not UTF-8"):
        read_general(latin, TEMPLATES)
