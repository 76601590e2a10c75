"""FMLP-Rec: an MLP whose blocks filter a sequence in the frequency domain."""

from __future__ import annotations

from typing import Any

import torch
from recbole.model.layers import FeedForward
from recbole.model.loss import BPRLoss
from torch import Tensor, nn

from recbole_lcrec.models.fmlprec.settings import FilterSettings
from recbole_lcrec.models.next_item import NextItemModel, initialize

__all__ = ["FMLPRec", "FilterLayer", "padded_left"]


class FilterLayer(nn.Module):
    """A learnable filter (paper 3.2.1): its output is LayerNorm(x + Dropout(inverse FFT(W * FFT(x)))).

    Attributes:
        weight: [L // 2 + 1, H, 2], real and imaginary part of the filter W at each frequency and width.
    """

    def __init__(self, length: int, hidden_size: int, dropout: float, layer_norm_eps: float, std: float) -> None:
        """Build the layer.

        Args:
            length: number L of positions.
            hidden_size: width H.
            dropout: of the filtered sequence.
            layer_norm_eps: epsilon of the layer normalisation.
            std: standard deviation of the initial filter.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.randn(length // 2 + 1, hidden_size, 2) * std)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    def forward(self, inputs: Tensor) -> Tensor:
        """Filter sequences along their positions; [B, L, H] in and out."""
        frequencies = torch.fft.rfft(inputs, dim=1, norm="ortho") * torch.view_as_complex(self.weight)
        filtered = torch.fft.irfft(frequencies, n=inputs.size(1), dim=1, norm="ortho")
        output: Tensor = self.norm(inputs + self.dropout(filtered))
        return output


class FMLPRec(NextItemModel):
    """Blocks of a filter layer and a feed-forward layer (paper 3.2); the last position is the state of the history.

    A filter mixes all positions, so a row has one target, as RecBole's training rows do. The paper pads sequences on
    the left, RecBole on the right: the rows are moved, so that the newest item is always at the last position and the
    filters are the paper's. RecBole takes from ``loss_type`` whether rows carry a negative item.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        """Build the network.

        Args:
            config: a :class:`recbole_lcrec.config.configurator.Config`.
            dataset: the training split.
        """
        super().__init__(config, dataset)
        sizes: FilterSettings = config.stage(FilterSettings)
        width, eps = sizes.hidden_size, sizes.layer_norm_eps
        self.item_embedding = nn.Embedding(self.n_items, width, padding_idx=0)
        self.position_embedding = nn.Embedding(self.max_seq_length, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(sizes.hidden_dropout_prob)
        self.blocks = nn.Sequential()
        for _ in range(sizes.n_layers):
            std = sizes.initializer_range
            self.blocks.append(FilterLayer(self.max_seq_length, width, sizes.hidden_dropout_prob, eps, std))
            self.blocks.append(FeedForward(width, sizes.inner_size, sizes.hidden_dropout_prob, sizes.hidden_act, eps))
        self.pairwise = BPRLoss() if sizes.loss_type == "BPR" else None
        initialize(self, sizes.initializer_range)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Return [B, H], the last position after all blocks; see :meth:`NextItemModel.forward`."""
        items = padded_left(item_seq, item_seq_len)
        positions = torch.arange(items.size(1), device=items.device)
        inputs = self.dropout(self.norm(self.item_embedding(items) + self.position_embedding(positions)))
        state: Tensor = self.blocks(inputs)[:, -1]
        return state

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Return the cross entropy over all items, or the paper's pairwise loss with one negative item (``BPR``).

        Args:
            interaction: RecBole's training rows: histories, lengths, the next item of each, and for ``BPR`` an item
                that the user does not have.
        """
        state = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        targets = interaction[self.POS_ITEM_ID]
        if self.pairwise is None:
            return nn.functional.cross_entropy(state @ self.item_embedding.weight.T, targets)
        right, wrong = (
            (state * self.item_embedding(items)).sum(-1) for items in (targets, interaction[self.NEG_ITEM_ID])
        )
        loss: Tensor = self.pairwise(right, wrong)
        return loss


def padded_left(item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
    """Move the padding of each row to its beginning.

    Args:
        item_seq: int64 [B, L], padded with 0 at the end.
        item_seq_len: int64 [B], number of items of each row.

    Returns:
        int64 [B, L], padded with 0 at the beginning.
    """
    length = item_seq.size(1)
    columns = torch.arange(length, device=item_seq.device) + (item_seq_len.unsqueeze(1) - length)
    return item_seq.gather(1, columns.clamp(min=0)).masked_fill(columns < 0, 0)
