"""The tuning data of a data set on disk: no held-out interaction is in it, and what cannot be built is reported.

The shop has reviews, repeated items and equal times. It is used as it is, and in a marked form with a distinct item for
every interaction, which identifies user and position wherever its index, title, description or review appears.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_lcrec import Config, create_dataset, run_recbole_lcrec
from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import IntentionSettings, TuningSettings
from recbole_lcrec.instructions.tasks import task_families
from recbole_lcrec.instructions.template_file import load_templates
from recbole_lcrec.instructions.templates import Instruction, Templates
from recbole_lcrec.instructions.wording import history_text
from recbole_lcrec.llm.scratch import train_tokenizer
from recbole_lcrec.llm.text_lengths import TextLengths
from recbole_lcrec.llm.tokens import add_index_tokens, tokenize_instructions
from recbole_lcrec.models.lcrec import inputs
from recbole_lcrec.models.lcrec.tuning_data import TextLimits, alignment_source, given_intentions
from recbole_lcrec.preparation.locate import find_data_files
from tests.conftest import SHOP, shop_sequences
from tests.data.reviewed_shop import EVENTS, REVIEW_FIELDS, histories, marker, training_markers, write_reviewed
from tests.word_limits import word_limits

Parameters = Callable[..., dict[str, Any]]
OWN_TEMPLATES = properties_dir() / "instructions" / "lcrec.yaml"
FAMILIES = ["seq", "asy", "ite", "per"]
"""Families whose instructions belong to users."""

USERS = sorted(histories())
PLACES = {user: len(rows) for user, rows in histories().items()}
HELD_OUT = 2
NAMED = re.compile(r"(?:<a_(\d+)><b_(\d+)>|(marker|title|about)(again|plain|tie)x([a-j]))")


def source_of(
    parameters: dict[str, Any],
    template_file: Path = OWN_TEMPLATES,
    longest_row: int = 1000,
    limits: TextLimits | None = None,
) -> Any:
    config = Config("LCRec", SHOP, config_dict=parameters)
    train = create_dataset(config).build()[0]
    templates = load_templates(template_file, fallback=OWN_TEMPLATES)
    return alignment_source(train, config.stage(TuningSettings), templates, limits or word_limits(longest_row))


def walk(source: Any, epochs: int = 2) -> list[Instruction]:
    return [source.instruction(epoch, datum) for epoch in range(epochs) for datum in range(source.size(epoch))]


def reviewed(root: Path, events: list[Any], named: dict[str, tuple[str, str, list[str]]]) -> Path:
    """Write the shop of these events with a title, a description and an index for each of the given items."""
    folder = write_reviewed(root, events).parent
    rows = [f"{item}\t{title}\t{about}" for item, (title, about, _) in named.items()]
    header = "item_id:token\ttitle:token_seq\tdescription:token_seq"
    (folder / "shop.item").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    index = {item: tokens for item, (_, _, tokens) in named.items()}
    (folder / "shop.index.json").write_text(json.dumps(index), encoding="utf-8")
    return root


def marked_events() -> tuple[list[Any], dict[str, tuple[str, str, list[str]]]]:
    """Return events with a distinct item each, and the items' names, in which letters count positions."""
    events, named = list(EVENTS), {}
    for number, user in enumerate(USERS):
        for place, (_, line) in enumerate(histories()[user]):
            name = f"{user}x{'abcdefghij'[place]}"
            events[line] = (user, name, EVENTS[line][2])
            named[name] = (f"title{name} piece", f"Now about{name}.", [f"<a_{number}>", f"<b_{place}>"])
    return events, named


def unmarked_events() -> tuple[list[Any], dict[str, tuple[str, str, list[str]]]]:
    items = sorted({item for _, item, _ in EVENTS})
    return list(EVENTS), {
        item: (f"title {item} piece", f"Now about {item}.", [f"<a_{n}>", "<b_9>"]) for n, item in enumerate(items)
    }


