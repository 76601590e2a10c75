"""General instructions from a JSON lines file.

They are mixed in so that a pretrained model keeps its general abilities.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recbole_lcrec.config.values import did_you_mean
from recbole_lcrec.instructions.templates import Instruction, Templates

__all__ = ["read_general"]

_KEYS = ("instruction", "input", "output")


def _parsed(line: str, where: str) -> dict[str, str]:
    try:
        content: Any = json.loads(line)
    except json.JSONDecodeError as err:
        raise ValueError(f"{where} is not valid JSON ({err}); write one object on each line") from err
    if not isinstance(content, dict):
        raise ValueError(
            f"{where} must be an object with instruction, output and optionally input, but is {line.strip()!r}"
        )
    for key, text in content.items():
        if key not in _KEYS:
            raise ValueError(f"{where}: unknown key {key!r}; known are {', '.join(_KEYS)}{did_you_mean(key, _KEYS)}")
        if not isinstance(text, str):
            raise ValueError(f"{where}: {key} must be a text, but is {text!r}")
    for key in ("instruction", "output"):
        if not content.get(key, "").strip():
            raise ValueError(f"{where}: {key} is missing or blank; every line needs instruction and output")
    return content


def read_general(path: Path, templates: Templates) -> tuple[Instruction, ...]:
    """Read instructions that have nothing to do with items.

    Args:
        path: JSON lines, each an object with ``instruction``, ``output`` and optionally ``input``, which is put on a
            separate line below the instruction. Blank lines are skipped.
        templates: gives the frame.

    Returns:
        One instruction for each line, in the file's order.

    Raises:
        ValueError: the file cannot be read or holds no instruction, or a line has another form; the message names the
            line.
    """
    named = f"general file {path}, named by tuning_general_file,"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as err:
        raise ValueError(f"{named} cannot be read: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise ValueError(f"{named} is not UTF-8: {err}") from err
    instructions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        content = _parsed(line, f"{path}, line {number}")
        question = "\n".join(filter(None, (content["instruction"], content.get("input", ""))))
        instructions.append(Instruction(templates.framed(question), content["output"]))
    if not instructions:
        raise ValueError(f"{named} holds no instructions; leave the key out if there are none")
    return tuple(instructions)
