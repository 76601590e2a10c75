"""LiGR layers (Borisyuk et al., 2025, arXiv 2502.03417): residual branches behind learned gates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LiGRLayer"]


class LiGRLayer(nn.Module):
    """One causal layer: x + gate(x) * branch(norm(x)), for attention and then for a SwiGLU feed-forward network.

    Each gate is the logistic function of a linear map of the branch's input before normalisation.
    """

    def __init__(self, hidden_size: int, n_heads: int, inner_size: int, dropout: float) -> None:
        """Build the layer.

        Args:
            hidden_size: width H.
            n_heads: number of attention heads; divides H.
            inner_size: width F of the feed-forward network.
            dropout: of attention weights, of the inner activations and of both branches.
        """
        super().__init__()
        self.n_heads, self.attention_dropout = n_heads, dropout
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size)
        self.attention_output = nn.Linear(hidden_size, hidden_size)
        self.inner = nn.Linear(hidden_size, 2 * inner_size, bias=False)
        self.feed_forward_output = nn.Linear(inner_size, hidden_size, bias=False)
        self.attention_gate, self.feed_forward_gate = (nn.Linear(hidden_size, hidden_size) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Return the states [B, L, H] after this layer; position t sees the positions 0 .. t."""
        attended = self.dropout(self._attend(self.attention_norm(states)))
        states = states + torch.sigmoid(self.attention_gate(states)) * attended
        fed = self.dropout(self._feed_forward(self.feed_forward_norm(states)))
        return states + torch.sigmoid(self.feed_forward_gate(states)) * fed

    def _attend(self, states: Tensor) -> Tensor:
        heads = self.query_key_value(states).unflatten(-1, (3, self.n_heads, -1)).transpose(1, 3)  # [B, heads, 3, L, h]
        query, key, value = heads.unbind(2)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        output: Tensor = self.attention_output(mixed.transpose(1, 2).flatten(2))
        return output

    def _feed_forward(self, states: Tensor) -> Tensor:
        gate, value = self.inner(states).chunk(2, dim=-1)
        output: Tensor = self.feed_forward_output(self.dropout(nn.functional.silu(gate) * value))
        return output
