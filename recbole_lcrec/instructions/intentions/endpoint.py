"""Requests to an OpenAI-compatible endpoint, several at once and within its rate limit.

The ``openai`` client repeats requests that failed on the way (no connection, timeout, HTTP 408, 409, 429 and 5xx) with
exponential backoff, or after the time that Retry-After gives.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import openai

from recbole_lcrec.config.settings import IntentionSettings
from recbole_lcrec.config.values import first_line
from recbole_lcrec.instructions.intentions.questions import Messages, UnusableAnswer, accept_answer
from recbole_lcrec.instructions.intentions.rate_limit import RateLimiter

__all__ = ["ask_endpoint", "endpoint_key"]

_NO_KEY = "no-key"
"""Sent as the key to a server on this machine that needs none."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0
"""Seconds before an unusable answer is requested again, doubled each time, as the client does for failed requests."""

_HTTP_LOG = logging.getLogger("httpx2")
"""Logger of the client's transport, which logs every request."""

_MAX_FAILURES = 10
"""Requests that fail in a row, each after all its tries, before the others are given up."""


class _NoAnswer(RuntimeError):
    """One request has no usable answer after all its tries."""

    def __init__(self, reason: str, reached: bool) -> None:
        super().__init__(reason)
        self.reached = reached


class _Stopped(openai.OpenAIError):
    """The work was stopped. A subclass of the client's own error, because the client repeats a request after others."""


def endpoint_key(settings: IntentionSettings) -> str:
    """Return the key for the endpoint from the environment, without sending anything.

    Raises:
        ValueError: the base URL is not a URL, or the variable is not set and the endpoint is on another machine.
    """
    parts = urlsplit(settings.llm_base_url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"intention_llm_base_url = {settings.llm_base_url!r}: expected a URL such as http://localhost:8000/v1"
        )
    key = os.environ.get(settings.llm_key_variable, "").strip()
    if not key and not _is_loopback(parts.hostname):
        raise ValueError(
            f"intention_llm_base_url = {settings.llm_base_url!r} needs a key, but the environment variable "
            f"{settings.llm_key_variable} is not set: export it, or name another one with intention_llm_key_variable"
        )
    return key or _NO_KEY


def ask_endpoint(
    requests: Iterable[tuple[str, Messages]],
    settings: IntentionSettings,
    keep: Callable[[str, str], None],
    advance: Callable[[], object] = lambda: None,
    limiter: RateLimiter | None = None,
) -> list[str]:
    """Send all requests, ``llm_parallel`` at once.

    The first request is sent alone, to check that the endpoint answers.

    Args:
        requests: (key, messages), taken one by one as they are needed.
        settings: endpoint, model, limits. The provider's default temperature is used, because some models accept no
            other.
        keep: called with each key and accepted answer as soon as it arrives, from several threads.
        advance: called after each request.
        limiter: limits the rate of all tries; None: made from ``llm_requests_per_minute``.

    Returns:
        The reason for each request without a usable answer. After ten such requests in a row the others are not sent.

    Raises:
        ValueError: the endpoint refuses the key, the model or the URL (HTTP 401, 403, 404), no key is set, or the first
            request does not reach the endpoint.
    """
    queue, failures = iter(requests), []
    with _Endpoint(settings, limiter) as endpoint:
        for key, messages in islice(queue, 1):
            try:
                keep(key, endpoint.ask(messages))
            except _NoAnswer as err:
                if not err.reached:
                    raise ValueError(
                        f"intention_llm_base_url = {settings.llm_base_url!r} cannot be reached ({err}; tries: "
                        f"{settings.llm_retries + 1}), so nothing was sent: start the server or correct the URL"
                    ) from err
                failures.append(str(err))
            advance()
        return failures + _ask_many(queue, endpoint, settings.llm_parallel, keep, advance)


def _ask_many(
    queue: Iterator[tuple[str, Messages]],
    endpoint: _Endpoint,
    parallel: int,
    keep: Callable[[str, str], None],
    advance: Callable[[], object],
) -> list[str]:
    """Do as :func:`ask_endpoint`, for an endpoint that is known to answer."""

    def ask(key: str, messages: Messages) -> str | None:
        try:
            keep(key, endpoint.ask(messages))
        except _NoAnswer as err:
            return str(err)
        return None

    failures: list[str] = []
    in_a_row = 0
    with ThreadPoolExecutor(parallel) as pool:
        running: set[Future[str | None]] = set()
        try:
            while in_a_row < _MAX_FAILURES:
                running |= {pool.submit(ask, *request) for request in islice(queue, parallel - len(running))}
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for reason in [future.result() for future in done]:
                    failures += [] if reason is None else [reason]
                    in_a_row = 0 if reason is None else in_a_row + 1
                    advance()
        finally:
            endpoint.stop()  # running requests may end, but nothing is tried again
    return failures


