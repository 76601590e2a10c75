"""LC-Rec as a RecBole model: histories in, scores of the whole catalogue out.

Knows RecBole's interactions and calls the instructions, llm and decoding rooms. Refuses to know how the language model
is tuned (``llm/finetune.py``) and when it is scored (``trainer.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor

from recbole_lcrec.compat import prepare_recbole

prepare_recbole()

from recbole.model.abstract_recommender import SequentialRecommender  # noqa: E402
from recbole.utils import InputType  # noqa: E402

from recbole_lcrec.dataset import LCRecDataset  # noqa: E402
from recbole_lcrec.decoding import Trie, beam_search, score_items  # noqa: E402
from recbole_lcrec.instructions.tasks import history_text, sequential_prompt, stream_prompt  # noqa: E402
from recbole_lcrec.instructions.templates import Instruction  # noqa: E402
from recbole_lcrec.llm.adapters import is_adapter_folder, load_adapter_weights  # noqa: E402
from recbole_lcrec.llm.backbone import load_backbone, load_saved  # noqa: E402
from recbole_lcrec.llm.collator import IGNORED, InstructionCollator, padded_group  # noqa: E402
from recbole_lcrec.llm.launch import deepspeed_asked, weight_dtype  # noqa: E402
from recbole_lcrec.llm.response_loss import response_loss  # noqa: E402
from recbole_lcrec.llm.text_lengths import TextLengths  # noqa: E402
from recbole_lcrec.llm.tokens import item_token_ids, pad_prompts, tokenize_prompts  # noqa: E402
from recbole_lcrec.model.inputs import checked_templates  # noqa: E402
from recbole_lcrec.settings import (  # noqa: E402
    BackboneSettings,
    DecodingSettings,
    LoraSettings,
    ScratchSettings,
    TuningSettings,
)
from recbole_lcrec.tuning_data import TextLimits, TuningData  # noqa: E402

__all__ = ["LCRec"]


class LCRec(SequentialRecommender):
    """LC-Rec (Zheng et al., ICDE 2024): a language model that generates item indices.

    Attributes:
        llm: the causal language model.
        tokenizer: its tokenizer, every index token one id.
        trie: the N existing indices as token ids.
        index, item_ids: the items' indices and original ids.
        max_history: newest items that a prompt holds.
    """

    input_type = InputType.POINTWISE

    def __init__(self, config: Any, dataset: LCRecDataset) -> None:
        """Loads or initialises the language model and builds the trie.

        Args:
            config: a :class:`recbole_lcrec.config.Config`.
            dataset: gives the item index and the texts for a tokenizer from scratch.

        Raises:
            ValueError: the model or the templates cannot be used, or no history fits ``tuning_max_length``.
        """
        super().__init__(config, dataset)
        self.tuning = TuningSettings.from_config(config)
        self.decoding = DecodingSettings.from_config(config)
        self.templates = checked_templates(self.tuning, self.decoding)
        self.index, self.item_ids = dataset.item_index, dataset.item_ids
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
        self.item_token_ids = torch.from_numpy(ids)
        self.max_history = self._longest_history()
        self._rng = np.random.default_rng(seed)

    @property
    def longest_row(self) -> int:
        """Tokens of prompt and response at most: ``tuning_max_length``, or the model's context where that is less."""
        context = getattr(self.llm.config, "max_position_embeddings", None) or self.tuning.max_length
        return min(self.tuning.max_length, context)

    def _longest_history(self) -> int:
        """How many items fit in a prompt of any template, with the response, in the tokens there are.

        Every index token is one id, so a prompt's length depends on the number of items alone.
        """
        limit = self.longest_row - self.index.levels - 1
        for n in range(self.max_seq_length, 0, -1):
            prompts = [self._prompt([0] * n, template) for template in range(len(self.templates.tasks["seq"]))]
            longest = max(map(len, tokenize_prompts(self.tokenizer, prompts)))
            if longest <= limit:
                if n < self.max_seq_length:
                    getLogger().warning(
                        f"Histories keep their newest {n} of {self.max_seq_length} items, so that prompt and response "
                        f"fit {limit + self.index.levels + 1} tokens (tuning_max_length, the model's context)"
                    )
                return n
        raise ValueError(
            f"not even a history of one item fits tuning_max_length = {self.tuning.max_length} tokens; raise it"
        )

    def _prompt(self, history: Sequence[int], template: int) -> str:
        items = [self.item_texts[row] for row in history]
        if self.tuning.seq_format == "stream":
            return stream_prompt(items)
        return sequential_prompt(self.templates, self.templates.tasks["seq"][template], items)

    def _histories(self, interaction: Any) -> list[list[int]]:
        """Item rows of each history, oldest first, the newest ``max_history`` of them."""
        items, lengths = interaction[self.ITEM_SEQ].cpu().numpy(), interaction[self.ITEM_SEQ_LEN].cpu().numpy()
        return [(row[:length][-self.max_history :] - 1).tolist() for row, length in zip(items, lengths, strict=True)]

    def _padded_prompts(self, histories: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        prompts = [self._prompt(history, self.decoding.template) for history in histories]
        ids, mask = pad_prompts(tokenize_prompts(self.tokenizer, prompts), int(self.tokenizer.pad_token_id))
        return ids.to(self.llm.device), mask.to(self.llm.device)

    def instruction_source(self, dataset: LCRecDataset) -> TuningData:
        """The tuning data of a training split, in this model's wording and length."""
        lengths = TextLengths(self.tokenizer)
        history = history_text([self.item_texts[0]] * self.max_history)
        limits = TextLimits(
            lengths, self.longest_row, self.max_history, int(lengths.count([history])[0]), self.index.levels
        )
        return dataset.instructions(self.tuning, self.templates, limits)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Eq. 7 on one batch of RecBole's training rows, so that RecBole's plain Trainer can train the model.

        Args:
            interaction: histories [B, L] with lengths [B] and targets [B].

        Returns:
            Scalar: mean negative log-likelihood per response token, in nats.
        """
        group = self.templates.tasks["seq"]
        instructions = []
        for history, target in zip(self._histories(interaction), interaction[self.POS_ITEM_ID].tolist(), strict=True):
            prompt = self._prompt(history, int(self._rng.integers(len(group))))
            instructions.append(Instruction(prompt, self.item_texts[target - 1], self.tuning.seq_format != "stream"))
        batch = InstructionCollator(self.tokenizer, self.tuning.max_length)(instructions)
        ids, labels = padded_group(batch, np.arange(len(instructions)), int(self.tokenizer.pad_token_id))
        device = self.llm.device
        total = response_loss(self.llm, self.llm.get_output_embeddings(), ids.to(device), labels.to(device))
        return total / (labels != IGNORED).sum()

    def full_sort_predict(self, interaction: Any, extra_beams: int = 0) -> Tensor:
        """Scores of the whole catalogue by trie-constrained beam search (paper III-D2).

        Args:
            interaction: histories [B, L] with lengths [B].
            extra_beams: beams on top of ``decoding_beam_size``, for items that are masked afterwards.

        Returns:
            float32 [B, n_items] with RecBole's item ids as columns: the log-probability (nats) of a decoded item's
            index, -inf for every other item.
        """
        histories = self._histories(interaction)
        scores = torch.full((len(histories), self.n_items), -torch.inf, device=self.device)
        self.trie = self.trie.to(self.llm.device)
        # users of like length share a batch, so that little of it is padding
        order = sorted(range(len(histories)), key=lambda user: len(histories[user]))
        for start in range(0, len(order), self.decoding.batch_size):
            users = order[start : start + self.decoding.batch_size]
            ids, mask = self._padded_prompts([histories[user] for user in users])
            beams = beam_search(self.llm, ids, mask, self.trie, self.decoding.beam_size + extra_beams)
            rows = torch.tensor(users, device=self.device).unsqueeze(1)
            scores[rows, beams.items.to(self.device) + 1] = beams.log_probs.to(self.device)
        return scores

    @torch.no_grad()
    def predict(self, interaction: Any) -> Tensor:
        """Scores of given pairs by teacher forcing, for RecBole's sampled evaluation.

        Args:
            interaction: histories [B, L] with lengths [B] and an item [B] each; rows with the same history share its
                forward pass.

        Returns:
            float32 [B]: log-probability (nats) of each row's item index.
        """
        histories = self._histories(interaction)
        targets = interaction[self.ITEM_ID].cpu().numpy() - 1
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, history in enumerate(histories):
            groups.setdefault(tuple(history), []).append(row)
        scores = torch.empty(len(histories), device=self.device)
        token_ids = self.item_token_ids.to(self.llm.device)
        distinct = list(groups.items())
        for start in range(0, len(distinct), self.decoding.batch_size):
            chunk = distinct[start : start + self.decoding.batch_size]
            items = np.full((len(chunk), max(len(rows) for _, rows in chunk)), -1, dtype=np.int64)
            for user, (_, rows) in enumerate(chunk):
                items[user, : len(rows)] = targets[rows]
            ids, mask = self._padded_prompts([history for history, _ in chunk])
            result = score_items(self.llm, ids, mask, token_ids, torch.from_numpy(items).to(self.llm.device))
            for user, (_, rows) in enumerate(chunk):
                scores[rows] = result[user, : len(rows)].to(self.device)
        return scores

    def load_weights(self, folder: Path) -> None:
        """Replaces the language model, or its adapter, by one that was saved from this model.

        Raises:
            ValueError: the folder holds no model.
        """
        whole_here = not any(hasattr(parameter, "ds_id") for parameter in self.llm.parameters())  # not after ZeRO-3
        if isinstance(self.llm, PeftModel) and is_adapter_folder(folder) and whole_here:
            load_adapter_weights(self.llm, folder)
            return
        dtype = self.llm.get_base_model().dtype if isinstance(self.llm, PeftModel) else None
        del self.llm  # two would not fit a card that one fills
        self.llm = load_saved(folder, self.attention, dtype=dtype).to(self.device)
        self.llm.train(self.training)
