"""Add index tokens to a tokenizer, and turn prompts and instructions into token ids."""

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
    "strip_end",
    "token_rows",
    "tokenize_instructions",
    "tokenize_prompts",
]


@dataclass(frozen=True)
class TokenRow:
    """An instruction as token ids of prompt and response; the loss is on the response."""

    prompt: list[int]
    response: list[int]


def add_index_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[str]:
    """Add the index tokens that the tokenizer lacks.

    Returns:
        The added tokens.
    """
    known = tokenizer.get_vocab()
    # not normalized: a tokenizer that lowercases or marks blanks would search for a different text; blanks beside a
    # token are kept, so that the words around it do not change
    exact = {"normalized": False, "lstrip": False, "rstrip": False, "single_word": False}
    missing = [token for token in tokens if token not in known]
    tokenizer.add_tokens([AddedToken(token, **exact) for token in missing])
    return missing


def item_token_ids(tokenizer: PreTrainedTokenizerBase, item_tokens: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Return token ids of every item's index, and check that the tokenizer gives the same ids inside a text.

    Args:
        tokenizer: a tokenizer with all index tokens; see :func:`add_index_tokens`.
        item_tokens: N tuples of H index tokens.

    Returns:
        Token ids [N, H], int64.

    Raises:
        ValueError: the tokenizer lacks an index token, splits it, or puts something between two of them.
    """
    vocabulary = tokenizer.get_vocab()
    distinct = sorted({token for tokens in item_tokens for token in tokens})
    missing = [token for token in distinct if token not in vocabulary]
    if missing:
        raise ValueError(
            f"the tokenizer lacks {len(missing)} index tokens, such as {missing[0]!r}; call add_index_tokens()"
        )
    probes = [f"a {token}, {token}{token}." for token in distinct]
    for token, ids in zip(distinct, tokenizer(probes, add_special_tokens=False)["input_ids"], strict=True):
        places = [place for place, each in enumerate(ids) if each == vocabulary[token]]
        if len(places) != 3:
            raise ValueError(f"the tokenizer splits the index token {token!r} inside a text; use another base_model")
        if places[2] != places[1] + 1:
            raise ValueError(
                f"the tokenizer inserts {ids[places[1] + 1 : places[2]]} between two index tokens {token!r}, such as a "
                "blank; use another base_model"
            )
    ids = np.array([[vocabulary[token] for token in tokens] for tokens in item_tokens], dtype=np.int64)
    sample = range(0, len(item_tokens), max(len(item_tokens) // 100, 1))
    for row in sample:
        encoded = tokenizer("".join(item_tokens[row]), add_special_tokens=False)["input_ids"]
        if encoded != ids[row].tolist():
            raise ValueError(
                f"the tokenizer encodes the index {''.join(item_tokens[row])!r} as {encoded}; use another base_model"
            )
    return ids


def tokenize_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Return token ids of prompts, with the tokenizer's start token if it has one, and without an end token."""
    return strip_end(tokenizer(list(prompts), add_special_tokens=True)["input_ids"], tokenizer.eos_token_id)


def strip_end(rows: Sequence[list[int]], end: int | None) -> list[list[int]]:
    """Return prompts without the end token that some tokenizers add to every text."""
    return [row[:-1] if len(row) > 1 and row[-1] == end else row for row in rows]


def tokenize_instructions(
    tokenizer: PreTrainedTokenizerBase, instructions: Sequence[Instruction], max_length: int
) -> list[TokenRow]:
    """Return token ids of instructions; an end token follows every closed response.

    Raises:
        ValueError: an instruction has more than ``max_length`` tokens; instructions are never truncated.
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
    """Return the rows of instructions that are already tokenized.

    Args:
        instructions: the instructions, which define whether a response is closed.
        prompts: token ids of each prompt.
        responses: token ids of each response, without an end token.
        end: id of the end token, which follows every closed response; None: the tokenizer has none.
        max_length: largest number of tokens of a row.

    Raises:
        ValueError: an instruction has more than ``max_length`` tokens; instructions are never truncated.
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
