"""Base of models that score every item by the product of its embedding and a state of the history."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

__all__ = ["NextItemModel", "initialize"]


class NextItemModel(SequentialRecommender):
    """A sequential model with an embedding of each item; a subclass implements :meth:`forward` and the loss.

    Attributes:
        item_embedding: embeddings [n_items, H] of the items, those of the input and of the output.
    """

    item_embedding: nn.Embedding

    @abstractmethod
    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Return the state of each history.

        Args:
            item_seq: int64 [B, L], item ids, oldest first, padded with 0 at the end.
            item_seq_len: int64 [B], number of items of each.

        Returns:
            [B, H].
        """

    def predict(self, interaction: Any) -> Tensor:
        """Score one item [B] after each history; returns [B]."""
        state = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return (state * self.item_embedding(interaction[self.ITEM_ID])).sum(-1)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """Score the whole catalogue; returns [B, n_items] with RecBole's item ids as columns."""
        state = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return state @ self.item_embedding.weight.T


def initialize(model: nn.Module, std: float) -> None:
    """Draw the weights of all linear layers and embeddings from a normal distribution, and set biases and padding to 0.

    Args:
        model: its layers are changed in place, as RecBole's SASRec changes its own.
        std: standard deviation of the weights.
    """
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
