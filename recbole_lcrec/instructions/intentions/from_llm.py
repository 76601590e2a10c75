"""Intentions and preferences by a language model (paper III-C3).

The model reads what users bought and wrote.

Questions contain training data only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from logging import getLogger
from pathlib import Path

from tqdm import tqdm

from recbole_lcrec.config.settings import IntentionSettings
from recbole_lcrec.data.item_text import ItemTexts, clean_text
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.intentions.questions import HISTORY_ITEMS, Messages, load_questions
from recbole_lcrec.instructions.intentions.request_store import RequestStore, request_key
from recbole_lcrec.instructions.user_texts import Intention, Preference, UserTexts

__all__ = ["ask_user_texts", "check_llm"]


def check_llm(settings: IntentionSettings) -> None:
    """Check, before any long work and without sending anything, that there is a model to ask.

    Raises:
        ValueError: no model is named, the endpoint's URL is not a URL, its key is not in the named environment
            variable, or a local folder does not exist or holds no causal language model.
    """
    if not settings.llm_model:
        raise ValueError(
            "intention_source = 'llm' needs intention_llm_model: the name of a model at intention_llm_base_url, or the "
            "folder of a local causal language model; or set intention_source = 'extractive', which needs no model"
        )
    # Each of the two modules loads a large library; only the one in use is imported.
    if settings.llm_base_url is None:
        from recbole_lcrec.instructions.intentions.local_model import check_local_model

        check_local_model(settings.llm_model)
    else:
        from recbole_lcrec.instructions.intentions.endpoint import endpoint_key

        endpoint_key(settings)


def ask_user_texts(
    sequences: UserSequences,
    texts: ItemTexts,
    reviews: Mapping[tuple[int, int], str],
    settings: IntentionSettings,
    store: Path,
    show_progress: bool,
) -> UserTexts:
    """Ask a language model for the intentions and the preference of each user.

    The intention behind each of a user's newest ``per_user`` training items (never the first) is asked from the item's
    title and description and the user's review of it; each user's preference is asked once, from titles and reviews of
    the newest training items. Equal questions are asked once. Every answer is stored as soon as it is complete, so a
    later call, after a kill or an error, asks only for the missing ones.

    Args:
        sequences: the training split only: nothing beyond it is read, whatever ``reviews`` holds.
        texts: the catalogue, in the order of the sequences' item rows.
        reviews: (row of the user, position in the user's training sequence) -> review.
        settings: model, endpoint, limits.
        store: the file of answers.
        show_progress: whether to show a progress bar.

    Returns:
        Intentions and preferences in the order of users and positions. Interactions without any text are left out, and
        the log says how many.

    Raises:
        ValueError: as in :func:`check_llm`; the endpoint refuses the key or the model or cannot be reached; ``store``
            cannot be used; or some requests have no usable answer after all tries, with their number.
    """
    check_llm(settings)
    started = time.monotonic()
    write = _writer(sequences, texts, reviews)
    pending: dict[str, Intention | Preference] = {}
    with RequestStore(store) as answers:
        found: list[tuple[str, Intention | Preference]] = []
        total, without_text = 0, 0
        for unanswered in _unanswered(sequences, settings.per_user):
            total += 1
            messages = write(unanswered)
            if messages is None:
                without_text += 1
                continue
            key = _key(settings, messages)
            found.append((key, unanswered))
            if key not in pending and answers.get(key) is None:
                pending[key] = unanswered
        getLogger().info(
            f"Language model {settings.llm_model}: {total} intentions and preferences of {len(sequences)} users, "
            f"{without_text} of them left out because there is no text; {len(pending)} requests to send, the other "
            f"answers are in {store}"
        )
        requests = ((key, messages) for key, one in pending.items() if (messages := write(one)) is not None)
        failures = _ask(requests, len(pending), settings, answers.put, show_progress)
        _require_all(pending, answers, failures, store)
        answered = [replace(one, text=answers.get(key) or "") for key, one in found]
    getLogger().info(f"Language model {settings.llm_model}: {len(answered)} texts, {time.monotonic() - started:.1f} s")
    return UserTexts(
        tuple(one for one in answered if isinstance(one, Intention)),
        tuple(one for one in answered if isinstance(one, Preference)),
        f"the language model {settings.llm_model}",
    )


def _unanswered(sequences: UserSequences, per_user: int | None) -> Iterator[Intention | Preference]:
    """Yield what the model is asked for, still without text: a user's intentions, then the preference."""
    for user, length in enumerate(sequences.lengths().tolist()):
        first = 1 if per_user is None else max(1, length - per_user)
        for position in range(first, length):
            yield Intention(user, position, "")
        if length:
            yield Preference(user, length, "")


def _writer(
    sequences: UserSequences, texts: ItemTexts, reviews: Mapping[tuple[int, int], str]
) -> Callable[[Intention | Preference], Messages | None]:
    """Return a function that writes the question for an intention or preference; None if there is no text."""
    questions = load_questions()

    def review(user: int, position: int) -> str:
        return clean_text(reviews.get((user, position)))

    def write(unanswered: Intention | Preference) -> Messages | None:
        items = sequences.of(unanswered.user)
        if isinstance(unanswered, Intention):
            row = int(items[unanswered.position])
            return questions.about_intention(
                texts.titles[row], texts.descriptions[row], review(unanswered.user, unanswered.position)
            )
        newest = range(max(0, unanswered.until - HISTORY_ITEMS), unanswered.until)
        return questions.about_preference((texts.titles[int(items[at])], review(unanswered.user, at)) for at in newest)

    return write


def _key(settings: IntentionSettings, messages: Messages) -> str:
    model = settings.llm_model or ""
    if settings.llm_base_url is None:
        model = str(Path(model).resolve())
    return request_key(model, settings.llm_base_url, messages, settings.llm_max_tokens)


def _ask(
    requests: Iterator[tuple[str, Messages]],
    number: int,
    settings: IntentionSettings,
    keep: Callable[[str, str], None],
    show_progress: bool,
) -> list[str]:
    """Send the requests to the model in the settings; return why some have no usable answer."""
    if not number:
        return []
    with tqdm(total=number, ncols=100, desc="Language model", disable=not show_progress) as bar:
        if settings.llm_base_url is None:
            from recbole_lcrec.instructions.intentions.local_model import ask_local_model

            return ask_local_model(requests, settings, keep, bar.update)
        from recbole_lcrec.instructions.intentions.endpoint import ask_endpoint

        return ask_endpoint(requests, settings, keep, bar.update)


def _require_all(pending: Mapping[str, object], answers: RequestStore, failures: list[str], store: Path) -> None:
    missing = sum(answers.get(key) is None for key in pending)
    if missing:
        raise ValueError(
            f"{missing} of {len(pending)} requests to the language model have no usable answer ({len(failures)} failed "
            f"after all tries, the first for this reason: {failures[0] if failures else 'unknown'}). The answers so "
            f"far are kept in {store}: run again to request only the other {missing}. If they fail again, raise "
            "intention_llm_max_tokens or name another intention_llm_model, or set intention_source = 'extractive'"
        )
