"""Sections on the shape of an index: how it was trained, how evenly codes are used, how the tree of prefixes branches.

Knows codes and training curves, and the words that explain them. Refuses to know what items are about, HTML and files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recbole_lcrec.indexing.item_index import perplexities
from recbole_lcrec.indexing.prefix_tree import children_per_node, prefix_ids
from recbole_lcrec.indexing.report import figures
from recbole_lcrec.indexing.report.page import Section, Table
from recbole_lcrec.report import Figure

__all__ = ["codes_section", "training_section", "tree_section"]


def training_section(curve: Sequence[Mapping[str, Any]], codebook_sizes: Sequence[int]) -> Section:
    """Losses, conflicts and use of codes over the epochs; a number that is None in every epoch has no figure."""
    lead = (
        "Reconstruction should fall and flatten; quantization may rise as the latent vectors spread. Codes used and "
        "perplexity should stay high on every level: a level whose codes fall out of use (collapse) tells fewer items "
        "apart, and conflicts rise."
    )
    if not curve:
        return Section("training", "Training", lead, "No training curve: this index was not trained epoch by epoch.")
    epochs = [epoch["epoch"] for epoch in curve]

    def line(key: str) -> tuple[list[float], list[float]]:
        known = [(epoch["epoch"], epoch[key]) for epoch in curve if epoch.get(key) is not None]
        return [at for at, _ in known], [value for _, value in known]

    def levels(key: str, parts: Sequence[float]) -> dict[str, tuple[list[float], list[float]]]:
        values = [[epoch[key][level] / part for epoch in curve] for level, part in enumerate(parts)]
        return {figures.level_name(level): (epochs, value) for level, value in enumerate(values)}

    trained = len(curve[0]["codes_used"])
    losses = {
        "reconstruction": line("reconstruction_loss"),
        "quantization": line("quantization_loss"),
    }
    drawn = [
        Figure(
            "Losses",
            "Reconstruction: what the codes fail to keep of the embeddings, squared, per element. Quantization: how "
            "far latent vectors lie from the codes that stand for them. Logarithmic axis.",
            figures.curves(losses, "loss", log=True),
        ),
        Figure(
            "Conflict rate",
            "Share of items without an index of their own if every item took its nearest codes: (items - distinct "
            "indices) / items, before conflicts are resolved.",
            figures.curves({"conflict rate": line("conflict_rate")}, "share of items", percent=True),
        ),
        Figure(
            "Codes used",
            "Share of each level's codes that at least one item was mapped to in the epoch.",
            figures.curves(levels("codes_used", codebook_sizes[:trained]), "share of the level's codes", percent=True),
        ),
        Figure(
            "Perplexity",
            "The number of codes that, used evenly, would be as varied as the level is: its number of codes when all "
            "are used alike, 1 when all items share one.",
            figures.curves(levels("perplexity", [1] * trained), "codes"),
        ),
        Figure(
            "Uniform mapping",
            "How far the Sinkhorn mapping of the last level is from giving every code an equal share of a batch: the "
            "largest relative deviation. Logarithmic axis.",
            figures.curves({"marginal error": line("marginal_error")}, "relative deviation", log=True),
        ),
    ]
    shown = tuple(figure for figure in drawn if any(trace.get("x") for trace in figure.plot["data"]))
    return Section("training", "Training", lead, figures=shown)


def codes_section(codes: np.ndarray, codebook_sizes: Sequence[int]) -> Section:
    """How evenly the codes of each level are used by the finished index."""
    counts = [np.bincount(codes[:, level], minlength=size) for level, size in enumerate(codebook_sizes)]
    rows = []
    for level, (of_codes, perplexity) in enumerate(zip(counts, perplexities(codes), strict=True)):
        used = int((of_codes > 0).sum())
        rows.append(
            (
                figures.level_name(level),
                f"{len(of_codes):,}",
                f"{used:,}",
                f"{used / len(of_codes):.1%}",
                f"{perplexity:,.1f}",
                f"{int(of_codes.max()):,}",
                f"{len(codes) / len(of_codes):,.1f}",
            )
        )
    columns = ("level", "codes", "used", "share used", "perplexity", "items of the most used", "items if all even")
    caption = (
        "A flat line is even use; a steep one means that a few codes hold most items. Where it is 0, codes lie idle."
    )
    return Section(
        "codes",
        "Use of codes",
        "Each level has its own codes. The more evenly they are used, the more one code says about an item. Perplexity "
        "is the number of evenly used codes that would be as varied.",
        figures=(Figure("Items per code", caption, figures.code_usage(counts)),),
        tables=(Table(columns, tuple(rows)),),
    )


def tree_section(codes: np.ndarray, codebook_sizes: Sequence[int]) -> Section:
    """Distinct prefixes per depth and how they branch."""
    children = children_per_node(prefix_ids(codes))
    depths = [str(depth) for depth in range(1, codes.shape[1] + 1)]
    distinct = [int(of_depth.sum()) for of_depth in children]
    room = [min(len(codes), math.prod(codebook_sizes[:depth])) for depth in range(1, len(depths) + 1)]
    rows = [
        (
            "0 (root)" if depth == 0 else str(depth),
            f"{prefixes:,}",
            f"{at_most:,}",
            f"{len(codes) / prefixes:,.2f}",
            *_next_codes(children[depth] if depth < len(children) else None),
        )
        for depth, (prefixes, at_most) in enumerate(zip([1, *distinct], [1, *room], strict=True))
    ]
    columns = (
        "depth",
        "distinct prefixes",
        "at most",
        "items per prefix",
        "next codes: median",
        "next codes: mean",
        "next codes: most",
        "with one next code",
    )
    drawn = [
        Figure(
            "Distinct prefixes per depth",
            "Depth 1 counts first codes, depth 2 pairs of first and second code, and so on; the last depth counts "
            "whole indices. At most: the lesser of all combinations and the number of items. Logarithmic axis.",
            figures.bars(depths, {"distinct": distinct, "at most": room}, "prefixes", log=True, grey=("at most",)),
        )
    ]
    if len(children) > 1:
        drawn.append(
            Figure(
                "How prefixes branch",
                "Of all prefixes of a depth, the share with so many different next codes. One next code only: the "
                "prefix already decides what follows, and the next code adds nothing.",
                figures.branching(children[1:]),
            )
        )
    lead = (
        "Indices form a tree: a first code, below it the second codes that follow it, down to the items. The "
        "recommender walks down this tree, one choice per level."
    )
    return Section("tree", "The tree of prefixes", lead, figures=tuple(drawn), tables=(Table(columns, tuple(rows)),))


def _next_codes(children: np.ndarray | None) -> tuple[str, ...]:
    if children is None:
        return ("-",) * 4
    single = f"{(children == 1).mean():.1%}"
    return f"{np.median(children):,.0f}", f"{children.mean():,.2f}", f"{int(children.max()):,}", single
