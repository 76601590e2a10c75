"""SASRec with binary cross entropy at every position of a sequence."""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.layers import TransformerEncoder
from torch import Tensor, nn

from recbole_lcrec.bridge.training_sequences import training_sequences_of
from recbole_lcrec.models.next_item import initialize
from recbole_lcrec.models.sasrec_bce.settings import EncoderSettings, NegativeSettings
from recbole_lcrec.models.whole_sequences import WholeSequenceModel, uniform_negatives

__all__ = ["SASRecBCE"]


class SASRecBCE(WholeSequenceModel):
    """SASRec's network from RecBole's layers, trained as in its paper (III-E).

    RecBole's SASRec takes each prefix of a sequence as a row with one target. Here a user's sequence is one row: the
    causal encoder predicts the next item at every position, beside one item that the user did not have, or beside many
    that all positions of a step share.

    Attributes:
        negatives: number of negative items, and the power of the popularity by which many are drawn.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        """Build the network.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.
            dataset: the training split.
        """
        super().__init__(config, dataset)
        sizes: EncoderSettings = config.stage(EncoderSettings)
        self.negatives: NegativeSettings = config.stage(NegativeSettings)
        items = torch.from_numpy(training_sequences_of(dataset).items + 1)
        counts = torch.bincount(items, minlength=self.n_items).double()
        weights = counts**self.negatives.popularity  # of an item that nobody has: 1 at power 0, else 0
        weights[0] = 0
        self.register_buffer("negative_weights", weights, persistent=False)
        self.item_embedding = nn.Embedding(self.n_items, sizes.hidden_size, padding_idx=0)
        self.position_embedding = nn.Embedding(self.max_seq_length, sizes.hidden_size)
        self.norm = nn.LayerNorm(sizes.hidden_size, eps=sizes.layer_norm_eps)
        self.dropout = nn.Dropout(sizes.hidden_dropout_prob)
        self.encoder = TransformerEncoder(
            n_layers=sizes.n_layers,
            n_heads=sizes.n_heads,
            hidden_size=sizes.hidden_size,
            inner_size=sizes.inner_size,
            hidden_dropout_prob=sizes.hidden_dropout_prob,
            attn_dropout_prob=sizes.attn_dropout_prob,
            hidden_act=sizes.hidden_act,
            layer_norm_eps=sizes.layer_norm_eps,
        )
        initialize(self, sizes.initializer_range)

    def states(self, item_seq: Tensor) -> Tensor:
        """Encode sequences causally; see :meth:`WholeSequenceModel.states`."""
        positions = torch.arange(item_seq.size(1), device=item_seq.device)
        inputs = self.item_embedding(item_seq) + self.position_embedding(positions)
        inputs = self.dropout(self.norm(inputs))
        encoded: Tensor = self.encoder(inputs, self.get_attention_mask(item_seq), output_all_encoded_layers=False)[-1]
        return encoded

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Return the binary cross entropy of targets and negatives, averaged over positions (paper III-E).

        Negatives that all positions share do not count where they are the target.

        Args:
            interaction: sequences [B, L] and the item that follows at each position [B, L], 0 where there is none.
        """
        item_seq, targets = interaction[self.ITEM_SEQ], interaction[self.POS_ITEM_ID]
        real = targets > 0
        if self.negatives.count == 1:
            drawn = uniform_negatives(item_seq, targets, self.n_items)[real].unsqueeze(1)  # [P, 1]
        else:
            weights: Tensor = self.negative_weights
            drawn = torch.multinomial(weights, self.negatives.count, replacement=True)  # [count]
        states, followers = self.states(item_seq)[real], targets[real]  # [P, H], [P]
        right = nn.functional.logsigmoid((states * self.item_embedding(followers)).sum(-1))
        wrong = nn.functional.logsigmoid(-_products(states, self.item_embedding(drawn)))  # [P, count]
        wrong = wrong.masked_fill(drawn == followers.unsqueeze(1), 0.0)
        return -(right + wrong.sum(1)).mean()


def _products(states: Tensor, items: Tensor) -> Tensor:
    """Return products [P, N] of states [P, H] with items of their own [P, N, H], or with shared ones [N, H]."""
    return states @ items.T if items.dim() == 2 else (states.unsqueeze(1) @ items.transpose(1, 2)).squeeze(1)
