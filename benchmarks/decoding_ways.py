"""The ways from prompts to items that ``decoding_speed.py`` compares, and the prompt's forward pass as their floor.

Knows how each way takes prompts in batches of like length. Refuses to know how often they run, how they are timed and
what is made of the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import yaml

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import DecodingSettings
from recbole_lcrec.decoding import Beams, PromptBatch, Ranker, SharedReader, Trie, beam_search

__all__ = [
    "FLOOR",
    "Found",
    "Way",
    "compare",
    "contenders",
    "floor",
    "generated",
    "prefix_function",
    "ranked",
    "searched",
]

FLOOR = "prompt's forward pass"
TOLERANCE = 1e-4
"""Nats; items whose scores differ by no more may change places."""

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True, eq=False)
class Way:
    """One contender.

    Attributes:
        name: for the table.
        run: does its work for all of its prompts.
        users: how many there are.
        batch: how many are taken at once, in words.
        warm: whether it has run before, so that its first round counts.
    """

    name: str
    run: Callable[[], Any]
    users: int
    batch: str
    warm: bool = False


@dataclass(frozen=True, eq=False)
class Found:
    """Items and scores of users [U, M], best first, in the order of the prompts."""

    items: np.ndarray
    scores: np.ndarray


def settings(beam_size: int, normalizer: str) -> DecodingSettings:
    """The package's defaults, but for these two."""
    defaults = yaml.safe_load((properties_dir() / "stages" / "decoding.yaml").read_text(encoding="utf-8"))
    return DecodingSettings.from_config(
        {**defaults, "decoding_beam_size": beam_size, "decoding_normalizer": normalizer}
    )


def by_length(rows: Rows, batch: int) -> list[np.ndarray]:
    """Numbers of the prompts of each batch, the longest first: every way gets prompts of like length together."""
    order = np.argsort([-len(row) for row in rows], kind="stable")
    return [order[start : start + batch] for start in range(0, len(order), batch)]


def floor(model: Any, rows: Rows, batch: int) -> None:
    """The forward pass of every prompt and the logits of its last token; no cache is kept.

    Padding is on the right, where a causal model needs no mask, and the head is given the last states alone.
    """
    with torch.no_grad():
        for numbers in by_length(rows, batch):
            prompts = PromptBatch.of([rows[number] for number in numbers], model.device)
            states = model.model(input_ids=prompts.ids, use_cache=False).last_hidden_state
            model.lm_head(prompts.last(states))


def searched(reader: SharedReader, rows: Rows, trie: Trie, beam_size: int, normalizer: str, batch: int) -> Found:
    """The package's search, in batches of so many users, on the trie's device."""
    batches, parts = by_length(rows, batch), []
    for numbers in batches:
        prompts = PromptBatch.of([rows[number] for number in numbers], trie.device)
        beams = beam_search(reader, prompts, trie, beam_size, normalizer)
        parts.append((beams.items.cpu().numpy(), beams.log_probs.cpu().numpy()))
    return _in_order(batches, parts)


def ranked(model: Any, reader: SharedReader, rows: Rows, trie: Trie, beam_size: int, normalizer: str) -> Beams:
    """The package's ranker, which makes its own batches by ``decoding_max_tokens``."""
    return Ranker(reader, trie, settings(beam_size, normalizer), model.device).rank([[row] for row in rows], k=1)


def prefix_function(token_ids: np.ndarray) -> Callable[[int], Callable[[int, torch.Tensor], list[int]]]:
    """From the width of a batch's prompts to what ``generate`` asks which tokens may come next."""
    below: dict[tuple[int, ...], dict[int, None]] = {}
    for row in token_ids.tolist():
        for depth, token in enumerate(row):
            below.setdefault(tuple(row[:depth]), {})[token] = None
    following = {prefix: list(tokens) for prefix, tokens in below.items()}
    return lambda width: lambda batch_id, ids: following[tuple(ids[width:].tolist())]


