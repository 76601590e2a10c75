"""LC-Rec as a RecBole model: histories in, scores of the whole catalogue out.

Knows RecBole's interactions and calls the instructions, llm and decoding rooms. Refuses to know how the language model
is tuned (``llm/finetune.py``) and when it is scored (``models/lcrec/trainer.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_lcrec.config.settings import (
    BackboneSettings,
    DecodingSettings,
    LoraSettings,
    ScratchSettings,
    TuningSettings,
)
from recbole_lcrec.data.item_choice import allowed_rows
from recbole_lcrec.decoding import Ranker, Reader, Trie, open_reader
from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.instructions.wording import history_text
from recbole_lcrec.llm.adapters import is_adapter_folder, load_adapter_weights
from recbole_lcrec.llm.backbone import is_partitioned, load_backbone, load_saved
from recbole_lcrec.llm.collator import IGNORED, InstructionCollator, padded_group
from recbole_lcrec.llm.launch import deepspeed_asked, weight_dtype
from recbole_lcrec.llm.response_loss import response_loss
from recbole_lcrec.llm.text_lengths import TextLengths
from recbole_lcrec.llm.tokens import item_token_ids
from recbole_lcrec.models.evaluation_stats import EvaluationStats
from recbole_lcrec.models.lcrec.dataset import LCRecDataset
from recbole_lcrec.models.lcrec.inputs import checked_templates
from recbole_lcrec.models.lcrec.prompt_writer import PromptWriter, longest_row
from recbole_lcrec.models.lcrec.tuning_data import TextLimits, TuningData

__all__ = ["LCRec"]


class LCRec(SequentialRecommender):
    """LC-Rec (Zheng et al., ICDE 2024): a language model that generates item indices.

    Attributes:
        llm: the causal language model.
        tokenizer: its tokenizer, every index token one id.
        trie: the N existing indices as token ids.
        candidates: the part of the trie that may come up, ``decoding_allowed_items``.
        writer: turns histories into prompts.
        tally: counts of the users ranked since it was made.
        index, item_ids: the items' indices and original ids.
        max_history: newest items that a prompt holds.
    """

    input_type = InputType.POINTWISE

    def __init__(self, config: Any, dataset: LCRecDataset) -> None:
        """Loads or initialises the language model and builds the trie.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.
            dataset: gives the item index and the texts for a tokenizer from scratch.

        Raises:
            ValueError: the model or the templates cannot be used, or no history fits ``tuning_max_length``.
        """
        super().__init__(config, dataset)
        self.tuning = TuningSettings.from_config(config)
        self.decoding = DecodingSettings.from_config(config)
        self.templates = checked_templates(self.tuning, self.decoding)
        self.index, self.item_ids = dataset.item_index, dataset.item_ids
        allowed = None  # looked at now, before a large model is loaded
        if self.decoding.allowed_items is not None:
            allowed = allowed_rows(Path(self.decoding.allowed_items), self.item_ids, max(config["topk"]))
        item_tokens = self.index.item_tokens()
        self.item_texts = tuple("".join(tokens) for tokens in item_tokens)
        seed = int(config["seed"])
        self.attention = BackboneSettings.from_config(config).attention
        lora = LoraSettings.from_config(config)
        backbone = load_backbone(
            BackboneSettings.from_config(config),
            ScratchSettings.from_config(config),
            [token for level in self.index.tokens_by_level() for token in level],
            lambda: dataset.tokenizer_texts(self.templates),
            seed,
            weight_dtype(
                self.tuning.precision, self.device, deepspeed_asked(self.tuning.deepspeed), lora=lora.r is not None
            ),
            lora,
        )
        self.llm, self.tokenizer = backbone.model, backbone.tokenizer
        ids = item_token_ids(self.tokenizer, item_tokens)
        self.trie = Trie.from_token_ids(ids)
        self.candidates = self.trie if allowed is None else self.trie.restricted(allowed)
        self.writer = PromptWriter(self.tokenizer, self.templates, self.item_texts, self.tuning.seq_format == "stream")
        self._longest_row = longest_row(self.llm, self.tuning.max_length, self.decoding.search)
        self.max_history = self.writer.longest_history(self.max_seq_length, self._longest_row, self.index.levels)
        self._reader = self._opened()
        longest = max(map(len, self.writer.user_prompts([[0] * self.max_history], range(self.writer.n_templates))[0]))
        self._reader.check(longest, self.index.levels - 1, self.trie.max_token)
        self._kept: Ranker | None = None
        self.stats = EvaluationStats(self.decoding.beam_size)
        self._topk = [int(k) for k in config["topk"]]
        every = range(self.writer.n_templates)
        self._asking = tuple(every) if self.decoding.eval_templates == "ensemble" else (self.decoding.template,)
        self._rng = np.random.default_rng(seed)

    @property
    def allowed_ids(self) -> list[str] | None:
        """The original ids of the items that may come up; None: all may."""
        if self.decoding.allowed_items is None:
            return None
        return [self.item_ids[row] for row in self.candidates.leaf_items.sort().values.tolist()]

    def _opened(self) -> Reader:
        """The language model opened for decoding; one that cannot be searched is refused here, before it is tuned."""
        training = self.llm.training
        try:
            return open_reader(self.llm.eval(), self.decoding.search)
        finally:
            self.llm.train(training)

    @contextmanager
    def asking(self, template: int) -> Iterator[None]:
        """Asks by this SEQ template alone for a while."""
        before, self._asking = self._asking, (template,)
        try:
            yield
        finally:
            self._asking = before

    def _histories(self, interaction: Any) -> list[list[int]]:
        """Item rows of each history, oldest first."""
        items, lengths = interaction[self.ITEM_SEQ].cpu().numpy(), interaction[self.ITEM_SEQ_LEN].cpu().numpy()
        return [(row[:length] - 1).tolist() for row, length in zip(items, lengths, strict=True)]

    def instruction_source(self, dataset: LCRecDataset) -> TuningData:
        """The tuning data of a training split, in this model's wording and length."""
        lengths = TextLengths(self.tokenizer)
        history = history_text([self.item_texts[0]] * self.max_history)
        limits = TextLimits(
            lengths, self._longest_row, self.max_history, int(lengths.count([history])[0]), self.index.levels
        )
        return dataset.instructions(self.tuning, self.templates, limits)

    @cached_property
    def _collator(self) -> InstructionCollator:
        return InstructionCollator(self.tokenizer, self.tuning.max_length)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Eq. 7 on one batch of RecBole's training rows, so that RecBole's plain Trainer can train the model.

        Args:
            interaction: histories [B, L] with lengths [B] and targets [B].

        Returns:
            Scalar: mean negative log-likelihood per response token, in nats.
        """
        instructions = []
        for history, target in zip(self._histories(interaction), interaction[self.POS_ITEM_ID].tolist(), strict=True):
            history = history[-self.max_history :]
            prompt = self.writer.text(history, int(self._rng.integers(self.writer.n_templates)))
            instructions.append(Instruction(prompt, self.item_texts[target - 1], not self.writer.stream))
        batch = self._collator(instructions)
        ids, labels = padded_group(batch, np.arange(len(instructions)), int(self.tokenizer.pad_token_id))
        device = self.llm.device
        total = response_loss(self.llm, self.llm.get_output_embeddings(), ids.to(device), labels.to(device))
        return total / (labels != IGNORED).sum()

    def full_sort_predict(self, interaction: Any, excluded: Sequence[Sequence[int]] | None = None) -> Tensor:
        """Scores of the whole catalogue by trie-constrained beam search (paper III-D2).

        Args:
            interaction: histories [B, L] with lengths [B].
            excluded: RecBole's ids of items that each user must not get; None: none, or with
                ``decoding_exclude_history`` those of the history that is shown.

        Returns:
            float32 [B, n_items] with RecBole's item ids as columns: the log-probability (nats) of a decoded item's
            index, -inf for every other item.

        Raises:
            ValueError: a user has fewer than ``max(topk)`` items to get.
        """
        histories = self._histories(interaction)
        if excluded is not None:
            left_out: list[list[int]] | None = [[item - 1 for item in items] for items in excluded]
        else:
            left_out = histories if self.decoding.exclude_history else None
        beams = self._ranker().rank(self._prompts(histories), max(self._topk), left_out)
        self.stats.add_ranking(beams, self._topk)
        scores = torch.full((len(histories), self.n_items), -torch.inf, device=self.device)
        # items that are not there (-1) score -inf in RecBole's column of padding
        scores.scatter_(1, (beams.items + 1).to(self.device), beams.log_probs.to(self.device))
        return scores

    def _prompts(self, histories: Sequence[Sequence[int]]) -> list[list[list[int]]]:
        """Each user's questions, of the newest items that there is room for."""
        self.stats.add_histories(len(histories), sum(len(history) > self.max_history for history in histories))
        return self.writer.user_prompts([history[-self.max_history :] for history in histories], self._asking)

    def _ranker(self) -> Ranker:
        """A ranker by the language model as it is; kept, for the trie is large."""
        if self._kept is None or self._kept.device != self.llm.device:
            self._kept = Ranker(self._reader, self.candidates, self.decoding, self.llm.device)
        return dataclasses.replace(self._kept, shared=not is_partitioned(self.llm))

    def predict(self, interaction: Any) -> Tensor:
        """Scores of given pairs by teacher forcing, for RecBole's sampled evaluation.

        All candidates of a history are scored in one pass over the part of the trie that they span.

        Args:
            interaction: histories [B, L] with lengths [B] and an item [B] each; rows with the same history share its
                forward pass.

        Returns:
            float32 [B]: log-probability (nats) of each row's item index; -inf for an item that is not allowed.
        """
        histories = self._histories(interaction)
        rows = interaction[self.ITEM_ID].cpu().numpy() - 1
        able = (self.candidates.leaves(torch.from_numpy(rows).to(self.candidates.device)) >= 0).cpu().numpy()
        users = interaction[self.USER_ID].tolist() if self.USER_ID in interaction.columns else [0] * len(histories)
        groups: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for place, (user, history) in enumerate(zip(users, histories, strict=True)):
            groups.setdefault((user, tuple(history)), []).append(place)
        items = [np.where(able, rows, -1)[places].tolist() for places in groups.values()]
        result = self._ranker().score(self._prompts([history for _, history in groups]), items)
        scores = torch.empty(len(histories))
        for places, values in zip(groups.values(), result, strict=True):
            scores[places] = torch.from_numpy(values)
        return scores.to(self.device)

    def load_weights(self, folder: Path) -> None:
        """Replaces the language model, or its adapter, by one that was saved from this model.

        Raises:
            ValueError: the folder holds no model.
        """
        if isinstance(self.llm, PeftModel) and is_adapter_folder(folder) and not is_partitioned(self.llm):
            load_adapter_weights(self.llm, folder)
            return
        dtype = self.llm.get_base_model().dtype if isinstance(self.llm, PeftModel) else None
        self._kept = None
        del self.llm, self._reader  # two would not fit a card that one fills
        self.llm = load_saved(folder, self.attention, dtype=dtype).to(self.device)
        self.llm.train(self.training)
        self._reader = self._opened()