def places_in(text: str) -> list[tuple[str, int, str]]:
    """Return (user, position, source) of every interaction named in a text, in order."""
    found = []
    for match in NAMED.finditer(text):
        a, b, kind, user, letter = match.groups()
        found.append((USERS[int(a)], int(b), "index") if a else (user, "abcdefghij".index(letter), kind))
    return found


@pytest.fixture
def everything(tiny: Parameters) -> Callable[..., dict[str, Any]]:
    """Parameters of all families as instructions, with every interaction's intention and every sentence."""

    def parameters(data_path: Path, **changes: Any) -> dict[str, Any]:
        settings = {
            "tuning_tasks": FAMILIES, "tuning_seq_format": "instruction",
            "intention_review_fields": list(REVIEW_FIELDS), "intention_per_user": None,
            "intention_sentences": 100, "decoding_beam_size": 5, "index_levels": 2,
        }  # fmt: skip
        return tiny(data_path, **{**settings, **changes})

    return parameters


@pytest.mark.parametrize("seq_format", ["instruction", "stream"])
def test_no_instruction_names_a_held_out_interaction(tmp_path: Path, everything: Parameters, seq_format: str) -> None:
    source = source_of(everything(reviewed(tmp_path / "marked", *marked_events()), tuning_seq_format=seq_format))
    # 3 users of n training interactions: n - 1 targets each, streams one row a user
    targets = sum(n - HELD_OUT - 1 for n in PLACES.values())
    assert source.counts(0) == {
        "seq": targets if seq_format == "instruction" else len(USERS),
        "asy": 3 * targets,
        "ite": 2 * targets,
        "per": len(USERS),
    }
    kinds, reviews = set(), set()
    for one in walk(source):
        shown, asked = places_in(one.prompt), places_in(one.response)
        assert shown and len({user for user, _, _ in shown + asked}) == 1
        assert all(place < PLACES[user] - HELD_OUT for user, place, _ in shown + asked)
        if not any(kind == "marker" for _, _, kind in asked):  # but for a preference, which sums the past up
            history = [place for _, place, kind in shown if kind != "marker"]
            assert history == sorted(history)
            assert not history or history[-1] < asked[0][1]
            assert all(place == asked[0][1] for _, place, kind in shown if kind == "marker")  # the target's own review
        kinds |= {kind for _, _, kind in shown + asked}
        reviews |= {(user, place) for user, place, kind in shown + asked if kind == "marker"}
    assert kinds == {"index", "title", "about", "marker"}
    assert reviews == set(training_markers())  # the walk has seen every review that it may see


def test_repeated_items_change_nothing(tmp_path: Path, everything: Parameters) -> None:
    """Instructions are equal word for word when each item of the marked shop is called by its real name."""
    marked, plain = marked_events(), unmarked_events()
    made = walk(source_of(everything(reviewed(tmp_path / "marked", *marked))))
    expected = walk(source_of(everything(reviewed(tmp_path / "plain", *plain), checkpoint_dir=str(tmp_path / "other"))))
    item_at = {(user, place): item for user, rows in histories().items() for place, (item, _) in enumerate(rows)}

    def unmarked(text: str) -> str:
        def called(match: re.Match[str]) -> str:
            ((user, place, kind),) = places_in(match[0])
            item = item_at[user, place]
            if kind == "index":
                return "".join(plain[1][item][2])
            return marker(user, place) if kind == "marker" else f"{kind} {item}"

        return NAMED.sub(called, text)

    assert [(unmarked(one.prompt), unmarked(one.response)) for one in made] == [
        (one.prompt, one.response) for one in expected
    ]


def test_mut_depends_only_on_the_catalogue(tmp_path: Path, everything: Parameters) -> None:
    """Four instructions per item, each about one item and none with a review."""
    _, named = marked_events()
    source = source_of(everything(reviewed(tmp_path / "marked", *marked_events()), tuning_tasks=["mut"]))
    assert source.counts(0) == {"mut": 4 * len(named)}
    for one in walk(source):
        seen = places_in(one.prompt + one.response)
        assert len({(user, place) for user, place, _ in seen}) == 1
        assert "marker" not in one.prompt + one.response


