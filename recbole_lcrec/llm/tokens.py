"""Index tokens in a tokenizer, and text to token ids.

Knows tokenizers, index tokens and instructions. Refuses to know models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase
from transformers.tokenization_utils_base import AddedToken

from recbole_lcrec.instructions.templates import Instruction

__all__ = [
    "TokenRow",
    "add_index_tokens",
    "item_token_ids",
    "token_rows",
    "tokenize_instructions",
    "tokenize_prompts",
    "without_end",
]


@dataclass(frozen=True)
class TokenRow:
    """An instruction as token ids: what is read, and what is learned."""

    prompt: list[int]
    response: list[int]


def add_index_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> int:
    """Appends the index tokens that the tokenizer lacks.

    Returns:
        How many were added.
    """
    known = tokenizer.get_vocab()
    # not normalized: a tokenizer that lowers letters or puts marks for blanks would look for another text; no blank
    # beside a token is swallowed, so that the words around it stay as they are written
    exact = {"normalized": False, "lstrip": False, "rstrip": False, "single_word": False}
    missing = [AddedToken(token, **exact) for token in tokens if token not in known]
    return int(tokenizer.add_tokens(missing))


def item_token_ids(tokenizer: PreTrainedTokenizerBase, item_tokens: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Token ids of every item's index, checked to be what the tokenizer makes of it inside a text.

    Args:
        tokenizer: after :func:`add_index_tokens`.
        item_tokens: N tuples of H index tokens.

    Returns:
        int64 [N, H].

    Raises:
        ValueError: the tokenizer lacks an index token, splits it, or puts something between two of them.
    """
    vocabulary = tokenizer.get_vocab()
    distinct = sorted({token for tokens in item_tokens for token in tokens})
    missing = [token for token in distinct if token not in vocabulary]
    if missing:
        raise ValueError(f"the tokenizer lacks {len(missing)} index tokens, {missing[0]!r} for one")
    probes = [f"a {token}, {token}{token}." for token in distinct]
    for token, ids in zip(distinct, tokenizer(probes, add_special_tokens=False)["input_ids"], strict=True):
        places = [place for place, each in enumerate(ids) if each == vocabulary[token]]
        if len(places) != 3:
            raise ValueError(
                f"the tokenizer does not keep the index token {token!r} whole within a text; use another base_model"
            )
        if places[2] != places[1] + 1:
            raise ValueError(
                f"the tokenizer puts {ids[places[1] + 1 : places[2]]} between two index tokens {token!r}, a blank for "
                "one; use another base_model"
            )
    ids = np.array([[vocabulary[token] for token in tokens] for tokens in item_tokens], dtype=np.int64)
    sample = range(0, len(item_tokens), max(len(item_tokens) // 100, 1))
    for row in sample:
        encoded = tokenizer("".join(item_tokens[row]), add_special_tokens=False)["input_ids"]
        if encoded != ids[row].tolist():
            raise ValueError(
                f"the tokenizer turns the index {''.join(item_tokens[row])!r} into {encoded}; use another base_model"
            )
    return ids


def tokenize_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts, with the tokenizer's start token where it has one and never an end token."""
    return without_end(tokenizer(list(prompts), add_special_tokens=True)["input_ids"], tokenizer.eos_token_id)


def without_end(rows: Sequence[list[int]], end: int | None) -> list[list[int]]:
    """Prompts without the end token that some tokenizers put after every text."""
    return [row[:-1] if len(row) > 1 and row[-1] == end else row for row in rows]


def tokenize_instructions(
    tokenizer: PreTrainedTokenizerBase, instructions: Sequence[Instruction], max_length: int
) -> list[TokenRow]:
    """Token ids of instructions; an end token follows every closed response.

    Raises:
        ValueError: an instruction has more than ``max_length`` tokens. Nothing is cut off.
    """
    prompts = tokenize_prompts(tokenizer, [each.prompt for each in instructions])
    responses = tokenizer([each.response for each in instructions], add_special_tokens=False)["input_ids"]
    return token_rows(instructions, prompts, responses, tokenizer.eos_token_id, max_length)


def token_rows(
    instructions: Sequence[Instruction],
    prompts: Sequence[list[int]],
    responses: Sequence[list[int]],
    end: int | None,
    max_length: int,
) -> list[TokenRow]:
    """Rows of instructions whose texts are token ids already.

    Args:
        instructions: tell which responses are closed.
        prompts: token ids of each prompt.
        responses: token ids of each response, without an end token.
        end: follows every closed response; None: the tokenizer has no end token.
        max_length: most tokens of a row.

    Raises:
        ValueError: an instruction has more than ``max_length`` tokens. Nothing is cut off.
    """
    closing = [] if end is None else [end]
    rows = []
    for instruction, prompt, response in zip(instructions, prompts, responses, strict=True):
        rows.append(TokenRow(prompt, response + closing if instruction.closed else response))
        if len(prompt) + len(rows[-1].response) > max_length:
            raise ValueError(
                f"an instruction has {len(prompt)} + {len(rows[-1].response)} tokens, more than tuning_max_length = "
                f"{max_length}; raise it (the prompt begins {instruction.prompt[:60]!r})"
            )
    return rows
