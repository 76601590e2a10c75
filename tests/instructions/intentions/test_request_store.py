"""Stored answers survive a kill of the process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from recbole_lcrec.instructions.intentions.from_llm import ask_user_texts
from recbole_lcrec.instructions.intentions.request_store import RequestStore, request_key
from tests.instructions.intentions.endpoint_stand_in import stand_in
from tests.instructions.intentions.test_from_llm import require_complete, reviews, sequences, settings, texts

ROOT = Path(__file__).resolve().parents[3]
PARALLEL = 3
CHILD = """
import sys
from pathlib import Path
from recbole_lcrec.instructions.intentions.from_llm import ask_user_texts
from tests.instructions.intentions.test_from_llm import reviews, sequences, settings, texts
chosen = settings(llm_base_url=sys.argv[1], per_user=None, llm_parallel={parallel})
ask_user_texts(sequences(), texts(), reviews(), chosen, Path(sys.argv[2]), show_progress=False)
"""


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_the_key_covers_all_that_the_answer_depends_on() -> None:
    requests = [
        ("m", None, chat("a"), 5),
        ("m", "http://a/v1", chat("a"), 5),
        ("n", None, chat("a"), 5),
        ("m", None, chat("b"), 5),
        ("m", None, [*chat("a"), *chat("a")], 5),
        ("m", None, [{"role": "system", "content": "a"}], 5),
        ("m", None, chat("a"), 6),
    ]
    assert len({request_key(*request) for request in requests}) == len(requests)
    assert request_key("m", None, chat("a"), 5) == request_key("m", None, [{"content": "a", "role": "user"}], 5)


def test_answers_come_back_and_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "kept.sqlite"
    with RequestStore(path) as store:
        assert store.get("a") is None and len(store) == 0
        store.put("a", "süß\n'); DROP TABLE answers; --")
        store.put("a", "another")
        with RequestStore(path) as reader:  # while the writer is open
            assert reader.get("a") == "süß\n'); DROP TABLE answers; --"
    with RequestStore(path) as store:
        assert len(store) == 1


def test_threads_share_a_store_and_processes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    with RequestStore(path) as one, RequestStore(path) as other:
        stores = (one, one, other, other)
        threads = [
            threading.Thread(target=lambda n=n, s=s: [s.put(f"{n}-{i}", "x") for i in range(20)])
            for n, s in enumerate(stores)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(one) == len(other) == 80


def test_another_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to be read as one. " * 50)
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE answers (something TEXT)")
    other.close()
    for path in (tmp_path / "text", tmp_path / "other.sqlite", tmp_path / "text" / "below"):
        with pytest.raises(ValueError, match="cannot be used to keep answers"):
            RequestStore(path)


def test_a_kill_loses_and_repeats_no_complete_request(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    with stand_in(pause=0.1) as server:
        command = [sys.executable, "-c", CHILD.format(parallel=PARALLEL), server.url, str(path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
        child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        while child.poll() is None and sum(server.answered.values()) < 10:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        _, output = child.communicate()
        assert child.returncode == -signal.SIGKILL, output.decode()
        time.sleep(0.3)  # requests that the server still handles end
        chosen = settings(llm_base_url=server.url, per_user=None, llm_parallel=PARALLEL)
        with RequestStore(path) as store:
            finished = {
                body["messages"][-1]["content"]
                for body in server.bodies
                if store.get(request_key("stand-in", server.url, body["messages"], chosen.llm_max_tokens))
            }
        assert 10 - PARALLEL <= len(finished) < 32
        before = len(server.bodies)
        found = ask_user_texts(sequences(), texts(), reviews(), chosen, path, show_progress=False)
        again = [body["messages"][-1]["content"] for body in server.bodies[before:]]
    require_complete(found, None)
    assert not finished & set(again)
    assert len(again) == len(set(again)) == 32 - len(finished)
    assert sum(count > 1 for count in server.answered.values()) <= PARALLEL  # killed between server and disk
