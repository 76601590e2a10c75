"""LC-Rec as a RecBole model.

A causal language model that continues a prompt with an item index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor

from recbole_lcrec.config.settings import (
    BackboneSettings,
    LoraSettings,
    ScratchSettings,
    TuningSettings,
    WordingSettings,
)
from recbole_lcrec.decoding import Reader, UserPrompts, open_reader
from recbole_lcrec.instructions.selection import task_problems
from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.instructions.wording import history_text
from recbole_lcrec.llm.adapters import is_adapter_folder, load_adapter_weights
from recbole_lcrec.llm.backbone import is_partitioned, load_backbone, load_saved
from recbole_lcrec.llm.collator import IGNORED, InstructionCollator, padded_group
from recbole_lcrec.llm.deepspeed_files import uses_deepspeed
from recbole_lcrec.llm.devices import weight_dtype
from recbole_lcrec.llm.response_loss import response_loss
from recbole_lcrec.llm.text_lengths import TextLengths
from recbole_lcrec.llm.tokens import item_token_ids
from recbole_lcrec.models.base import GenerativeRecommender
from recbole_lcrec.models.lcrec.dataset import LCRecDataset
from recbole_lcrec.models.lcrec.inputs import checked_templates, task_key_problems, unread_problems
from recbole_lcrec.models.lcrec.prompt_writer import PromptWriter, longest_row
from recbole_lcrec.models.lcrec.relations import index_directions
from recbole_lcrec.models.lcrec.tuning_data import TextLimits, TuningData, alignment_source

__all__ = ["LCRec"]


class LCRec(GenerativeRecommender):
    """LC-Rec (Zheng et al., ICDE 2024): a language model that generates item indices.

    Attributes:
        llm: the causal language model.
        tokenizer: its tokenizer, which has one id for each index token.
        tuning, wording: settings of the tuning, and of the templates used for ranking.
        writer: turns histories into prompts.
    """

    def __init__(self, config: Any, dataset: LCRecDataset) -> None:
        """Load or initialise the language model and build the trie.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.
            dataset: supplies the item index, and texts to train a tokenizer from scratch.

        Raises:
            ValueError: the model or the templates cannot be used, or no history fits into ``tuning_max_length``.
        """
        super().__init__(config, dataset)
        self.tuning: TuningSettings = config.stage(TuningSettings)
        self.wording: WordingSettings = config.stage(WordingSettings)
        self.templates = checked_templates(self.tuning, self.wording)
        item_tokens = self.index.item_tokens()
        self.item_texts = tuple("".join(tokens) for tokens in item_tokens)
        seed = int(config["seed"])
        self.attention = config.stage(BackboneSettings).attention
        lora = config.stage(LoraSettings)
        backbone = load_backbone(
            config.stage(BackboneSettings),
            config.stage(ScratchSettings),
            [token for level in self.index.tokens_by_level() for token in level],
            lambda: dataset.tokenizer_texts(self.templates),
            seed,
            weight_dtype(
                self.tuning.precision, self.device, uses_deepspeed(self.tuning.deepspeed), lora=lora.r is not None
            ),
            lora,
            partial(index_directions, dataset, seed=seed) if self.tuning.index_start == "texts" else None,
        )
        self.llm, self.tokenizer = backbone.model, backbone.tokenizer
        self.writer = PromptWriter(self.tokenizer, self.templates, self.item_texts, self.tuning.seq_format == "stream")
        self._longest_row = longest_row(self.llm, self.tuning.max_length, self.decoding.search)
        self.max_history = self.writer.longest_history(self.max_seq_length, self._longest_row, self.index.levels)
        self.use_index_tokens(item_token_ids(self.tokenizer, item_tokens))
        longest = max(map(len, self.writer.user_prompts([[0] * self.max_history], range(self.writer.n_templates))[0]))
        self.ranker().reader.check(longest, self.index.levels - 1, self.trie.max_token)
        every = range(self.writer.n_templates)
        self._asking = tuple(every) if self.wording.eval_templates == "ensemble" else (self.wording.template,)
        self._rng = np.random.default_rng(seed)

    @staticmethod
    def value_problems(values: Mapping[str, Any]) -> list[str]:
        """Return the problems of index and search, of the names of task families, and of keys that have no effect."""
        own = (*task_problems(values), *unread_problems(values), *task_key_problems(values))
        return [*GenerativeRecommender.value_problems(values), *own]

    def open_reader(self) -> Reader:
        """Return a reader of the language model; fails before the tuning if ``decoding_search`` cannot read it."""
        return open_reader(self.llm, self.decoding.search)

    @property
    def decoding_device(self) -> torch.device:
        """Device of the language model."""
        return torch.device(self.llm.device)

    @property
    def splits_users(self) -> bool:
        """False under ZeRO-3, where every process takes part in each forward pass."""
        return super().splits_users and not is_partitioned(self.llm)

    @contextmanager
    def asking(self, template: int) -> Iterator[None]:
        """Return a context in which only this SEQ template asks for items."""
        before, self._asking = self._asking, (template,)
        try:
            yield
        finally:
            self._asking = before

    def write_prompts(self, histories: Sequence[Sequence[int]]) -> list[UserPrompts]:
        """Return the prompts of each user, one per SEQ template in use."""
        return list(self.writer.user_prompts(histories, self._asking))

    def instruction_source(self, dataset: LCRecDataset) -> TuningData:
        """Return the tuning data of a training split, with this model's templates and length limits."""
        lengths = TextLengths(self.tokenizer)
        history = history_text([self.item_texts[0]] * self.max_history)
        limits = TextLimits(
            lengths, self._longest_row, self.max_history, int(lengths.count([history])[0]), self.index.levels
        )
        return alignment_source(dataset, self.tuning, self.templates, limits)

    @cached_property
    def _collator(self) -> InstructionCollator:
        return InstructionCollator(self.tokenizer, self.tuning.max_length)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Compute Eq. 7 on one batch of RecBole's training rows, so that RecBole's plain Trainer can train the model.

        Args:
            interaction: histories [B, L], their lengths [B] and targets [B].

        Returns:
            Scalar, the mean negative log-likelihood per response token (nats).
        """
        instructions = []
        for history, target in zip(self.histories(interaction), interaction[self.POS_ITEM_ID].tolist(), strict=True):
            history = history[-self.max_history :]
            prompt = self.writer.text(history, int(self._rng.integers(self.writer.n_templates)))
            instructions.append(Instruction(prompt, self.item_texts[target - 1], not self.writer.stream))
        batch = self._collator(instructions)
        ids, labels = padded_group(batch, np.arange(len(instructions)), int(self.tokenizer.pad_token_id))
        device = self.llm.device
        total = response_loss(self.llm, self.llm.get_output_embeddings(), ids.to(device), labels.to(device))
        return total / (labels != IGNORED).sum()

    def load_weights(self, folder: Path) -> None:
        """Replace the language model, or its adapter, by a saved one of the same architecture.

        Raises:
            ValueError: the folder contains no model.
        """
        if isinstance(self.llm, PeftModel) and is_adapter_folder(folder) and not is_partitioned(self.llm):
            load_adapter_weights(self.llm, folder)
            return
        dtype = self.llm.get_base_model().dtype if isinstance(self.llm, PeftModel) else None
        self.close_reader()
        del self.llm  # a GPU may not have room for two
        self.llm = load_saved(folder, self.attention, dtype=dtype).to(self.device)
        self.llm.train(self.training)
        self.reopen_reader()
