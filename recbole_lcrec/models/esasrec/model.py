"""eSASRec: SASRec's objective at every position, with LiGR layers and a sampled softmax."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recbole_lcrec.models.esasrec.layers import LiGRLayer
from recbole_lcrec.models.esasrec.settings import LiGRSettings
from recbole_lcrec.models.next_item import initialize
from recbole_lcrec.models.whole_sequences import WholeSequenceModel

__all__ = ["eSASRec"]


class eSASRec(WholeSequenceModel):
    """Causal LiGR layers over items and positions; a user's sequence is one row with a target at every position."""

    def __init__(self, config: Any, dataset: Any) -> None:
        """Build the network.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.
            dataset: the training split.
        """
        super().__init__(config, dataset)
        sizes: LiGRSettings = config.stage(LiGRSettings)
        self.n_negatives = sizes.n_negatives
        self.item_embedding = nn.Embedding(self.n_items, sizes.hidden_size, padding_idx=0)
        self.position_embedding = nn.Embedding(self.max_seq_length, sizes.hidden_size)
        self.dropout = nn.Dropout(sizes.dropout_prob)
        self.layers = nn.ModuleList(
            LiGRLayer(sizes.hidden_size, sizes.n_heads, sizes.inner_size, sizes.dropout_prob)
            for _ in range(sizes.n_layers)
        )
        initialize(self, sizes.initializer_range)

    def states(self, item_seq: Tensor) -> Tensor:
        """Encode sequences causally; positions count back from each sequence's last item, whose position is 0."""
        real = item_seq > 0
        positions = real.flip(1).cumsum(1).flip(1) - real.long()
        states = self.dropout(self.item_embedding(item_seq) + self.position_embedding(positions))
        for layer in self.layers:
            states = layer(states)
        encoded: Tensor = states
        return encoded

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Return the sampled softmax loss, averaged over positions (paper II).

        Negative items are drawn uniformly from the catalogue, anew for each user of the batch; the positions of a user
        share them, which takes L times less memory than negatives of their own. A negative that is the target of a
        position is left out there.

        Args:
            interaction: sequences [B, L] and the item that follows at each position [B, L], 0 where there is none.
        """
        item_seq, targets = interaction[self.ITEM_SEQ], interaction[self.POS_ITEM_ID]
        negatives = torch.randint(1, self.n_items, (len(item_seq), self.n_negatives), device=item_seq.device)
        states = self.states(item_seq)
        right = (states * self.item_embedding(targets)).sum(-1, keepdim=True)
        wrong = states @ self.item_embedding(negatives).transpose(1, 2)  # [B, L, negatives]
        wrong = wrong.masked_fill(negatives.unsqueeze(1) == targets.unsqueeze(2), -torch.inf)
        log_probabilities = torch.cat([right, wrong], dim=-1).log_softmax(-1)[..., 0]
        return -log_probabilities[targets > 0].mean()
