"""Report sections on the shape of an index.

Training curves, use of codes, and the prefix tree.
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
    """Losses, conflict rate and use of codes over the epochs; a value that is None in every epoch has no figure."""
    lead = (
        "The reconstruction loss should fall and level off; the quantization loss may rise as the latent vectors "
        "spread out. Codes used and perplexity should stay high on every level: when codes fall out of use (codebook "
        "collapse), the level separates fewer items and conflicts increase."
    )
    if not curve:
        return Section("training", "Training", lead, "No training curve: this index was not trained in epochs.")
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
            "Reconstruction: mean squared error of the embeddings decoded from the codes. Quantization: squared "
            "distance between latent vectors and their codes. Logarithmic axis.",
            figures.curves(losses, "loss", log=True),
        ),
        Figure(
            "Conflict rate",
            "(items - distinct indices) / items, with every item at its nearest codes, before conflicts are resolved.",
            figures.curves({"conflict rate": line("conflict_rate")}, "share of items", percent=True),
        ),
        Figure(
            "Codes used",
            "Share of each level's codes that at least one item was mapped to during the epoch.",
            figures.curves(levels("codes_used", codebook_sizes[:trained]), "share of the level's codes", percent=True),
        ),
        Figure(
            "Perplexity",
            "Effective number of codes of the level (exp of the entropy): all codes if they are used evenly, 1 if all "
            "items have the same code.",
            figures.curves(levels("perplexity", [1] * trained), "codes"),
        ),
        Figure(
            "Uniform mapping",
            "Largest relative deviation of a code's share from an equal share in the Sinkhorn mapping of the last "
            "level. Logarithmic axis.",
            figures.curves({"marginal error": line("marginal_error")}, "relative deviation", log=True),
        ),
    ]
    shown = tuple(figure for figure in drawn if any(trace.get("x") for trace in figure.plot["data"]))
    return Section("training", "Training", lead, figures=shown)


def codes_section(codes: np.ndarray, codebook_sizes: Sequence[int]) -> Section:
    """Evenness of code use on each level of the finished index."""
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
    columns = ("level", "codes", "used", "share used", "perplexity", "items of the most used", "items if even")
    caption = (
        "A flat line means even use; a steep one means that a few codes have most of the items. At 0, codes are unused."
    )
    return Section(
        "codes",
        "Use of codes",
        "Each level has its own codes. The more evenly they are used, the more information a code carries about an "
        "item. Perplexity is the effective number of codes: the number of evenly used codes with the same entropy.",
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
            "Depth 1 counts first codes, depth 2 pairs of first and second codes, and so on; the last depth counts "
            "complete indices. At most: the number of combinations or of items, whichever is smaller. Logarithmic "
            "axis.",
            figures.bars(depths, {"distinct": distinct, "at most": room}, "prefixes", log=True, grey=("at most",)),
        )
    ]
    if len(children) > 1:
        drawn.append(
            Figure(
                "How prefixes branch",
                "Share of the prefixes of a depth by their number of distinct next codes. With one next code, the "
                "prefix determines what follows, and the next code adds no information.",
                figures.branching(children[1:]),
            )
        )
    lead = (
        "Indices form a tree: below each first code are the second codes that follow it, down to the items. The "
        "recommender descends this tree, choosing one code per level."
    )
    return Section("tree", "The prefix tree", lead, figures=tuple(drawn), tables=(Table(columns, tuple(rows)),))


def _next_codes(children: np.ndarray | None) -> tuple[str, ...]:
    if children is None:
        return ("-",) * 4
    single = f"{(children == 1).mean():.1%}"
    return f"{np.median(children):,.0f}", f"{children.mean():,.2f}", f"{int(children.max()):,}", single
