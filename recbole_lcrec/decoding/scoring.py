"""Score given items by teacher forcing, all candidates of a user in one pass.

A prefix that several candidates share is read once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_lcrec.decoding.candidate_trie import CandidateTrie
from recbole_lcrec.decoding.next_tokens import require_normalizer
from recbole_lcrec.decoding.prompt_batch import PromptBatch
from recbole_lcrec.decoding.readers.base import Reader
from recbole_lcrec.decoding.trie import Trie

__all__ = ["score_items"]


def score_items(
    reader: Reader, prompts: PromptBatch, trie: Trie, items: Tensor, normalizer: str = "full", n_templates: int = 1
) -> Tensor:
    """Score given items of each user; the scores equal those of :func:`beam_search`.

    Args:
        reader: the language model.
        prompts: R = B x ``n_templates`` prompts; a user's prompts are adjacent.
        trie: the N allowed items, on the prompts' device.
        items: item rows to score [B, C], int64; -1 is padding. An item may occur twice.
        normalizer: ``full`` or ``legal``, as in :func:`beam_search`.
        n_templates: prompts per user; their scores are added.

    Returns:
        Log-probabilities [B, C], float32, nats; minus infinity for padding.

    Raises:
        ValueError: shapes do not match, the normaliser is unknown, an item does not exist or is not allowed, a prompt
            is too long for the model, or the model lacks an index token.
        RuntimeError: a logit is not finite.
    """
    require_normalizer(normalizer)
    if n_templates < 1:
        raise ValueError(f"n_templates={n_templates}: must be at least 1")
    n_users = len(prompts) // n_templates
    if items.ndim != 2 or items.shape[0] * n_templates != len(prompts) or items.shape[1] == 0:
        raise ValueError(
            f"items: shape {list(items.shape)}; must be [B, C] for the {len(prompts)} prompts, {n_templates} per user"
        )
    candidates = CandidateTrie.of(trie, items)
    reader.check(int(prompts.lengths.max()), trie.n_levels - 1, trie.max_token)
    with torch.no_grad():
        branches, states = reader.read(prompts, sum(nodes.shape[1] for nodes in candidates.nodes[:-1]))
        parent_nodes = torch.zeros((n_users, 1), dtype=torch.int64, device=items.device)  # the root
        scores = torch.zeros((n_users, 1), dtype=torch.float32, device=items.device)
        for level in range(trie.n_levels):
            nodes, parents = candidates.nodes[level], candidates.parents[level]
            children = trie.children(parent_nodes, level)
            level_tokens = trie.level_tokens(level) if normalizer == "legal" else None
            steps = reader.log_probs(
                states,
                children.tokens.repeat_interleave(n_templates, dim=0),
                children.legal.repeat_interleave(n_templates, dim=0),
                level_tokens,
            )
            steps = steps.unflatten(0, (n_users, n_templates)).sum(1)
            # children of a node are numbered consecutively, so a child's column is its distance to the first one
            columns = nodes - children.nodes[..., 0].gather(1, parents)
            positions = parents * steps.shape[-1] + columns.clamp(0, steps.shape[-1] - 1)
            scores = scores.gather(1, parents) + steps.flatten(1).gather(1, positions)
            parent_nodes = nodes
            if level < trie.n_levels - 1:
                states = branches.extend(
                    candidates.tokens[level].repeat_interleave(n_templates, dim=0),
                    parents.repeat_interleave(n_templates, dim=0),
                )
        return scores.gather(1, candidates.leaf_of_candidate).masked_fill(~candidates.present, -torch.inf)
