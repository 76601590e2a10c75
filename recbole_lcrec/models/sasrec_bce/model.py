"""SASRec with binary cross entropy at every position of a sequence."""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.layers import TransformerEncoder
from torch import Tensor, nn

from recbole_lcrec.models.next_item import initialize
from recbole_lcrec.models.sasrec_bce.settings import EncoderSettings
from recbole_lcrec.models.whole_sequences import WholeSequenceModel, uniform_negatives

__all__ = ["SASRecBCE"]


class SASRecBCE(WholeSequenceModel):
    """SASRec's network from RecBole's layers, trained as in its paper (III-E).

    RecBole's SASRec takes each prefix of a sequence as a row with one target. Here a user's sequence is one row: the
    causal encoder predicts the next item at every position, beside one item that the user did not have.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        """Build the network.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.
            dataset: the training split.
        """
        super().__init__(config, dataset)
        sizes: EncoderSettings = config.stage(EncoderSettings)
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

        Args:
            interaction: sequences [B, L] and the item that follows at each position [B, L], 0 where there is none.
        """
        item_seq, targets = interaction[self.ITEM_SEQ], interaction[self.POS_ITEM_ID]
        negatives = uniform_negatives(item_seq, targets, self.n_items)
        states, real = self.states(item_seq), targets > 0
        scores = [(states * self.item_embedding(items)).sum(-1)[real] for items in (targets, negatives)]
        return -(nn.functional.logsigmoid(scores[0]) + nn.functional.logsigmoid(-scores[1])).mean()
