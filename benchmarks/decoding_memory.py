"""Peak memory of one way of decoding, in the process that calls: ``decoding_speed.py`` starts one for each way.

Knows how growth over the loaded model is told from all that was there before. Refuses to know the other ways and what
is made of the number.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from decoding_inputs import MODELS, games_catalogue, prompts_of_length, random_llama
from decoding_ways import generated, prefix_function, searched
from tuning_ways import lower_high_water_mark

from recbole_lcrec.decoding import SharedReader, Trie

__all__ = ["memory_of"]


def memory_of(way: str, options: argparse.Namespace) -> float:
    """Growth of this process's peak memory over the loaded model, trie and prompts, in MiB."""
    catalogue = games_catalogue(options.folder, MODELS[options.model]["words"])
    model, ids, width = random_llama(options.model, options), catalogue.token_ids, options.beams[0]
    options.prompts = options.memory_batch
    rows, trie = prompts_of_length(catalogue, options), Trie.from_token_ids(ids).to(model.device)
    allowed = prefix_function(ids)

    def run(some: Sequence[Sequence[int]]) -> None:
        if way == "generate":
            generated(model, some, ids, allowed, width, len(some), False)
        else:
            searched(SharedReader(model), some, trie, width, way, len(some))

    run(rows[:1])  # what is loaded at first use counts for neither
    lower_high_water_mark()
    if options.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = _peak(options.device)
    run(rows)
    return _peak(options.device) - before


def _peak(device: str) -> float:
    """Peak memory in MiB: allocated on the GPU, or resident, by Linux's account of this process alone."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 2**10