def generated(
    model: Any, rows: Rows, token_ids: np.ndarray, allowed: Callable[..., Any], beam_size: int, batch: int, scores: bool
) -> Found:
    """``generate`` with a prefix function over a trie of dicts; its scores only where asked for, as they cost time.

    Without scores nothing is read from its sequences, and what is returned is empty.
    """
    batches, parts = by_length(rows, batch), []
    for numbers in batches:
        width = max(len(rows[number]) for number in numbers)
        ids, mask = np.zeros((len(numbers), width), dtype=np.int64), np.zeros((len(numbers), width), dtype=np.int64)
        for place, number in enumerate(numbers):
            ids[place, width - len(rows[number]) :] = rows[number]
            mask[place, width - len(rows[number]) :] = 1
        result = model.generate(
            input_ids=torch.from_numpy(ids).to(model.device),
            attention_mask=torch.from_numpy(mask).to(model.device),
            prefix_allowed_tokens_fn=allowed(width),
            num_beams=beam_size,
            num_return_sequences=beam_size,
            max_new_tokens=token_ids.shape[1],
            length_penalty=0.0,
            early_stopping=True,  # all sequences have one length
            do_sample=False,
            pad_token_id=0,
            return_dict_in_generate=scores,
            output_scores=scores,
        )
        if scores:
            spelt = result.sequences[:, width:].reshape(len(numbers), beam_size, -1).cpu().numpy()
            parts.append((spelt, result.sequences_scores.reshape(len(numbers), -1).float().cpu().numpy()))
    if not scores:
        return Found(np.empty((0, beam_size), dtype=np.int64), np.empty((0, beam_size), dtype=np.float32))
    rows_of = {tuple(row): item for item, row in enumerate(token_ids.tolist())}
    named = [(np.array([[rows_of[tuple(one)] for one in user] for user in spelt.tolist()]), s) for spelt, s in parts]
    return _in_order(batches, named)


def _in_order(batches: list[np.ndarray], parts: list[tuple[np.ndarray, np.ndarray]]) -> Found:
    order = np.argsort(np.concatenate(batches))
    items, scores = (np.concatenate(each)[order] for each in zip(*parts, strict=True))
    return Found(items, scores)


def compare(ours: Found, theirs: Found, tolerance: float) -> str:
    """Whether both found the same: rank by rank, but for items whose scores are within the tolerance."""
    users = min(len(ours.items), len(theirs.items))
    same, alike, far = 0, 0, 0.0
    for mine, my_scores, other, scores in zip(
        ours.items[:users], ours.scores[:users], theirs.items[:users], theirs.scores[:users], strict=True
    ):
        far = max(far, float(np.abs(my_scores - scores).max()))
        differing = np.flatnonzero(mine != other)
        same += not len(differing)
        of_item = dict(zip(mine.tolist(), my_scores.tolist(), strict=True))
        last = float(my_scores[-1])  # an item that ours lacks may have tied with the last one
        alike += all(abs(of_item.get(int(other[rank]), last) - scores[rank]) <= tolerance for rank in differing)
    return (
        f"the same items in the same order for {same} of {users} users, the same but for scores within {tolerance:g} "
        f"for {alike}; scores differ by {far:.1e} at most"
    )


def contenders(
    model: Any, rows: Rows, token_ids: np.ndarray, beam_size: int, batch: int, few: int, fewest: int
) -> tuple[list[Way], list[str]]:
    """All ways on the same prompts.

    Args:
        model: the language model.
        rows: all prompts.
        token_ids: of the items' indices [N, H].
        beam_size: beams per user.
        batch: users at once, of the package and the floor.
        few: prompts for ``generate`` in batches of 8, whole batches evenly from all; 0: not run.
        fewest: prompts for ``generate`` one by one, evenly from all; 0: not run.

    Returns:
        The ways, the floor first, and for each of ``generate``'s a line on how its items and scores compare with the
        package's on the same prompts.
    """
    trie = Trie.from_token_ids(token_ids).to(model.device)
    reader = SharedReader(model)  # opened once, as a run keeps it: its trial of the model is no part of a search
    allowed = prefix_function(token_ids)
    ways = [Way(FLOOR, partial(floor, model, rows, batch), len(rows), str(batch))]
    for normalizer in ("full", "legal"):
        search = partial(searched, reader, rows, trie, beam_size, normalizer, batch)
        ways.append(Way(f"beam_search, {normalizer}", search, len(rows), str(batch)))
        rank = partial(ranked, model, reader, rows, trie, beam_size, normalizer)
        ways.append(Way(f"Ranker, {normalizer}", rank, len(rows), "by tokens"))
    lines = []
    for count, size in ((few, 8), (fewest, 1)):
        if not count:
            continue
        batches = by_length(rows, size)
        taken = np.linspace(0, len(batches) - 1, min(len(batches), -(-count // size))).round().astype(int)
        part = [rows[number] for one in taken for number in batches[one]]
        slow = partial(generated, model, part, token_ids, allowed, beam_size, size)
        ways.append(Way(f"generate, batch {size}", partial(slow, False), len(part), str(size), warm=True))
        ours, theirs = searched(reader, part, trie, beam_size, "full", batch), slow(True)
        lines.append(f"beam_search, full, and generate, batch {size}: {compare(ours, theirs, TOLERANCE)}")
    return ways, lines
