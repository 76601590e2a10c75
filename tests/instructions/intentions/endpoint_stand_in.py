"""An OpenAI-compatible endpoint on loopback that answers, or fails in a given way."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MARK = re.compile(r"\bmark(?:\d+(?:x\d+)?|[A-Z])\b")
AT_ONCE = {"Retry-After": "0.001"}
STALL_SECONDS = 1.5


class StandIn(ThreadingHTTPServer):
    """Answers with all words of a question such as mark3x1, which identify the question.

    Attributes:
        fault: (number of the request from 0, body) -> the name of a fault, or None.
        bodies: every request body, in the order of arrival.
        answered: how often each question was answered.
        most_at_once: maximum number of parallel requests.
        pause: seconds before an answer.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, fault: Callable[[int, dict[str, Any]], str | None], pause: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fault, self.pause = fault, pause
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.answered: Counter[str] = Counter()
        self.most_at_once = self._at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close the connection."""

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self.lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self.lock:
                self._at_once -= 1


class _Handler(BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.counted():
            with self.server.lock:
                number = len(self.server.bodies)
                self.server.bodies.append(body)
                self.server.keys.append(self.headers.get("Authorization"))
            time.sleep(self.server.pause)
            self.answer(self.server.fault(number, body), body)

    def answer(self, fault: str | None, body: dict[str, Any]) -> None:
        question = body["messages"][-1]["content"]
        if self.path != "/v1/chat/completions":
            self.reply(404, '{"error": {"message": "no such path"}}')
        elif fault == "stall":
            time.sleep(STALL_SECONDS)
            self.close_connection = True
        elif fault == "close":
            self.close_connection = True
        elif fault == "html":
            self.reply(200, "<html><body>Please log in</body></html>", "text/html")
        elif fault == "no json":
            self.reply(200, '{"choices": [')
        elif fault == "no choices":
            self.reply(200, '{"choices": null}')
        elif fault in ("empty", "refusal", "cut"):
            text = {"empty": "", "refusal": "I'm sorry, but I can't help with that.", "cut": "The buyer wants a"}[fault]
            self.reply(200, completion(text, "length" if fault == "cut" else "stop"))
        elif fault == "max_completion_tokens" and "max_tokens" in body:
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            self.reply(400, json.dumps({"error": {"message": message}}))
        elif fault is not None and fault.isdigit():
            self.reply(int(fault), json.dumps({"error": {"message": f"fault {fault}"}}), headers=AT_ONCE)
        else:
            self.reply(200, completion("The buyer wants " + " ".join(MARK.findall(question)) + "."))
            with self.server.lock:
                self.server.answered[question] += 1

    def reply(self, status: int, text: str, kind: str = "application/json", headers: Any = None) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def completion(text: str, finish_reason: str = "stop") -> str:
    message = {"role": "assistant", "content": text}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}]})


def no_fault(number: int, body: dict[str, Any]) -> str | None:
    return None


@contextmanager
def stand_in(fault: Callable[[int, dict[str, Any]], str | None] = no_fault, pause: float = 0.0) -> Iterator[StandIn]:
    """Run an endpoint within the with block."""
    server = StandIn(fault, pause)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