class _Endpoint:
    """One client for all threads."""

    def __init__(self, settings: IntentionSettings, limiter: RateLimiter | None) -> None:
        self._settings = settings
        self._stopped = threading.Event()
        self._limiter = limiter or RateLimiter(settings.llm_requests_per_minute, sleep=self._stopped.wait)
        self._limit_name = "max_tokens"
        self._client = openai.OpenAI(
            base_url=settings.llm_base_url,
            api_key=endpoint_key(settings),
            timeout=settings.llm_timeout,
            # The client's own retries call this too, so that they count against the rate.
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._before_each_try]}),
        )

    def __enter__(self) -> Self:
        self._level = _HTTP_LOG.level
        _HTTP_LOG.setLevel(max(logging.WARNING, self._level))  # otherwise the log gets a line for every request
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._client.close()
        _HTTP_LOG.setLevel(self._level)

    def stop(self) -> None:
        """End all waits; every later try fails."""
        self._stopped.set()

    def _before_each_try(self, request: Any) -> None:
        self._limiter.wait()
        if self._stopped.is_set():
            raise _Stopped("the work was stopped")

    def ask(self, messages: Messages) -> str:
        """Return the accepted answer to one request.

        Raises:
            _NoAnswer: There is none after all tries, or the endpoint rejects this request.
            ValueError: the endpoint refuses the key, the model or the URL.
        """
        left, pause = self._settings.llm_retries, _FIRST_PAUSE
        while True:
            reply, tries = self._send(messages, left)
            left -= tries
            try:
                return accept_answer(*_content(reply))
            except UnusableAnswer as err:
                if left <= 0:
                    raise _NoAnswer(str(err), reached=True) from err
            left -= 1
            self._stopped.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _send(self, messages: Messages, retries: int) -> tuple[str, int]:
        """Return the body of the reply, and how many tries failed before it."""
        completions = self._client.with_options(max_retries=retries).chat.completions.with_raw_response
        limit_name = self._limit_name
        limit: dict[str, Any] = {limit_name: self._settings.llm_max_tokens}
        chat: Any = messages
        try:
            raw = completions.create(model=self._settings.llm_model or "", messages=chat, **limit)
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as err:
            raise ValueError(
                f"intention_llm_base_url = {self._settings.llm_base_url!r} answers HTTP {err.status_code} to "
                f"intention_llm_model = {self._settings.llm_model!r} with the key in the environment variable "
                f"{self._settings.llm_key_variable}: check the three ({first_line(err)})"
            ) from err
        except openai.BadRequestError as err:
            if limit_name == "max_tokens" and "max_completion_tokens" in str(err):
                self._limit_name = (
                    "max_completion_tokens"  # the name for newer models of OpenAI, unknown to older servers
                )
                return self._send(messages, retries)
            raise _NoAnswer(f"HTTP {err.status_code}: {first_line(err)}", reached=True) from err
        except openai.APITimeoutError as err:
            raise _NoAnswer(f"no answer within {self._settings.llm_timeout:g} s", reached=False) from err
        except openai.APIConnectionError as err:
            raise _NoAnswer(f"no connection: {first_line(err.__cause__ or err)}", reached=False) from err
        except openai.APIStatusError as err:
            raise _NoAnswer(f"HTTP {err.status_code}: {first_line(err)}", reached=True) from err
        return raw.text, raw.retries_taken


def _content(reply: str) -> tuple[str, bool]:
    """Return what the model wrote, and whether it ended the answer itself, from the body of a reply.

    Raises:
        UnusableAnswer: The body does not follow the protocol, or the model declined.
    """
    try:
        choice = json.loads(reply)["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content") or "", message.get("refusal")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as err:
        raise UnusableAnswer(f"the reply is not a chat completion: {reply[:60]!r}") from err
    if refusal or choice.get("finish_reason") == "content_filter":
        raise UnusableAnswer(f"the model declined: {str(refusal)[:60]!r}")
    if not isinstance(text, str):
        raise UnusableAnswer(f"the answer is not text: {text!r:.60}")
    return text, choice.get("finish_reason") != "length"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
