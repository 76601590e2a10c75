"""The language model as a source of intentions and preferences, against an endpoint on loopback that misbehaves."""

from __future__ import annotations

import dataclasses
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import IntentionSettings
from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.intentions import endpoint
from recbole_lcrec.instructions.intentions.endpoint import ask_endpoint
from recbole_lcrec.instructions.intentions.from_llm import ask_user_texts, check_llm
from recbole_lcrec.instructions.intentions.rate_limit import RateLimiter
from recbole_lcrec.instructions.user_texts import UserTexts
from tests.instructions.intentions.endpoint_stand_in import MARK, StandIn, stand_in
from tests.instructions.intentions.test_rate_limit import FakeClock

LENGTHS = (4, 3, 25)
ITEMS = 9


@pytest.fixture(autouse=True)
def _no_key_and_short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(endpoint, "_FIRST_PAUSE", 0.001)


def settings(**changes: Any) -> IntentionSettings:
    values = read_yaml(properties_dir() / "model/LCRec.yaml")
    small = {"intention_llm_model": "stand-in", "intention_llm_timeout": 30.0, "intention_llm_retries": 2}
    return dataclasses.replace(IntentionSettings.from_config({**values, **small}), **changes)


def sequences() -> UserSequences:
    """Three users; items repeat."""
    items = np.concatenate([np.arange(length) % ITEMS for length in LENGTHS])
    return UserSequences(np.arange(3) + 10, items, np.r_[0, np.cumsum(LENGTHS)])


def texts() -> ItemTexts:
    ids = tuple(f"i{row}" for row in range(ITEMS))
    return ItemTexts(ids, tuple(f"Lamp {row}" for row in range(ITEMS)), ("It shines.",) * ITEMS)


def reviews() -> dict[tuple[int, int], str]:
    """A review with a unique word for every interaction; the last two of each user are held out."""
    return {(u, at): f"so bright mark{u}x{at}" for u, length in enumerate(LENGTHS) for at in range(length + 2)}


def ask(server: StandIn, store: Path, **changes: Any) -> UserTexts:
    chosen = settings(llm_base_url=server.url, **changes)
    return ask_user_texts(sequences(), texts(), reviews(), chosen, store, show_progress=False)


def require_complete(found: UserTexts, per_user: int | None) -> None:
    """Check that each text has the words of its own reviews only."""
    by_hand = []
    for user, length in enumerate(LENGTHS):
        first = 1 if per_user is None else max(1, length - per_user)
        by_hand += [(user, at, f"The buyer wants mark{user}x{at}.") for at in range(first, length)]
    assert [(one.user, one.position, one.text) for one in found.intentions] == by_hand
    assert [(one.user, one.until) for one in found.preferences] == list(enumerate(LENGTHS))
    for one in found.preferences:
        assert MARK.findall(one.text) == [f"mark{one.user}x{at}" for at in range(max(0, one.until - 20), one.until)]


@pytest.mark.parametrize(("per_user", "number"), [(1, 3), (2, 6), (None, 3 + 2 + 24)])
def test_every_text_is_of_its_own_user_and_position(tmp_path: Path, per_user: int | None, number: int) -> None:
    with stand_in() as server:
        found = ask(server, tmp_path / "kept.sqlite", per_user=per_user)
        require_complete(found, per_user)
        assert len(found.intentions) == number and len(server.bodies) == number + 3
        found.require_training(sequences())
        body = server.bodies[0]
        assert body["model"] == "stand-in" and body["max_tokens"] == settings().llm_max_tokens
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
        assert "stand-in" in found.source


def test_nothing_held_out_is_sent(tmp_path: Path) -> None:
    with stand_in() as server:
        ask(server, tmp_path / "kept.sqlite", per_user=None)
        sent = {word for body in server.bodies for message in body["messages"] for word in MARK.findall(str(message))}
    training = {f"mark{user}x{at}" for user, length in enumerate(LENGTHS) for at in range(length)}
    assert sent == training - {"mark2x0"}  # a first item has no intention; this one is too old for the preference
    assert not sent & {f"mark{user}x{length + held}" for user, length in enumerate(LENGTHS) for held in (0, 1)}


def test_all_faults_are_retried(tmp_path: Path) -> None:
    """Every second try fails in another way; in the end there are all answers, and none was given twice."""
    faults = ["500", "429", "close", "html", "no json", "empty", "no choices", "refusal", "cut", "503", "stall"]
    queue = iter(faults)

    def fault(number: int, body: dict[str, Any]) -> str | None:
        return next(queue, None) if number % 2 else None

    with stand_in(fault) as server:
        found = ask(server, tmp_path / "kept.sqlite", per_user=None, llm_retries=6, llm_parallel=4, llm_timeout=1.0)
        assert next(queue, None) is None, "not every fault was played"
        assert set(server.answered.values()) == {1} and len(server.answered) == 32
        assert len(server.bodies) == 32 + len(faults)
    require_complete(found, None)


def test_a_second_call_asks_nothing(tmp_path: Path) -> None:
    with stand_in() as server:
        first = ask(server, tmp_path / "kept.sqlite", per_user=None)
        asked = len(server.bodies)
        assert ask(server, tmp_path / "kept.sqlite", per_user=None) == first
        assert len(server.bodies) == asked
        assert ask(server, tmp_path / "kept.sqlite", per_user=None, llm_max_tokens=77) == first
        assert len(server.bodies) == 2 * asked  # another limit is another request


