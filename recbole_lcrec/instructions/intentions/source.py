"""The choice among the sources of intentions and preferences.

The answers of a language model are stored as an artifact.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from time import perf_counter

from recbole_lcrec.config.settings import IntentionSettings
from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.intentions.extractive import extract_user_texts
from recbole_lcrec.instructions.intentions.from_file import read_user_texts
from recbole_lcrec.instructions.user_texts import Intention, Preference, UserTexts
from recbole_lcrec.runtime.artifacts import ArtifactStore

__all__ = ["check_intentions", "find_intention_file", "user_texts_of"]

_FILE = "user_texts.json"
_Reviews = Callable[[], Mapping[tuple[int, int], str]]


def find_intention_file(name: str, folder: Path) -> Path | None:
    """Return ``<name>.user.json`` in the data set's folder, else ``<name>.intentions.jsonl``, else None."""
    candidates = (folder / f"{name}.user.json", folder / f"{name}.intentions.jsonl")
    return next((path for path in candidates if path.is_file()), None)


def check_intentions(settings: IntentionSettings, given: Path | None) -> None:
    """Check, before any data are read, that the source can be used.

    Args:
        settings: where intentions come from.
        given: the file beside the data, if there is one; ``intention_file`` takes precedence.

    Raises:
        ValueError: there is no file for ``intention_source = file``, a named file does not exist or would not be used,
            or the llm source lacks a setting.
    """
    if settings.file is not None:
        if settings.source not in ("auto", "file"):
            raise ValueError(
                f"intention_file = {settings.file!r} would not be used, because intention_source = "
                f"{settings.source!r}: leave one of the two keys out"
            )
        if not Path(settings.file).is_file():
            raise ValueError(f"intention_file = {settings.file!r}: there is no such file")
    if settings.source == "file" and settings.file is None and given is None:
        raise ValueError(
            "intention_source = 'file', but no file is given: name it with intention_file, or put <dataset>.user.json "
            "or <dataset>.intentions.jsonl beside the data"
        )
    if settings.source == "llm":
        from recbole_lcrec.instructions.intentions.from_llm import check_llm

        check_llm(settings)


def user_texts_of(
    settings: IntentionSettings,
    given: Path | None,
    sequences: UserSequences,
    user_ids: Sequence[str],
    item_ids: Sequence[str],
    texts: ItemTexts | None,
    reviews: _Reviews,
    store: ArtifactStore,
    show_progress: bool,
) -> tuple[UserTexts | None, str]:
    """Return the intentions and preferences of the training sequences, from the source in the settings (III-C3).

    ``auto`` takes the given file, else sentences of the data set's own texts. A language model's answers are an
    artifact, so another run or process with the same data and settings sends no request again.

    Args:
        settings: where they come from.
        given: the file beside the data, if there is one; ``intention_file`` takes precedence.
        sequences: the training sequences.
        user_ids: original id of each row of ``sequences``.
        item_ids: N original item ids, in the order of the item rows.
        texts: of the N items; None where the data set has none.
        reviews: returns (row in ``sequences``, position) -> review of training interactions; called when needed.
        store: for the artifact, and for the answers so far under ``requests``.
        show_progress: whether to show a progress bar.

    Returns:
        The texts and "", or None and the reason.

    Raises:
        ValueError: as in :func:`check_intentions`, or the file is damaged.
        RuntimeError: a source made a text of an interaction that is not in the training sequences.
    """
    check_intentions(settings, given)
    started, path = perf_counter(), Path(settings.file) if settings.file is not None else given
    if settings.source == "none":
        return None, "intention_source = none"
    if path is not None and settings.source in ("auto", "file"):
        found = read_user_texts(path, sequences, user_ids, item_ids)
    else:
        written = reviews()
        if texts is None or not any((*texts.titles, *texts.descriptions)):
            if not written:
                return None, "the data set has no item texts and no reviews"
            texts = ItemTexts(tuple(item_ids), ("",) * len(item_ids), ("",) * len(item_ids))
        if settings.source == "llm":
            found = _of_llm(sequences, texts, written, settings, store, show_progress)
        else:
            found = extract_user_texts(sequences, texts, written, settings)
    found.require_training(sequences)
    getLogger().info(
        f"Intentions: {len(found.intentions):,} intentions and {len(found.preferences):,} preferences of "
        f"{len(sequences):,} users, from source {found.source}, {perf_counter() - started:.1f} s"
    )
    if not found.intentions and not found.preferences:
        return None, "no training interaction has a review or an item with a text"
    return found, ""


def _of_llm(
    sequences: UserSequences,
    texts: ItemTexts,
    reviews: Mapping[tuple[int, int], str],
    settings: IntentionSettings,
    store: ArtifactStore,
    show_progress: bool,
) -> UserTexts:
    from recbole_lcrec.instructions.intentions.from_llm import ask_user_texts
    from recbole_lcrec.instructions.intentions.questions import load_questions

    places = sorted(reviews)
    parts = {
        "form": 1,
        "questions": load_questions(),
        "sequences": sequences,
        "texts": texts,
        "reviews": {"places": [list(place) for place in places], "texts": [reviews[place] for place in places]},
        "model": settings.llm_model,
        "base_url": settings.llm_base_url,
        "max_tokens": settings.llm_max_tokens,
        "per_user": settings.per_user,
    }

    def build(folder: Path) -> None:
        asked = ask_user_texts(sequences, texts, reviews, settings, store.root / "requests", show_progress)
        _write(folder / _FILE, asked)

    artifact = store.get_or_build("intentions", parts, build)
    getLogger().info(f"Intentions: {'reused' if artifact.reused else 'created'} ({artifact.path})")
    return _read(artifact.path / _FILE)


def _write(path: Path, texts: UserTexts) -> None:
    content = {
        "source": texts.source,
        "intentions": [[one.user, one.position, one.text] for one in texts.intentions],
        "preferences": [[one.user, one.until, one.text] for one in texts.preferences],
    }
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _read(path: Path) -> UserTexts:
    content = json.loads(path.read_text(encoding="utf-8"))
    return UserTexts(
        tuple(Intention(*row) for row in content["intentions"]),
        tuple(Preference(*row) for row in content["preferences"]),
        content["source"],
    )
