"""Intentions and preferences by a language model that reads what users bought and wrote (paper III-C3).

Knows which interactions are asked about, and that only training data may be in a question. Refuses to know how a
question is worded, how a model is reached and how answers are kept on disk.
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
    """Makes sure, before any long work and without sending anything, that there is a model to ask.

    Raises:
        ValueError: no model is named; the endpoint's URL is none, or its key is not in the named environment variable;
            a local folder does not exist or holds no causal language model.
    """
    if not settings.llm_model:
        raise ValueError(
            "intention_source = 'llm' needs intention_llm_model: the name of a model at intention_llm_base_url, or the "
            "folder of a local causal language model; or take intention_source = 'extractive', which needs no model"
        )
    # Each way to ask loads a large library: only the one that is used.
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
    """Has a language model put into words what each user wanted and likes.

    For the newest ``per_user`` training items of a user, the first one apart, it is asked for the intention, from the
    item's title and description and the user's review of it; for each user once for the preference, from titles and
    reviews of the newest training items. Equal questions are asked once. Every finished answer is in the store at
    once, and a later call, after a kill or an error, asks only for those that are not there.

    Args:
        sequences: the training part alone: nothing beyond it is read, whatever ``reviews`` holds.
        texts: the catalogue, in the order of the sequences' item rows.
        reviews: (row of the user, position in the user's training sequence) -> review.
        settings: model, endpoint, limits.
        store: the file of finished answers.
        show_progress: whether to draw a progress bar.

    Returns:
        Intentions and preferences in the order of users and positions. Interactions about which nothing is written are
        left out, and the log says how many.

    Raises:
        ValueError: see :func:`check_llm`; the endpoint refuses the key or the model; ``store`` cannot be used.
        ValueError: the endpoint is not reached, or some requests have no usable answer after all tries; the message
            says how many.
    """
    check_llm(settings)
    started = time.monotonic()
    write = _writer(sequences, texts, reviews)
    pending: dict[str, Intention | Preference] = {}
    with RequestStore(store) as kept:
        found: list[tuple[str, Intention | Preference]] = []
        blanks, silent = 0, 0
        for blank in _blanks(sequences, settings.per_user):
            blanks += 1
            messages = write(blank)
            if messages is None:
                silent += 1
                continue
            key = _key(settings, messages)
            found.append((key, blank))
            if key not in pending and kept.get(key) is None:
                pending[key] = blank
        getLogger().info(
            f"Language model {settings.llm_model}: {blanks} intentions and preferences of {len(sequences)} users, "
            f"{silent} of them left out for want of any text; {len(pending)} requests to send, the rest is in {store}"
        )
        requests = ((key, messages) for key, blank in pending.items() if (messages := write(blank)) is not None)
        failures = _ask(requests, len(pending), settings, kept.put, show_progress)
        _require_all(pending, kept, failures, store)
        answered = [replace(blank, text=kept.get(key) or "") for key, blank in found]
    getLogger().info(f"Language model {settings.llm_model}: {len(answered)} texts, {time.monotonic() - started:.1f} s")
    return UserTexts(
        tuple(one for one in answered if isinstance(one, Intention)),
        tuple(one for one in answered if isinstance(one, Preference)),
        f"the language model {settings.llm_model}",
    )


def _blanks(sequences: UserSequences, per_user: int | None) -> Iterator[Intention | Preference]:
    """What is to be filled in, without text: the intentions of a user, then the preference."""
    for user, length in enumerate(sequences.lengths().tolist()):
        first = 1 if per_user is None else max(1, length - per_user)
        for position in range(first, length):
            yield Intention(user, position, "")
        if length:
            yield Preference(user, length, "")


def _writer(
    sequences: UserSequences, texts: ItemTexts, reviews: Mapping[tuple[int, int], str]
) -> Callable[[Intention | Preference], Messages | None]:
    """Makes the question for a blank; None where nothing is known."""
    questions = load_questions()

    def review(user: int, position: int) -> str:
        return clean_text(reviews.get((user, position)))

    def write(blank: Intention | Preference) -> Messages | None:
        items = sequences.of(blank.user)
        if isinstance(blank, Intention):
            row = int(items[blank.position])
            return questions.about_intention(
                texts.titles[row], texts.descriptions[row], review(blank.user, blank.position)
            )
        newest = range(max(0, blank.until - HISTORY_ITEMS), blank.until)
        return questions.about_preference((texts.titles[int(items[at])], review(blank.user, at)) for at in newest)

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
    """Sends the requests where the settings say; returns why some have no usable answer."""
    if not number:
        return []
    with tqdm(total=number, ncols=100, desc="Language model", disable=not show_progress) as bar:
        if settings.llm_base_url is None:
            from recbole_lcrec.instructions.intentions.local_model import ask_local_model

            return ask_local_model(requests, settings, keep, bar.update)
        from recbole_lcrec.instructions.intentions.endpoint import ask_endpoint

        return ask_endpoint(requests, settings, keep, bar.update)


def _require_all(pending: Mapping[str, object], kept: RequestStore, failures: list[str], store: Path) -> None:
    left = sum(kept.get(key) is None for key in pending)
    if left:
        raise ValueError(
            f"{left} of {len(pending)} requests to the language model have no usable answer ({len(failures)} failed "
            f"after all tries, the first for this reason: {failures[0] if failures else 'unknown'}). The finished ones "
            f"are kept in {store}: run again to ask for the {left} alone. Should they fail again, raise "
            "intention_llm_max_tokens or name another intention_llm_model, or set intention_source = 'extractive'"
        )