def test_equal_questions_once_and_items_without_text_left_out(tmp_path: Path) -> None:
    two = UserSequences(np.arange(2), np.array([0, 1, 0, 1]), np.array([0, 2, 4]))
    blank = ItemTexts(("a", "b"), ("markA", ""), ("", ""))
    with stand_in() as server:
        chosen = settings(llm_base_url=server.url)
        found = ask_user_texts(two, blank, {}, chosen, tmp_path / "kept.sqlite", show_progress=False)
        assert len(server.bodies) == 1
    assert found.intentions == ()
    assert [(one.user, one.until, one.text) for one in found.preferences] == [
        (0, 2, "The buyer wants markA."),
        (1, 2, "The buyer wants markA."),
    ]


def test_no_more_parallel_requests_than_allowed(tmp_path: Path) -> None:
    with stand_in(pause=0.05) as server:
        ask(server, tmp_path / "kept.sqlite", per_user=None, llm_parallel=3)
        assert server.most_at_once == 3


@pytest.mark.parametrize("status", ["401", "403", "404"])
@pytest.mark.parametrize("first", [0, 5])
def test_a_refused_key_stops_at_once(tmp_path: Path, status: str, first: int) -> None:
    with stand_in(lambda number, body: status if number >= first else None) as server:
        with pytest.raises(ValueError, match=f"HTTP {status}") as caught:
            ask(server, tmp_path / "kept.sqlite", per_user=None, llm_parallel=2)
        assert len(server.bodies) <= first + 2
        for part in (server.url, "'stand-in'", "OPENAI_API_KEY"):
            assert part in str(caught.value)


def test_an_unreachable_endpoint_is_one_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    chosen = settings(llm_base_url=url, llm_retries=0)
    with pytest.raises(ValueError, match=r"cannot be reached .* start the server or correct the URL") as caught:
        ask_user_texts(sequences(), texts(), reviews(), chosen, tmp_path / "kept.sqlite", show_progress=False)
    assert url in str(caught.value)


def test_an_endpoint_that_stalls_is_one_clear_error(tmp_path: Path) -> None:
    with stand_in(lambda number, body: "stall") as server:
        with pytest.raises(ValueError, match=r"cannot be reached \(no answer within 0.2 s"):
            ask(server, tmp_path / "kept.sqlite", llm_timeout=0.2, llm_retries=0)
        assert len(server.bodies) == 1


def test_unusable_answers_are_reported_and_requested_again(tmp_path: Path) -> None:
    broken = True

    def fault(number: int, body: dict[str, Any]) -> str | None:
        return "empty" if broken and "mark1x2" in body["messages"][-1]["content"] else None

    with stand_in(fault) as server:
        with pytest.raises(ValueError, match=r"2 of 6 requests .*the answer is empty.*run again") as caught:
            ask(server, tmp_path / "kept.sqlite")
        assert "kept.sqlite" in str(caught.value)
        assert len(server.bodies) == 4 + 2 * 3  # three tries each
        broken = False
        require_complete(ask(server, tmp_path / "kept.sqlite"), 1)
        assert set(server.answered.values()) == {1} and len(server.bodies) == 4 + 2 * 3 + 2


def test_an_endpoint_that_breaks_down_is_given_up(tmp_path: Path) -> None:
    with stand_in(lambda number, body: "500" if number >= 3 else None) as server:
        with pytest.raises(ValueError, match=r"29 of 32 requests .*HTTP 500.*the other 29"):
            ask(server, tmp_path / "kept.sqlite", per_user=None, llm_retries=0, llm_parallel=2)
        assert 13 <= len(server.bodies) <= 17


def test_the_other_name_of_the_token_limit_is_found(tmp_path: Path) -> None:
    with stand_in(lambda number, body: "max_completion_tokens") as server:
        require_complete(ask(server, tmp_path / "kept.sqlite"), 1)
        assert "max_tokens" in server.bodies[0]
        assert all(body.get("max_completion_tokens") == settings().llm_max_tokens for body in server.bodies[1:])


def test_the_log_has_no_line_for_each_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with stand_in() as server, caplog.at_level("INFO"):
        ask(server, tmp_path / "kept.sqlite")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2 and "6 requests to send" in lines[0] and "6 texts" in lines[1]


def test_the_key_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", " secret\n")
    with stand_in() as server:
        ask(server, tmp_path / "kept.sqlite", llm_key_variable="SHOP_KEY")
        assert Counter(server.keys) == {"Bearer secret": 6}
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.glob("kept.sqlite*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llm_model": None}, "intention_llm_model"),
        ({"llm_base_url": "https://models.example/v1"}, "OPENAI_API_KEY is not set"),
        ({"llm_base_url": "https://models.example/v1", "llm_key_variable": "MY_KEY"}, "MY_KEY is not set"),
        ({"llm_base_url": "localhost:8000/v1"}, "expected a URL"),
        ({"llm_base_url": None, "llm_model": "no/such/folder"}, "no such folder"),
    ],
)
def test_bad_settings_are_found_before_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_llm(settings(**changes))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_a_server_on_this_machine_needs_no_key(host: str) -> None:
    check_llm(settings(llm_base_url=f"http://{host}:8000/v1"))


def test_retries_count_against_the_rate() -> None:
    clock = FakeClock()
    kept: dict[str, str] = {}
    with stand_in(lambda number, body: "500" if number in (0, 3) else None) as server:
        requests = [(str(n), [{"role": "user", "content": f"mark{n}"}]) for n in range(4)]
        limiter = RateLimiter(6, clock, clock.sleep)
        chosen = settings(llm_base_url=server.url, llm_parallel=1)
        assert ask_endpoint(requests, chosen, kept.__setitem__, limiter=limiter) == []
        assert len(server.bodies) == 6
    assert clock.now == pytest.approx(100 + 5 * 10)  # six tries, ten seconds apart
    assert kept == {str(n): f"The buyer wants mark{n}." for n in range(4)}
