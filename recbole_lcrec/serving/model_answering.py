"""Answering from a saved run by its rebuilt data set and model, which rank the whole catalogue for any history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from recbole.data.interaction import Interaction
from recbole.utils import ModelType

from recbole_lcrec.bridge.building import BuiltRun
from recbole_lcrec.bridge.windows import item_list_field
from recbole_lcrec.config.configurator import Config
from recbole_lcrec.config.registry import spec_of
from recbole_lcrec.config.settings import DecodingSettings
from recbole_lcrec.models.base import GenerativeRecommender
from recbole_lcrec.models.indexed_dataset import IndexedDataset
from recbole_lcrec.runs.answering import Answers, Request, answers_of, require_most
from recbole_lcrec.runs.restore import read_run, rebuild
from recbole_lcrec.runs.run_parts import changed_settings, requested_device
from recbole_lcrec.runtime.processes import process_count

__all__ = ["GenerativeAnswering", "ScoringAnswering", "load_answering"]


class _ModelAnswering:
    """Base of both ways to answer: items and titles of the data set, and requests of histories only."""

    scores_are_log_probs = False
    excludes_history = False

    def __init__(self, config: Config, run: BuiltRun) -> None:
        self.config, self.model, dataset = config, run.model, run.dataset
        self.label = getattr(config, "label", config["model"])  # a checkpoint of plain RecBole has none
        self.item_ids = tuple(str(token) for token in dataset.field2id_token[dataset.iid_field][1:])
        named = isinstance(dataset, IndexedDataset) and dataset.has_texts()
        titles = dataset.item_texts.titles if named else [""] * len(self.item_ids)
        self.titles: tuple[str | None, ...] = tuple(title or None for title in titles)
        self.allowed = np.arange(len(self.item_ids))
        self.most = len(self.item_ids)

    def require_most(self, k: int) -> None:
        """Check that the catalogue has ``k`` items."""
        if k > self.most:
            raise ValueError(f"k = {k} items are requested, but the catalogue has {self.most}; lower k")

    def check_intentions(self, intentions: Sequence[str | None]) -> None:
        """Refuse intentions, because the model reads only histories."""
        if any(intention is not None for intention in intentions):
            raise ValueError(f"{self.label} reads only histories and takes no intention; leave it out")


class GenerativeAnswering(_ModelAnswering):
    """Answers of a generative model, by its own beam search."""

    scores_are_log_probs = True

    def __init__(self, config: Config, run: BuiltRun) -> None:
        """Open a built run whose model has its trained weights."""
        super().__init__(config, run)
        model: GenerativeRecommender = run.model
        self.allowed = model.candidates.leaf_items.cpu().numpy()
        self.most, self.excludes_history = model.decoding.beam_size, model.decoding.exclude_history

    def require_most(self, k: int) -> None:
        """Check that there are at least ``k`` beams."""
        require_most(k, self.most)

    def answer(
        self,
        requests: Sequence[Request],
        k: int,
        allowed: np.ndarray | None = None,
        excluded: Sequence[Sequence[int]] | None = None,
    ) -> Answers:
        """Rank items for users; see :class:`~recbole_lcrec.runs.answering.ItemAnswering`."""
        trie = None if allowed is None else self.model.trie.restricted(allowed)
        return answers_of(self.model.rank([list(request.history) for request in requests], k, excluded, trie), k)


class ScoringAnswering(_ModelAnswering):
    """Answers of a model that scores every item of the catalogue, as RecBole's do: all items are certified."""

    def __init__(self, config: Config, run: BuiltRun) -> None:
        """Open a built run whose model has its trained weights.

        Raises:
            ValueError: the model ranks for users of its training data, not for histories.
        """
        super().__init__(config, run)
        self._fields = run.dataset
        self._sequential = config["MODEL_TYPE"] == ModelType.SEQUENTIAL
        if self._sequential:
            self.answer([Request((0,))], 1)  # a model that reads more than a history is refused now
        elif not self._ignores_users():
            raise ValueError(
                f"{self.label} ranks only for the users of its training data and cannot answer for a history; "
                "evaluate it with load_data_and_model, or use a sequential model"
            )

    @torch.no_grad()
    def _ignores_users(self) -> bool:
        """Return whether all users get the same scores, as from Pop."""
        users = min(int(self._fields.user_num), 50)
        field = self._fields.uid_field
        scores = self._scores({field: torch.arange(1, users)}).view(users - 1, -1)
        return bool((scores == scores[:1]).all())

    def _scores(self, columns: Mapping[str, torch.Tensor]) -> torch.Tensor:
        interaction = Interaction(dict(columns)).to(self.config["device"])
        try:
            scores: torch.Tensor = self.model.full_sort_predict(interaction)
        except KeyError as err:
            raise ValueError(
                f"{self.label} also reads the column {err}, so it cannot answer for a history of any user; evaluate it "
                "with load_data_and_model, or use a model that reads histories alone, such as SASRec"
            ) from err
        except NotImplementedError as err:
            raise ValueError(f"{self.label} cannot rank the whole catalogue at once; use another model") from err
        return scores

    @torch.no_grad()
    def answer(
        self,
        requests: Sequence[Request],
        k: int,
        allowed: np.ndarray | None = None,
        excluded: Sequence[Sequence[int]] | None = None,
    ) -> Answers:
        """Rank items for users; see :class:`~recbole_lcrec.runs.answering.ItemAnswering`."""
        most = int(self.config["MAX_ITEM_LIST_LENGTH"])
        batch = max(1, int(self.config["eval_batch_size"]) // len(self.item_ids)) if not self._sequential else 512
        items, scores = [], []
        masked = torch.ones(len(self.item_ids) + 1, dtype=torch.bool)
        masked[torch.from_numpy(self.allowed if allowed is None else allowed) + 1] = False
        for start in range(0, len(requests), batch):
            histories = [request.history[-most:] for request in requests[start : start + batch]]
            found = self._scores(self._columns(histories, most)).view(len(histories), -1).cpu()
            found = found[:, : len(self.item_ids) + 1].masked_fill(masked, -torch.inf)
            for row, left_out in enumerate(excluded[start : start + batch] if excluded is not None else ()):
                found[row, torch.as_tensor(list(left_out), dtype=torch.int64) + 1] = -torch.inf
            best = found.topk(k, dim=1)
            items.append(best.indices.numpy() - 1)
            scores.append(best.values.double().numpy())
        ranked = np.concatenate(items)
        return Answers(ranked, np.concatenate(scores), np.ones(ranked.shape, dtype=bool))

    def _columns(self, histories: Sequence[Sequence[int]], most: int) -> dict[str, torch.Tensor]:
        """Return the columns of RecBole's loaders for these histories; of a sequential model none that names the user.

        A model whose scores ignore the user gets any.
        """
        fields = self._fields
        if not self._sequential:
            return {fields.uid_field: torch.ones(len(histories), dtype=torch.int64)}
        padded = torch.zeros((len(histories), most), dtype=torch.int64)
        for row, history in enumerate(histories):
            padded[row, : len(history)] = torch.as_tensor(history, dtype=torch.int64) + 1
        lengths = torch.tensor([len(history) for history in histories])
        return {item_list_field(fields): padded, fields.item_list_length_field: lengths}


def load_answering(
    path: Path, device: str | torch.device | None, base_model: str | None, decoding: Mapping[str, Any]
) -> GenerativeAnswering | ScoringAnswering:
    """Load a run with its data set, which must be in its original folder.

    Args:
        path: a ``.pth`` file of RecBole's trainer, or a folder of a model's own trainer.
        device: device of the model; None: the run's.
        base_model: must be None, because there are no adapters here.
        decoding: decoding settings that differ from the run's, for a generative model.

    Raises:
        ValueError: the run, its data set or its model is missing, the model cannot rank the whole catalogue for a
            history, or a value is out of range.
    """
    if base_model is not None:
        raise ValueError(f"base_model = {base_model!r}: {path} contains a full model, not an adapter; leave it out")
    config, restore = read_run(path)
    spec = spec_of(config["model"])
    if not (spec.full_ranking and getattr(spec.part("model"), "ranks_in_full", True)):
        raise ValueError(f"{path}: {spec.name} only scores given candidates and cannot recommend from a catalogue")
    generative = issubclass(spec.part("model"), GenerativeRecommender)
    stages = changed_settings(config, decoding, *([DecodingSettings] if generative else []))
    place = requested_device(config, device)
    run = rebuild(config, restore, logged=False)
    config["device"] = run.model.device = place
    run.model.to(place)
    if generative:
        run.model.decoding = stages[0]
        run.model.reopen_reader()
        if process_count() > 1:
            PartialState(cpu=place.type != "cuda")  # opens the process group
            run.model.split_users()
    answering = GenerativeAnswering(config, run) if generative else ScoringAnswering(config, run)
    counts = f"{len(answering.item_ids):,} items, {len(answering.allowed):,} may be recommended"
    getLogger().info(f"{path}: {counts}, on {place}")
    return answering
