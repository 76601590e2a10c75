"""Answering from a saved LCRec run without its data set.

Requests to prompts, prompts to beams.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from recbole_lcrec.config.configurator import Config
from recbole_lcrec.config.settings import DecodingSettings, IntentionSettings, TuningSettings, WordingSettings
from recbole_lcrec.decoding import Beams, Ranker, UserPrompts, open_reader
from recbole_lcrec.llm.backbone import is_partitioned
from recbole_lcrec.models.lcrec.prompt_writer import PromptWriter, longest_row, require_template
from recbole_lcrec.models.lcrec.requests import RequestWriter
from recbole_lcrec.models.lcrec.saved_run import load_folder
from recbole_lcrec.runs.answering import Answers, Request, answers_of, require_most
from recbole_lcrec.runs.run_parts import (
    changed_settings,
    load_model,
    load_tokenizer,
    requested_device,
    run_allowed_rows,
)
from recbole_lcrec.runs.saved import SavedCatalogue, load_for_recommending
from recbole_lcrec.runtime.processes import process_count

__all__ = ["LCRecAnswering", "load_answering"]


class LCRecAnswering:
    """A saved run that answers requests; see :class:`~recbole_lcrec.runs.answering.ItemAnswering`.

    Attributes:
        catalogue: items and templates of the run.
        ranker: ranks the items that may be recommended by the language model.
        writer: turns requests into prompts.
    """

    scores_are_log_probs = True

    def __init__(
        self, catalogue: SavedCatalogue, ranker: Ranker, writer: RequestWriter, intentions: bool | None
    ) -> None:
        """Combine loaded parts; use :func:`load_answering`.

        Args:
            catalogue: items and templates of the run.
            ranker: ranks the items that may be recommended.
            writer: turns requests into prompts.
            intentions: whether the model was tuned on intentions; None: it reads only indices and cannot take any.
        """
        self.catalogue, self.ranker, self.writer = catalogue, ranker, writer
        self.item_ids, self.titles = catalogue.item_ids, catalogue.titles
        self.allowed = ranker.trie.leaf_items.cpu().numpy()
        self.most, self.excludes_history = ranker.settings.beam_size, ranker.settings.exclude_history
        self._tuned_on_intentions, self._warned = intentions, False

    def require_most(self, k: int) -> None:
        """Check that there are at least ``k`` beams."""
        require_most(k, self.most)

    def check_intentions(self, intentions: Sequence[str | None]) -> None:
        """Check that the model reads text; warn once if it was not tuned on intentions."""
        if all(intention is None for intention in intentions):
            return
        if self._tuned_on_intentions is None:
            raise ValueError(
                "the run was tuned with tuning_seq_format = 'stream' and reads only indices, so it cannot take an "
                "intention; leave it out, or tune with tuning_seq_format=instruction and the task ite"
            )
        if not self._tuned_on_intentions and not self._warned:
            self._warned = True
            getLogger().warning(
                "The run was not tuned on intentions (task ite of tuning_tasks), so it will probably ignore them"
            )

    def answer(
        self,
        requests: Sequence[Request],
        k: int,
        allowed: np.ndarray | None = None,
        excluded: Sequence[Sequence[int]] | None = None,
    ) -> Answers:
        """Rank items for users; see :class:`~recbole_lcrec.runs.answering.ItemAnswering`."""
        ranker = self.ranker
        if allowed is not None:
            ranker = dataclasses.replace(ranker, trie=self.catalogue.trie.restricted(allowed))
        written = self.writer.write(requests)
        if written.shortened:
            getLogger().info(
                f"{written.shortened:,} of {len(requests):,} histories lost their oldest items (MAX_ITEM_LIST_LENGTH, "
                "tuning_max_length, the model's context)"
            )
        if written.cut:
            getLogger().info(f"{written.cut:,} intentions were cut at the end (tuning_text_tokens)")
        return _ranked(ranker, written.prompts, k, excluded)


def _ranked(
    ranker: Ranker, prompts: Sequence[UserPrompts], k: int, excluded: Sequence[Sequence[int]] | None
) -> Answers:
    """Rank items for each user's prompts; users with the same number of prompts are ranked together."""
    items = np.empty((len(prompts), k), dtype=np.int64)
    scores, certified = np.empty(items.shape), np.empty(items.shape, dtype=bool)
    for count in sorted({len(rows) for rows in prompts}):
        users = [user for user, rows in enumerate(prompts) if len(rows) == count]
        left_out = None if excluded is None else [excluded[user] for user in users]
        beams: Beams = ranker.rank([prompts[user] for user in users], k, left_out)
        part = answers_of(beams, k)
        items[users], scores[users], certified[users] = part.items, part.scores, part.certified
    return Answers(items, scores, certified)


def load_answering(
    folder: Path, device: str | torch.device | None, base_model: str | None, decoding: Mapping[str, Any]
) -> LCRecAnswering:
    """Load a run's folder; under torchrun every process calls this.

    Args:
        folder: folder of the run.
        device: device of the model; None: the run's.
        base_model: current path of the base model, for a run with an adapter; None: the path in the run's settings.
        decoding: decoding settings that differ from the run's.

    Raises:
        ValueError: a file is missing or damaged, the item index or the tokenizer has changed since the run was saved,
            or a value is out of range.
    """
    config, _ = load_folder(folder)
    settings, wording = changed_settings(config, decoding, DecodingSettings, WordingSettings)
    tuning = config.stage(TuningSettings)
    place, tokenizer = requested_device(config, device), load_tokenizer(folder)
    catalogue = load_for_recommending(folder, config["dataset"], tokenizer.get_vocab())
    require_template(catalogue.templates, wording.template)
    trie = catalogue.trie
    if settings.allowed_items is not None:
        trie = trie.restricted(run_allowed_rows(settings.allowed_items, catalogue.item_ids))
    if process_count() > 1:
        PartialState(cpu=place.type != "cuda")  # opens the process group
    model = load_model(folder, config, tuning, base_model, place)
    item_texts = tuple("".join(tokens) for tokens in catalogue.index.item_tokens())
    writer = PromptWriter(tokenizer, catalogue.templates, item_texts, tuning.seq_format == "stream")
    longest, levels = longest_row(model, tuning.max_length, settings.search), catalogue.index.levels
    most = writer.longest_history(int(config["MAX_ITEM_LIST_LENGTH"]), longest, levels)
    requests = RequestWriter(
        writer, most, longest, levels, tuning.text_tokens, wording.template, wording.eval_templates == "ensemble"
    )
    getLogger().info(f"{folder}: {len(catalogue.item_ids):,} items, {trie.n_items:,} may be recommended, on {place}")
    reader = open_reader(model, settings.search)
    ranker = Ranker(reader, trie, settings, model.device, shared=not is_partitioned(model))
    return LCRecAnswering(catalogue, ranker, requests, tuned_on_intentions(config, tuning))


def tuned_on_intentions(config: Config, tuning: TuningSettings) -> bool | None:
    """Return whether a run was tuned on intentions according to its settings; None: it reads only indices."""
    if tuning.seq_format == "stream":
        return None
    if tuning.tasks == "paper":
        return config.stage(IntentionSettings).source != "none"
    return "ite" in tuning.tasks
