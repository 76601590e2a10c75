"""Log-probabilities of given items by teacher forcing, all of a user's in one pass.

Knows how to walk the part of the trie that a user's candidates span: a prefix that several of them share is read once.
Refuses to know which candidates are asked for and why (sampled evaluation, re-ranking), and searches nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_lcrec.decoding.candidate_trie import span
from recbole_lcrec.decoding.next_tokens import require_normalizer
from recbole_lcrec.decoding.prompt_batch import Prompts
from recbole_lcrec.decoding.readers.base import Reader
from recbole_lcrec.decoding.trie import Trie

__all__ = ["score_items"]


def score_items(
    reader: Reader, prompts: Prompts, trie: Trie, items: Tensor, normalizer: str = "full", n_templates: int = 1
) -> Tensor:
    """Scores given items of each user, with the same scores as ``beam_search``.

    Args:
        reader: the language model.
        prompts: R = B x ``n_templates`` prompts, those of a user next to each other.
        trie: the N existing items, on the prompts' device.
        items: item rows to score [B, C], int64, from 0 to N - 1; -1 is padding. An item may come twice.
        normalizer: ``full`` or ``legal``, as in ``beam_search``.
        n_templates: prompts per user; their scores are added.

    Returns:
        Log-probabilities [B, C], float32, nats; minus infinity for padding.

    Raises:
        ValueError: if shapes do not fit, the normaliser is unknown, an item does not exist, a prompt is too long for
            the model, or the model lacks an index token.
        RuntimeError: if a logit is not finite.
    """
    require_normalizer(normalizer)
    if n_templates < 1:
        raise ValueError(f"n_templates={n_templates}: must be at least 1")
    n_users = len(prompts) // n_templates
    if items.ndim != 2 or items.shape[0] * n_templates != len(prompts) or items.shape[1] == 0:
        raise ValueError(
            f"items: shape {list(items.shape)}; must be [B, C] for the {len(prompts)} prompts, {n_templates} of a user"
        )
    spanned = span(trie, items)
    reader.check(int(prompts.lengths.max()), trie.n_levels - 1, trie.max_token)
    with torch.no_grad():
        branches, states = reader.read(prompts, sum(nodes.shape[1] for nodes in spanned.nodes[:-1]))
        parents_of = torch.zeros((n_users, 1), dtype=torch.int64, device=items.device)  # the root
        scores = torch.zeros((n_users, 1), dtype=torch.float32, device=items.device)
        for level in range(trie.n_levels):
            nodes, parents = spanned.nodes[level], spanned.parents[level]
            candidates = trie.children(parents_of, level)
            among = trie.level_tokens(level) if normalizer == "legal" else None
            steps = reader.log_probs(
                states,
                candidates.tokens.repeat_interleave(n_templates, dim=0),
                candidates.legal.repeat_interleave(n_templates, dim=0),
                among,
            )
            steps = steps.unflatten(0, (n_users, n_templates)).sum(1)
            # a child stands as far from its parent's first child as in the numbering of nodes
            places = nodes - candidates.nodes[..., 0].gather(1, parents)
            wanted = parents * steps.shape[-1] + places.clamp(0, steps.shape[-1] - 1)
            scores = scores.gather(1, parents) + steps.flatten(1).gather(1, wanted)
            parents_of = nodes
            if level < trie.n_levels - 1:
                states = branches.extend(
                    spanned.tokens[level].repeat_interleave(n_templates, dim=0),
                    parents.repeat_interleave(n_templates, dim=0),
                )
        return scores.gather(1, spanned.leaf_of_candidate).masked_fill(~spanned.present, -torch.inf)