def test_auto_takes_every_task_that_the_shop_supports(
    tmp_path: Path, everything: Parameters, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    source = source_of(everything(reviewed(tmp_path / "plain", *unmarked_events()), tuning_tasks="paper"))
    targets = sum(n - HELD_OUT - 1 for n in PLACES.values())
    counts = {"seq": targets, "mut": 4 * 5, "asy": 3 * targets, "ite": 2 * targets, "per": 3}
    assert source.counts(0) == source.counts(1) and source.counts(0).items() >= counts.items()
    assert f"instructions per epoch: {', '.join(f'{name} {count}' for name, count in counts.items())}" in caplog.text
    assert not any(f"task {name} is left out" in caplog.text for name in counts)


def test_auto_logs_what_it_leaves_out_and_why(
    indexed_shop: Path, tiny: Parameters, caplog: pytest.LogCaptureFixture
) -> None:
    (indexed_shop / SHOP / f"{SHOP}.item").unlink()
    caplog.set_level(logging.INFO)
    source = source_of(tiny(indexed_shop, tuning_tasks="paper", tuning_seq_format="instruction"))
    assert source.counts(0)["seq"] == sum(len(items) - 3 for items in shop_sequences().values())
    assert not {"mut", "asy", "ite", "per"} & set(source.counts(0))
    for task in ("mut", "asy"):
        assert f"Alignment task {task} is left out: the data set has no item texts: give it an item file" in caplog.text
    assert "Alignment task ite is left out: there are no intentions: set intention_source" in caplog.text
    assert "Alignment task per is left out: there are no preferences: set intention_source" in caplog.text
    assert "task seq is left out" not in caplog.text


def test_auto_without_intentions(indexed_shop: Path, tiny: Parameters, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = source_of(tiny(indexed_shop, tuning_tasks="paper", intention_source="none"))
    assert list(source.counts(0))[:3] == ["seq", "mut", "asy"] and not {"ite", "per"} & set(source.counts(0))
    assert "No intentions and preferences: intention_source = none" in caplog.text


@pytest.mark.parametrize("tasks", [["seq", "mut"], ["seq", "asy"]])
def test_missing_texts_of_requested_tasks_are_errors_at_once(
    indexed_shop: Path, tiny: Parameters, tasks: list[str]
) -> None:
    path = indexed_shop / SHOP / f"{SHOP}.item"
    parameters = tiny(indexed_shop, tuning_tasks=tasks, text_title_fields=["name"])
    with pytest.raises(ValueError, match=f"no column 'name', required by {tasks[1]} of tuning_tasks"):
        run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    path.unlink()
    with pytest.raises(
        ValueError,
        match=f"tuning_tasks = .*: {tasks[1]} cannot be built, because the item texts .*shop.item do not exist",
    ):
        run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    assert not Path(parameters["checkpoint_dir"]).exists()
    with pytest.raises(ValueError, match=f"{tasks[1]} cannot be built, for the data set has no item texts"):
        source_of(parameters)  # also where the data set is used without the command


def test_missing_templates_of_requested_tasks_are_errors_at_once(
    indexed_shop: Path, tiny: Parameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = load_templates(OWN_TEMPLATES)
    unworded = Templates(package.frame, {name: group for name, group in package.tasks.items() if name != "mut_text"})
    monkeypatch.setattr(inputs, "load_templates", lambda *_, **__: unworded)
    parameters = tiny(indexed_shop, tuning_tasks=["seq", "mut"])
    with pytest.raises(ValueError, match="task family mut: there are no templates for mut_text; add them to"):
        run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    assert not Path(parameters["checkpoint_dir"]).exists()


@pytest.mark.parametrize("task", ["ite", "per"])
def test_missing_intentions_of_requested_tasks_are_errors(indexed_shop: Path, tiny: Parameters, task: str) -> None:
    with pytest.raises(ValueError, match=f"{task} cannot be built, for there are no .*; or leave {task} out"):
        source_of(tiny(indexed_shop, tuning_tasks=["seq", task], intention_source="none"))


def test_a_file_of_intentions_beside_the_data_is_used(indexed_shop: Path, tiny: Parameters) -> None:
    sequence = shop_sequences()["u0"]
    lines = [
        {"user": "u0", "position": 1, "item": sequence[1], "intention": "a wish of my own"},
        {"user": "u0", "until": 2, "preference": "a taste of my own"},
        {"user": "u0", "position": len(sequence) - 1, "intention": "a wish that is held out"},
    ]
    path = indexed_shop / SHOP / f"{SHOP}.intentions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    assert given_intentions(intentions(), find_data_files(SHOP, path.parent)) == path
    made = walk(source_of(tiny(indexed_shop, tuning_tasks=["ite", "per"])), epochs=1)
    texts = [one.prompt + one.response for one in made]
    assert [("a wish of my own" in text, "a taste of my own" in text) for text in texts] == [
        (True, False), (True, False), (False, True),
    ]  # fmt: skip


def test_intention_file_overrides_the_file_beside_the_data(indexed_shop: Path) -> None:
    folder = indexed_shop / SHOP
    (folder / f"{SHOP}.user.json").write_text("{}")
    files = find_data_files(SHOP, folder)
    assert given_intentions(intentions(), files) == folder / f"{SHOP}.user.json"
    assert given_intentions(intentions(file="mine.jsonl"), files) == Path("mine.jsonl")


def intentions(**changes: Any) -> IntentionSettings:
    values: dict[str, Any] = {
        "source": "auto", "file": None, "review_fields": (), "per_user": 1, "sentences": 2, "llm_model": None,
        "llm_base_url": None, "llm_key_variable": "KEY", "llm_parallel": 1, "llm_requests_per_minute": None,
        "llm_timeout": 1.0, "llm_retries": 0, "llm_max_tokens": 10,
    }  # fmt: skip
    return IntentionSettings(**{**values, **changes})


def test_texts_are_cut_to_what_the_settings_allow(tmp_path: Path, everything: Parameters) -> None:
    shop = reviewed(tmp_path / "plain", *unmarked_events())
    made = walk(source_of(everything(shop, tuning_tasks=["seq", "mut", "asy", "ite", "per"], tuning_text_tokens=2)))
    text = "".join(one.prompt + one.response for one in made)
    assert "title a" in text and "Now about" in text and "Summary marker" in text
    assert "title a piece" not in text and "Now about a" not in text


def test_rows_that_may_be_too_long_are_errors_before_tuning(tmp_path: Path, everything: Parameters) -> None:
    """The number in the message is enough for every instruction, and the next smaller one is an error."""
    shop = reviewed(tmp_path / "plain", *unmarked_events())
    parameters = everything(shop, tuning_tasks=["seq", "mut", "asy", "ite", "per"], tuning_text_tokens=3)
    with pytest.raises(
        ValueError, match=r"an instruction of \w+ can have \d+ tokens, more than the 10 of .*:.*lower"
    ) as err:
        source_of(parameters, longest_row=10)
    enough = int(re.findall(r"can have (\d+) tokens", str(err.value))[0])
    made = walk(source_of(parameters, longest_row=enough))
    longest = max(len((one.prompt + one.response).split()) + 2 for one in made)
    assert longest <= enough
    with pytest.raises(ValueError, match="can have"):
        source_of(parameters, longest_row=enough - 1)


@pytest.mark.parametrize("vocabulary", [300, 500, 900])
def test_no_instruction_exceeds_the_computed_bound(tmp_path: Path, everything: Parameters, vocabulary: int) -> None:
    """Tokens are split differently where texts meet, so the bound is compared with a trained tokenizer's rows."""
    shop = reviewed(tmp_path / "plain", *unmarked_events())
    templates = load_templates(OWN_TEMPLATES)
    parameters = everything(shop, tuning_tasks=["seq", "mut", "asy", "ite", "per"], tuning_text_tokens=3)
    plain = source_of(parameters)
    words = [text for one in walk(plain) for text in (one.prompt, one.response)]
    tokenizer = train_tokenizer(words, vocabulary)
    add_index_tokens(tokenizer, sorted(set(re.findall(r"<[a-z]_\d+>", " ".join(words)))))
    index = re.findall(r"(?:<[a-z]_\d+>)+", words[1])[0]
    lengths = TextLengths(tokenizer)
    history = int(lengths.count([history_text([index] * 6)])[0])
    item = int(lengths.count([index])[0])
    for family in ("seq", "mut", "asy", "ite", "per"):
        subtasks = task_families()[family].subtasks
        worst = max(TextLimits(lengths, 1000, 6, history, item).worst(each, templates, 3) for each in subtasks)
        room = worst + (20 if family == "asy" else 0)  # a history of titles fills what is left
        limits = TextLimits(lengths, room, 6, history, item)
        made = walk(source_of({**parameters, "tuning_tasks": [family]}, limits=limits))
        rows = tokenize_instructions(tokenizer, made, 1000)
        assert worst // 2 < max(len(row.prompt) + len(row.response) for row in rows) <= room, family


def test_general_instructions_are_mixed_in(indexed_shop: Path, tiny: Parameters, tmp_path: Path) -> None:
    path = tmp_path / "general.jsonl"
    path.write_text('{"instruction": "Name a colour.", "output": "Blue."}\n', encoding="utf-8")
    source = source_of(tiny(indexed_shop, tuning_general_file=str(path)))
    assert source.counts(0)["general"] == 1
    last = source.instruction(1, source.size(1) - 1)
    assert "Name a colour." in last.prompt and last.response == "Blue."


def test_a_general_instruction_that_is_too_long_is_an_error(
    indexed_shop: Path, tiny: Parameters, tmp_path: Path
) -> None:
    path = tmp_path / "general.jsonl"
    rows = [{"instruction": "Count.", "output": "one " * words} for words in (1, 60, 1, 70)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    message = (
        r"general.jsonl'?: 2 instructions have more tokens than tuning_max_length = 50 allows; the first is number 2"
    )
    with pytest.raises(ValueError, match=message):
        source_of(tiny(indexed_shop, tuning_general_file=str(path), tuning_max_length=50), longest_row=50)


def test_a_malformed_general_instruction_is_an_error_at_once(
    indexed_shop: Path, tiny: Parameters, tmp_path: Path
) -> None:
    path = tmp_path / "general.jsonl"
    path.write_text('{"instruction": "Name a colour."}\n', encoding="utf-8")
    parameters = tiny(indexed_shop, tuning_general_file=str(path))
    with pytest.raises(ValueError, match=r"general.jsonl, line 1: output is missing"):
        run_recbole_lcrec("LCRec", SHOP, config_dict=parameters)
    assert not Path(parameters["checkpoint_dir"]).exists()


def test_a_custom_template_file_may_hold_one_subtask(indexed_shop: Path, tiny: Parameters, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text('tasks:\n  mut_title:\n    - {instruction: "MINE {title}", response: "{item}"}\n', encoding="utf-8")
    made = walk(source_of(tiny(indexed_shop, tuning_tasks=["seq", "mut"], tuning_seq_format="instruction"), path))
    mine = [one for one in made if "MINE" in one.prompt]
    assert len(mine) == 2 * 30  # each of 30 items in both epochs, and in this wording alone
    assert all(re.search(r"MINE \w+ number \d+(?!.*MINE)", one.prompt) for one in mine)
    package = load_templates(OWN_TEMPLATES)
    beginnings = {template.instruction.partition("{")[0] for template in package.tasks["seq"]}
    others = [one for one in made if "MINE" not in one.prompt]
    assert any(beginning.strip() and beginning in one.prompt for one in others for beginning in beginnings)
    assert len(others) == 2 * (sum(len(items) - 3 for items in shop_sequences().values()) + 3 * 30)
