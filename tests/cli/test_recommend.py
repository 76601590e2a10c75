"""The command that recommends: one user's table, files of many users, and resuming after a stop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recbole_lcrec import Recommender
from recbole_lcrec.cli import recommend
from recbole_lcrec.cli.recommend import main, parse_recommend_command
from recbole_lcrec.serving import recommender
from tests.conftest import N_ITEMS, shop_sequences, shop_titles
from tests.saved_runs import copied, limited, make_run

USERS = [{"user": user, "history": items[-4:]} for user, items in list(shop_sequences().items())[:11]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("command"))


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eleven users as JSON lines, answered four at a time."""
    monkeypatch.setattr(recommend, "_CHUNK", 4)
    path = tmp_path / "users.jsonl"
    path.write_text("".join(json.dumps(user) + "\n" for user in USERS), encoding="utf-8")
    return path


def many(run: Path, users: Path, *flags: str) -> list[str]:
    return [f"--run={run}", f"--input={users}", f"--output={users.with_name('out.jsonl')}", *flags]


def answers(users: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in users.with_name("out.jsonl").read_text(encoding="utf-8").splitlines()]


def error_of(flags: list[str], capsys: Any) -> str:
    assert main(flags) == 2
    text = str(capsys.readouterr().err)
    assert text.startswith("error: ") and text.count("\n") == 1
    return text


def test_one_user_has_a_table(run: Path, capsys: Any) -> None:
    assert main([f"--run={run}", "--history=i1, i2", "--k=4", "--decoding_beam_size=30"]) == 0
    (expected,) = Recommender.load(run, decoding_beam_size=N_ITEMS).recommend([["i1", "i2"]], 4)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["rank", "item", "title", "log-prob"]
    assert lines[2:] == [
        [str(place), one.item, shop_titles()[one.item], f"{one.log_prob:.4f}"]
        for place, one in enumerate(expected, start=1)
    ]


