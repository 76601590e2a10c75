"""Recommendations from a saved run's folder alone: histories or wishes in, items with titles and scores out.

Knows the folder and the three steps of an answer: requests to prompts, prompts to beams, beams to items. Refuses to
know data sets, RecBole's evaluation and where requests come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from recbole_lcrec.config.settings import TuningSettings
from recbole_lcrec.decoding import Beams, Ranker, open_reader
from recbole_lcrec.models.lcrec.prompt_writer import PromptWriter, longest_row, require_template
from recbole_lcrec.models.lcrec.requests import Request, RequestWriter
from recbole_lcrec.runs.restore import load_folder
from recbole_lcrec.runs.run_parts import (
    decoding_settings,
    knows_intentions,
    load_model,
    load_tokenizer,
    place_of,
    run_choice,
)
from recbole_lcrec.runs.saved import SavedCatalogue, load_for_recommending
from recbole_lcrec.runtime.processes import process_count
from recbole_lcrec.serving.request_checks import (
    allowed_choice,
    checked_intentions,
    checked_k,
    history_rows,
    leaves_out,
    listed_histories,
    require_enough,
    require_question,
)

__all__ = ["Recommendation", "Recommender"]


@dataclass(frozen=True)
class Recommendation:
    """One place of a user's list.

    Attributes:
        item: original item id.
        title: None where the data set has none.
        log_prob: log-probability of the item's index given the prompt, nats; under ``eval_templates: ensemble`` the sum
            over all wordings. ``decoding_normalizer: legal`` shares all probability out among the items that may come
            up, so scores then change with the allowed items: compare none of calls that allow others.
        certified: whether this place and those above are proved to be the best of all items that may come up.
    """

    item: str
    title: str | None
    log_prob: float
    certified: bool


class Recommender:
    """A saved run that answers.

    Attributes:
        catalogue: the run's items and wordings.
        decoding: how wide and how exact the search is.
        ranker: the language model over the items that may come up.
    """

    def __init__(
        self, catalogue: SavedCatalogue, ranker: Ranker, writer: RequestWriter, intentions: bool | None
    ) -> None:
        """Puts the parts together; :meth:`load` is the door.

        Args:
            catalogue: items and wordings.
            ranker: over the items that may come up.
            writer: turns requests into prompts.
            intentions: whether the model was tuned on intentions; None: it reads indices alone and cannot take
                any.
        """
        self.catalogue, self.ranker, self.decoding = catalogue, ranker, ranker.settings
        self._writer, self._knows_intentions, self._warned = writer, intentions, False
        self._rows = {item: row for row, item in enumerate(catalogue.item_ids)}

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The run's N original item ids, in the order of a mask of allowed items."""
        return self.catalogue.item_ids

    @classmethod
    def load(
        cls,
        folder: str | Path,
        device: str | torch.device | None = None,
        base_model: str | None = None,
        **decoding: Any,
    ) -> Recommender:
        """Loads a run.

        Under torchrun every process calls this, and :meth:`recommend` with the same requests; users are shared out, and
        all get the same answers.

        Args:
            folder: of a saved run; the data set is not needed.
            device: where the model goes, ``cpu``, ``cuda`` or ``cuda:1``; None: as the run's ``gpu_id`` and
                ``use_gpu`` say.
            base_model: where the base model of the run's adapter is now; None: where it was.
            decoding: what differs from the run's settings, by their keys: ``decoding_beam_size=50``. The items that
                the run lets come up are listed in its folder; ``decoding_allowed_items`` names another file, and None
                lets all come up.

        Raises:
            ValueError: a file is missing or damaged, the item index or the tokenizer has changed since the run was
                saved, or a value is out of range.
        """
        path = Path(folder)
        config, _ = load_folder(path)
        settings, tuning = decoding_settings(config, decoding), TuningSettings.from_config(config)
        place, tokenizer = place_of(config, device), load_tokenizer(path)
        _require_usable(place)
        catalogue = load_for_recommending(path, config["dataset"], tokenizer.get_vocab())
        require_template(catalogue.templates, settings.template)
        trie = catalogue.trie
        if settings.allowed_items is not None:
            trie = trie.restricted(run_choice(settings.allowed_items, catalogue.item_ids))
        if process_count() > 1:
            PartialState(cpu=place.type != "cuda")  # opens the process group
        model = load_model(path, config, tuning, base_model, place)
        item_texts = tuple("".join(tokens) for tokens in catalogue.index.item_tokens())
        writer = PromptWriter(tokenizer, catalogue.templates, item_texts, tuning.seq_format == "stream")
        longest, levels = longest_row(model, tuning.max_length, settings.search), catalogue.index.levels
        most = writer.longest_history(int(config["MAX_ITEM_LIST_LENGTH"]), longest, levels)
        ensemble = settings.eval_templates == "ensemble"
        requests = RequestWriter(writer, most, longest, levels, tuning.text_tokens, settings.template, ensemble)
        getLogger().info(f"{path}: {len(catalogue.item_ids):,} items, {trie.n_items:,} may come up, on {place}")
        ranker = Ranker(open_reader(model, settings.search), trie, settings, model.device)
        return cls(catalogue, ranker, requests, knows_intentions(config, tuning))

    def recommend(
        self,
        histories: Iterable[Iterable[str]],
        k: int = 10,
        allowed_items: Iterable[str] | Iterable[bool] | np.ndarray | torch.Tensor | None = None,
        intention: str | Sequence[str | None] | None = None,
        exclude_history: bool | None = None,
        unknown_items: str = "error",
    ) -> list[list[Recommendation]]:
        """The best items of each user.

        Args:
            histories: of B users, original item ids, oldest first; where there is no room for all, the newest count.
            k: items of each user.
            allowed_items: the only items that may come up (in stock, of one category): their ids, or a mask bool [N]
                in the order of :attr:`item_ids` (an array, a tensor, a column, a list); None: what the run allows.
            intention: what the users want, in words: one for all, or one or None for each. A user with an intention
                needs no history.
            exclude_history: whether a user gets nothing of the history again; None: as the run's
                ``decoding_exclude_history`` says.
            unknown_items: what is done with ids in histories that the run does not know: ``error`` or ``drop``.

        Returns:
            For each user ``k`` recommendations, best first.

        Raises:
            ValueError: before the model runs: ``k`` is no number of items, above ``decoding_beam_size`` or more than
                may come up; a user has neither history nor intention; an item is unknown; a text stands where a list
                or a truth value belongs; or the run cannot take intentions.
            RuntimeError: a logit is not finite, or memory does not suffice for one user.
        """
        k = checked_k(k, self.decoding.beam_size)
        given = listed_histories(histories)
        rows, n_dropped = history_rows(given, self._rows, unknown_items)
        intentions = checked_intentions(intention, len(rows))
        require_question(given, rows, intentions)
        self._check_intentions(intentions)
        trie = self.ranker.trie
        choice = trie.leaf_items.cpu().numpy() if allowed_items is None else allowed_choice(allowed_items, self._rows)
        excluded = rows if leaves_out(exclude_history, self.decoding.exclude_history) else None
        require_enough(choice, k, excluded)
        if n_dropped:
            getLogger().warning(f"{n_dropped:,} unknown items left out of {len(rows):,} histories (unknown_items)")
        if not rows:
            return []
        ranker = self.ranker
        if allowed_items is not None:
            ranker = dataclasses.replace(ranker, trie=self.catalogue.trie.to(ranker.device).restricted(choice))
        written = self._writer.write(
            [Request(tuple(history), wish) for history, wish in zip(rows, intentions, strict=True)]
        )
        if written.shortened:
            getLogger().info(
                f"{written.shortened:,} of {len(rows):,} histories lost their oldest items (MAX_ITEM_LIST_LENGTH, "
                "tuning_max_length, the model's context)"
            )
        if written.cut:
            getLogger().info(f"{written.cut:,} intentions lost their last words (tuning_text_tokens)")
        return self._ranked(ranker, written.prompts, k, excluded)

    def _ranked(
        self, ranker: Ranker, prompts: list[list[list[int]]], k: int, excluded: list[list[int]] | None
    ) -> list[list[Recommendation]]:
        """Answers to prompts; users with as many wordings are ranked together."""
        answers: list[list[Recommendation]] = [[] for _ in prompts]
        for count in sorted({len(rows) for rows in prompts}):
            users = [user for user, rows in enumerate(prompts) if len(rows) == count]
            left_out = None if excluded is None else [excluded[user] for user in users]
            beams = ranker.rank([prompts[user] for user in users], k, left_out)
            for user, answer in zip(users, self._named(beams, k), strict=True):
                answers[user] = answer
        return answers

    def _named(self, beams: Beams, k: int) -> list[list[Recommendation]]:
        proofs = torch.stack([beams.certified(place + 1) for place in range(k)], dim=1).tolist()
        ids, titles = self.catalogue.item_ids, self.catalogue.titles
        return [
            [
                Recommendation(ids[row], titles[row], log_prob, proof)
                for row, log_prob, proof in zip(items, log_probs, certified, strict=True)
            ]
            for items, log_probs, certified in zip(
                beams.items[:, :k].tolist(), beams.log_probs[:, :k].tolist(), proofs, strict=True
            )
        ]

    def _check_intentions(self, intentions: Sequence[str | None]) -> None:
        if all(intention is None for intention in intentions):
            return
        if self._knows_intentions is None:
            raise ValueError(
                "the run was tuned with tuning_seq_format = 'stream' and reads indices alone, so it cannot take an "
                "intention; leave it out, or tune with tuning_seq_format=instruction and the task ite"
            )
        if not self._knows_intentions and not self._warned:
            self._warned = True
            getLogger().warning(
                "The run was not tuned on intentions (task ite of tuning_tasks), so it will hardly heed them"
            )


def _require_usable(place: torch.device) -> None:
    """Makes sure that a model can run in a place: PyTorch names kinds of devices on which the search cannot.

    Raises:
        ValueError: it is neither the CPU nor a GPU that is there.
    """
    if place.type not in ("cpu", "cuda"):
        raise ValueError(f"device = {str(place)!r}: models run on the CPU or a GPU; give cpu, cuda or cuda:1")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        found = f"{count} GPUs, numbered from 0; give one of them" if count else "no GPU; give cpu"
        raise ValueError(f"device = {str(place)!r}: PyTorch sees {found}")
