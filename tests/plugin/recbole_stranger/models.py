"""A language model over index tokens alone, and a bag of item vectors that scores candidates."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import GPT2Config, GPT2LMHeadModel

from recbole_lcrec.config.settings import DecodingSettings, IndexSettings, StageSettings, TextSettings, setting
from recbole_lcrec.config.value_checks import integer
from recbole_lcrec.decoding import open_reader
from recbole_lcrec.models.base import GenerativeRecommender, Scorer


@dataclass(frozen=True)
class GPTSettings(StageSettings):
    prefix = "gpt_"
    width: int = setting(integer(4))


SETTINGS = (TextSettings, IndexSettings, DecodingSettings, GPTSettings)


class TinyGPT(GenerativeRecommender):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        sizes = self.index.codebook_sizes
        self.tokens = self.index.codes + np.cumsum([1, *sizes[:-1]])  # 0 begins every prompt
        width = config.stage(GPTSettings).width
        places = self.max_seq_length * len(sizes) + len(sizes) + 1
        self.network = GPT2LMHeadModel(
            GPT2Config(vocab_size=1 + sum(sizes), n_positions=places, n_embd=width, n_layer=1, n_head=2)
        )
        self.use_index_tokens(self.tokens)

    def open_reader(self):
        return open_reader(self.network, self.decoding.search)

    def write_prompts(self, histories):
        return [[[0, *self.tokens[history].ravel().tolist()]] for history in histories]

    def calculate_loss(self, interaction):
        prompts = self.write_prompts(self.histories(interaction))
        targets = self.tokens[interaction[self.POS_ITEM_ID].cpu().numpy() - 1]
        rows = [torch.tensor([*prompt, *target]) for (prompt,), target in zip(prompts, targets, strict=True)]
        labels = [row.clone().index_fill_(0, torch.arange(len(row) - targets.shape[1]), -100) for row in rows]
        ids, labels = pad_sequence(rows, batch_first=True), pad_sequence(labels, batch_first=True, padding_value=-100)
        return self.network(input_ids=ids.to(self.device), labels=labels.to(self.device)).loss


class ItemBag(Scorer):
    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.items = torch.nn.Embedding(self.n_items, config["bag_width"], padding_idx=0)

    def user(self, history):
        return self.items(torch.tensor(history, device=self.device) + 1).mean(0)

    def score_candidates(self, histories, candidates):
        rows = [self.items(torch.tensor(items, device=self.device) + 1) for items in candidates]
        users = map(self.user, histories)
        return [(items @ user).detach().cpu().numpy() for user, items in zip(users, rows, strict=True)]

    def calculate_loss(self, interaction):
        users = torch.stack([self.user(history) for history in self.histories(interaction)])
        return cross_entropy(users @ self.items.weight.T, interaction[self.POS_ITEM_ID])