def test_flags_for_allowed_items_intentions_unknown_items(run: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "stock.txt").write_text("i3\ni4\n\ni5\n", encoding="utf-8")
    flags = [f"--run={run}", "--k=2", f"--allowed_items={tmp_path / 'stock.txt'}"]
    more = ["--history=i3,X", "--unknown_items=drop", "--exclude_history=True", "--intention=A lamp"]
    assert main([*flags, *more]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert {row.split("|")[2].strip() for row in rows} == {"i4", "i5"}
    assert main([*flags, "--intention=A lamp"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_many_users_are_answered_in_order(run: Path, users: Path) -> None:
    assert main(many(run, users, "--k=3")) == 0
    found = answers(users)
    expected = Recommender.load(run).recommend([user["history"] for user in USERS], 3)
    assert [line["user"] for line in found] == [user["user"] for user in USERS]
    for line, answer in zip(found, expected, strict=True):
        assert set(line) == {"user", "items"} and set(line["items"][0]) == {"item", "title", "log_prob", "certified"}
        assert [one["item"] for one in line["items"]] == [one.item for one in answer]
        assert [one["log_prob"] for one in line["items"]] == pytest.approx([o.log_prob for o in answer], abs=1e-4)


def test_users_may_be_numbers_and_have_intentions(run: Path, users: Path) -> None:
    lines = [{"user": 7, "history": [], "intention": "A lamp"}, {"user": "ü", "history": ["i1"], "intention": None}]
    texts = [*(json.dumps(line, ensure_ascii=False) for line in lines), r'{"user": "\ud83d\ude00", "history": ["i1"]}']
    users.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    assert main(many(run, users, "--k=2")) == 0
    assert [line["user"] for line in answers(users)] == [7, "ü", "\N{GRINNING FACE}"]


@pytest.mark.parametrize("torn", ["", '{"user": "u4", "ite', '{"user": "u4", "items": []}'])
def test_a_command_resumes_where_it_stopped(run: Path, users: Path, torn: str, monkeypatch: Any) -> None:
    assert main(many(run, users, "--k=3")) == 0
    output = users.with_name("out.jsonl")
    whole = output.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = [whole[0].replace('"log_prob": -', '"log_prob": -9'), *whole[1:4]]
    output.write_text("".join(changed) + torn, encoding="utf-8")
    asked: list[int] = []
    plain = Recommender.recommend

    def counted(self: Any, histories: Any, *rest: Any) -> Any:
        asked.append(len(histories))
        return plain(self, histories, *rest)

    monkeypatch.setattr(Recommender, "recommend", counted)
    assert main(many(run, users, "--k=3")) == 0
    assert asked == [4, 3]
    again = output.read_text(encoding="utf-8").splitlines(keepends=True)
    assert again[:4] == changed and len(again) == len(whole)
    assert [json.loads(line)["user"] for line in again] == [user["user"] for user in USERS]
    monkeypatch.setattr(recommender.Recommender, "load", lambda *_: pytest.fail("nothing is left to do"))
    assert main(many(run, users, "--k=3")) == 0


def test_a_stop_keeps_the_finished_chunks(run: Path, users: Path, monkeypatch: Any) -> None:
    plain, calls = Recommender.recommend, [0]

    def stopping(self: Any, *given: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return plain(self, *given)

    monkeypatch.setattr(Recommender, "recommend", stopping)
    with pytest.raises(KeyboardInterrupt):
        main(many(run, users))
    assert len(answers(users)) == 8
    assert main(many(run, users)) == 0
    assert len(answers(users)) == 11


def test_chunks_grow_with_the_number_of_processes(run: Path, users: Path, monkeypatch: Any) -> None:
    """Eleven users in chunks of four for each of two processes make chunks of eight and three."""
    asked: list[int] = []

    class Counting:
        def recommend(self, histories: list[Any], *_: Any) -> list[list[Any]]:
            asked.append(len(histories))
            return [[] for _ in histories]

    monkeypatch.setattr(recommend, "_load", lambda _: Counting())
    monkeypatch.setattr(recommend, "process_count", lambda: 2)
    assert main(many(run, users)) == 0
    assert asked == [8, 3] and len(answers(users)) == 11


def test_answers_to_other_requests_are_not_resumed(run: Path, users: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(many(run, users, "--k=3")) == 0
    before = users.with_name("out.jsonl").read_bytes()
    (tmp_path / "stock.txt").write_text("".join(f"i{n}\n" for n in range(9)), encoding="utf-8")
    other = copied(run, tmp_path)
    capsys.readouterr()
    for flags, name in (
        (many(run, users, "--k=4"), "k differ (k was 3, now it is 4)"),
        (many(run, users, "--k=3", "--decoding_beam_size=9"), "decoding differ"),
        (many(run, users, "--k=3", "--exclude_history=true"), "exclude_history differ"),
        (many(run, users, "--k=3", "--unknown_items=drop"), "unknown_items differ"),
        (many(run, users, "--k=3", f"--allowed_items={tmp_path / 'stock.txt'}"), "allowed_items differ"),
        (many(other, users, "--k=3"), "run differ"),
    ):
        error = error_of(flags, capsys)
        assert name in error and "out.jsonl" in error and "choose another --output" in error
    assert main(many(run, users, "--k=3", "--decoding_max_tokens=900")) == 0  # changes no answer
    users.write_text(users.read_text(encoding="utf-8").replace("u3", "u33"), encoding="utf-8")
    assert "input differ" in error_of(many(run, users, "--k=3"), capsys)
    assert users.with_name("out.jsonl").read_bytes() == before


def test_answers_depend_on_the_runs_allowed_items(run: Path, users: Path, tmp_path: Path, capsys: Any) -> None:
    folder = copied(run, tmp_path)
    limited(folder, [f"i{n}" for n in range(9)])
    assert main(many(folder, users, "--k=3")) == 0
    assert {one["item"] for line in answers(users) for one in line["items"]} <= {f"i{n}" for n in range(9)}
    capsys.readouterr()
    limited(folder, [f"i{n}" for n in range(8)])
    assert "allowed_items differ" in error_of(many(folder, users, "--k=3"), capsys)
    assert "allowed_items, decoding differ" in error_of(
        many(folder, users, "--k=3", "--decoding_allowed_items=~"), capsys
    )


def test_a_file_without_answers(run: Path, users: Path, capsys: Any) -> None:
    output = users.with_name("out.jsonl")
    output.write_text("my notes\n", encoding="utf-8")
    assert "there is no out.jsonl.settings.json that says what it answers" in error_of(many(run, users), capsys)
    output.unlink()
    assert main(many(run, users)) == 0
    lines = output.read_text(encoding="utf-8").splitlines(keepends=True)
    capsys.readouterr()
    for content, message in (
        ([lines[1], *lines[:1]], "line 1 answers user 'u1', expected user 'u0'"),
        ([lines[0], "noise\n"], "line 2 is not an answer"),
        ([*lines, lines[0]], "contains 12 answers for 11 users"),
    ):
        output.write_text("".join(content), encoding="utf-8")
        assert message in error_of(many(run, users), capsys)
    output.write_text("".join(lines), encoding="utf-8")
    output.with_name("out.jsonl.settings.json").write_text("{", encoding="utf-8")
    assert "out.jsonl.settings.json is damaged" in error_of(many(run, users), capsys)


def test_flags_are_values(tmp_path: Path) -> None:
    command = parse_recommend_command(
        [
            "--run=r",
            "--history=1,02",
            "--decoding_exact=true",
            "--decoding_allowed_items=~",
            "--state=DEBUG",
            "--k",
            "3",
        ]
    )
    assert command.history == ("1", "02") and command.k == 3
    assert command.decoding == {"decoding_exact": True, "decoding_allowed_items": None}


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom recbole_lcrec.cli.recommend import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(' '.join({'torch', 'transformers', 'recbole', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and "--history" in done.stdout
