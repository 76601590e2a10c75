"""The RQ-VAE of this package beside a plain loop written as Algorithm 1 reads: seconds, error, conflicts.

    python benchmarks/index_quality.py --dataset=Industrial_and_Scientific --data_path=../shared/data --threads=2
    python benchmarks/index_quality.py --embeddings=embeddings.npy --seeds=0,1,2 --out=benchmarks/out

Both train on the same unit-length item embeddings with the same number of threads, one after the other for each seed.

The yardstick: MLP D-2048-1024-512-256-128-64-32 with ReLU and its mirror image, four codebooks of 256, batch 1024,
k-means (scikit-learn) on the first batch's latents, AdamW with weight decay 1e-4 at a constant 1e-3 after a linear
warm-up of 50 epochs (``--warm_up``; without it most codes die in the first ten epochs and half the items stay in
conflict), mean squared errors for reconstruction and, level by level, codebook and commitment (0.25), Sinkhorn-Knopp in
double precision over the batch at the last level, and up to 20 Sinkhorn rounds per group of conflicting items at
construction.
Ours: ``train_rqvae`` and ``resolve_conflicts`` with the package's default settings.

Error is the mean squared difference of embedding and reconstruction per element of the unit-length embeddings, every
level mapped to its nearest code. Conflict rate is (N - distinct) / N before any reassignment. Measuring is not timed.
Distances of moved items are squared, in the latent space, as a share of the mean squared quantization distance of all
items before anything moved, so that models with latents of different lengths can be compared.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import yaml
from sklearn.cluster import KMeans
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sinkhorn_rounds import sinkhorn_rounds

from recbole_lcrec.config.settings import IndexSettings, TextSettings
from recbole_lcrec.indexing.conflicts import resolve_conflicts
from recbole_lcrec.indexing.item_index import conflict_rate
from recbole_lcrec.indexing.quantizer import ResidualQuantizer
from recbole_lcrec.indexing.rqvae_network import RQVAE
from recbole_lcrec.indexing.sizes import sized
from recbole_lcrec.indexing.training import encode_catalogue, train_rqvae

WIDTHS = (2048, 1024, 512, 256, 128, 64, 32)
LEVELS, SIZE, BATCH, RATE, DECAY, BETA, EPSILON, ROUNDS = 4, 256, 1024, 1e-3, 1e-4, 0.25, 0.003, 50


@dataclass(frozen=True)
class Point:
    """Where a training stands after so many epochs and seconds."""

    epoch: int
    seconds: float
    error: float
    conflicts: float


@dataclass(frozen=True)
class Moves:
    """What a way out of conflicts came to: rows left in conflict, rows moved, added distance of those (see above)."""

    left: int
    moved: int
    added: float


@dataclass(frozen=True)
class Outcome:
    """One training of one model, and both ways out of its conflicts."""

    model: str
    seed: int
    curve: list[Point]
    codes_used: list[int]
    exact: Moves
    rounds: Moves


class PlainRQVAE(nn.Module):
    """The yardstick's network."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.encoder, self.decoder = plain_mlp((dim, *WIDTHS)), plain_mlp((*WIDTHS[::-1], dim))
        self.codebooks = nn.ParameterList([nn.Parameter(torch.zeros(SIZE, WIDTHS[-1])) for _ in range(LEVELS)])

    @torch.no_grad()
    def start(self, batch: Tensor, seed: int) -> None:
        """K-means on the first batch's latents, level by level."""
        residual = self.encoder(batch)
        for codebook in self.codebooks:
            clustering = KMeans(min(SIZE, len(residual)), n_init=1, max_iter=100, random_state=seed)
            centres = clustering.fit(residual.numpy()).cluster_centers_
            codebook[: len(centres)] = torch.from_numpy(centres)
            residual = residual - codebook[torch.cdist(residual, codebook).argmin(dim=1)]

    def forward(self, batch: Tensor, uniform: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction ``[B, D]``, quantization loss and codes ``[B, H]``."""
        residual, total, losses, codes = self.encoder(batch), 0.0, [], []
        for level, codebook in enumerate(self.codebooks):
            distances = torch.cdist(residual.detach(), codebook.detach()).square()
            last = level == LEVELS - 1
            codes.append(plain_sinkhorn(distances).argmax(dim=1) if uniform and last else distances.argmin(dim=1))
            vectors = codebook[codes[-1]]
            losses.append(
                functional.mse_loss(vectors, residual.detach()) + BETA * functional.mse_loss(vectors.detach(), residual)
            )
            vectors = residual + (vectors - residual).detach()
            total, residual = total + vectors, residual - vectors
        return self.decoder(total), torch.stack(losses).mean(), torch.stack(codes, dim=1)


def plain_mlp(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        linear = nn.Linear(fan_in, fan_out)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def plain_sinkhorn(distances: Tensor) -> Tensor:
    """The textbook's loop on the kernel itself, items first and codes last, costs scaled to [-1, 1]."""
    low, high = distances.min(), distances.max()
    plan = torch.exp(-((distances - (low + high) / 2) / ((high - low) / 2 + 1e-5)).double() / EPSILON)
    plan /= plan.sum()
    for _ in range(ROUNDS):
        plan /= plan.sum(dim=1, keepdim=True) * plan.shape[0]
        plan /= plan.sum(dim=0, keepdim=True) * plan.shape[1]
    return plan


def yardstick(embeddings: Tensor, seed: int, epochs: int, every: int, epochs_of_warm_up: int) -> Outcome:
    """Trains the plain loop, measured every so many epochs."""
    torch.manual_seed(seed)
    started = perf_counter()
    model = PlainRQVAE(embeddings.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    warm_up = epochs_of_warm_up * -(-len(embeddings) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warm_up))
    seconds, curve = 0.0, []
    for epoch in range(1, epochs + 1):
        model.train()
        for number, rows in enumerate(torch.randperm(len(embeddings)).split(BATCH)):
            batch = embeddings[rows]
            if epoch == 1 and number == 0:
                model.start(batch, seed)
            reconstruction, quantization, _ = model(batch, uniform=True)
            optimizer.zero_grad()
            (functional.mse_loss(reconstruction, batch) + quantization).backward()
            optimizer.step()
            schedule.step()
        if epoch % every == 0 or epoch == epochs:
            seconds += perf_counter() - started
            with torch.no_grad():
                reconstruction, _, codes = model(embeddings, uniform=False)
            error = functional.mse_loss(reconstruction, embeddings).item()
            curve.append(Point(epoch, seconds, error, conflict_rate(codes.numpy())))
            started = perf_counter()
    with torch.no_grad():
        latents = model.encoder(embeddings).numpy()
        codebooks = torch.stack(list(model.codebooks)).numpy()
    return outcome("yardstick", seed, curve, codes.numpy(), latents, codebooks)


def ours(embeddings: Tensor, seed: int, settings: IndexSettings) -> Outcome:
    """Trains the package's RQ-VAE, measured at its end."""
    started = perf_counter()
    generator = torch.Generator().manual_seed(seed)
    sizes = *settings.shape, settings.latent_dim, settings.beta
    quantizer = ResidualQuantizer(*sizes, settings.sinkhorn_epsilon, settings.sinkhorn_iterations)
    model = RQVAE(embeddings.shape[1], settings.hidden_sizes, quantizer, generator)
    train_rqvae(model, embeddings, settings, generator, show_progress=False)
    seconds = perf_counter() - started
    with torch.no_grad():
        codes, latents = encode_catalogue(model, embeddings), model.latents(embeddings)
        scaled_error = (model.decoder(quantizer.decode(codes)) - model.scaled(embeddings)).square().mean()
        error = (scaled_error * model.scale**2).item()
    curve = [Point(settings.epochs, seconds, error, conflict_rate(codes.numpy()))]
    return outcome("ours", seed, curve, codes.numpy(), latents.numpy(), quantizer.codebooks.detach().numpy())


def outcome(
    name: str, seed: int, curve: list[Point], codes: np.ndarray, latents: np.ndarray, codebooks: np.ndarray
) -> Outcome:
    """Both ways out of the conflicts of one trained model."""

    def moves(after: np.ndarray) -> Moves:
        distances = [squared(latents, codebooks, some) for some in (codes, after)]
        rows = (after != codes).any(axis=1)
        added = float((distances[1] - distances[0])[rows].mean() / distances[0].mean()) if rows.any() else 0.0
        return Moves(len(codes) - len(np.unique(after, axis=0)), int(rows.sum()), added)

    exact = moves(resolve_conflicts(codes, latents, codebooks).codes)
    rounds = moves(sinkhorn_rounds(codes, latents, codebooks, EPSILON, ROUNDS, 20))
    return Outcome(name, seed, curve, [len(np.unique(level)) for level in codes.T], exact, rounds)


def squared(latents: np.ndarray, codebooks: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Squared distance ``[N]`` of latents to what the codes decode to."""
    decoded = sum(codebooks[level, codes[:, level]].astype(np.float64) for level in range(len(codebooks)))
    return ((latents - decoded) ** 2).sum(axis=1)


def report(outcomes: list[Outcome]) -> str:
    """A row per training, the means, and what they say of one another."""
    rows = []
    for one in outcomes:
        end, ways = one.curve[-1], (one.rounds, one.exact)
        cells = [f"{one.model}, seed {one.seed}", str(end.epoch), f"{end.seconds:.1f}", f"{end.error:.6f}"]
        cells += [f"{end.conflicts:.2%}", " ".join(map(str, one.codes_used))]
        rows.append([*cells, *(f"{way.moved} ({way.left})" for way in ways), *(f"{way.added:.4f}" for way in ways)])
    heads = ["model", "epochs", "seconds", "error", "conflicts", "codes used"]
    heads += [f"{what}, {way}" for what in ("moved (left)", "added") for way in ("rounds", "exact")]
    return "\n".join([tabulate(rows, heads, tablefmt="pipe", disable_numparse=True), "", *compared(outcomes)])


def compared(outcomes: list[Outcome]) -> list[str]:
    """Time to quality and error at equal time, a line a seed; and means over seeds."""
    lines = []
    named = {(one.model, one.seed): one for one in outcomes}
    for seed in sorted({one.seed for one in outcomes}):
        plain, own = named["yardstick", seed], named["ours", seed]
        end, mine = plain.curve[-1], own.curve[-1]
        by_then = [point for point in plain.curve if point.seconds <= mine.seconds] or plain.curve[:1]
        reached = mine.error <= end.error and mine.conflicts <= end.conflicts
        lines.append(
            f"seed {seed}: the yardstick took {end.seconds / end.epoch:.2f} s an epoch; ours "
            f"{'reached' if reached else 'DID NOT REACH'} its error and conflict rate within "
            f"{mine.seconds / end.seconds:.1%} of its time; after {by_then[-1].seconds:.0f} s "
            f"the yardstick stood at {by_then[-1].error:.6f} and {by_then[-1].conflicts:.2%}"
        )
    for model in ("yardstick", "ours"):
        ends = [one.curve[-1] for one in outcomes if one.model == model]
        lines.append(
            f"{model}, mean of {len(ends)}: {np.mean([end.seconds for end in ends]):.1f} s, error "
            f"{np.mean([end.error for end in ends]):.6f}, conflict rate {np.mean([end.conflicts for end in ends]):.2%}"
        )
    return lines


def item_vectors(options: argparse.Namespace) -> np.ndarray:
    """Embeddings ``[N, D]`` from a file, or of a data set's texts by the package."""
    if options.embeddings is not None:
        return np.load(options.embeddings)
    from recbole_lcrec import Config
    from recbole_lcrec.bridge.catalogue import ItemCatalogue
    from recbole_lcrec.indexing.embeddings import item_embeddings
    from recbole_lcrec.preparation.locate import artifact_store

    given: dict[str, Any] = {"checkpoint_dir": str(options.out)}
    if options.data_path is not None:
        given["data_path"] = options.data_path
    config = Config("LCRec", options.dataset, config_dict=given)
    catalogue = ItemCatalogue(config)
    text, index = TextSettings.from_config(config), IndexSettings.from_config(config)
    return item_embeddings(
        lambda: catalogue.item_texts, catalogue.item_ids, text, index, artifact_store(config), config["device"], True
    ).vectors


def main() -> None:
    """Trains both for every seed, one after the other, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", type=Path, help="item embeddings [N, D], .npy; none: those of --dataset")
    parser.add_argument("--dataset", default="Industrial_and_Scientific")
    parser.add_argument("--data_path")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=200, help="of the yardstick")
    parser.add_argument("--warm_up", type=int, default=50, help="epochs of the yardstick's linear warm-up; 0: none")
    parser.add_argument("--every", type=int, default=5, help="epochs of the yardstick between two measurements")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    vectors = np.array(item_vectors(options), dtype=np.float32)
    embeddings = torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    defaults = IndexSettings.from_config(yaml.safe_load((ROOT / "properties/stages/index.yaml").read_text("utf-8")))
    defaults = sized(defaults, len(embeddings))
    outcomes: list[Outcome] = []
    for seed in options.seeds:
        outcomes.append(yardstick(embeddings, seed, options.epochs, options.every, options.warm_up))
        outcomes.append(ours(embeddings, seed, defaults))
        found = json.dumps([asdict(one) for one in outcomes], indent=1)
        (options.out / "index_quality.json").write_text(found, encoding="utf-8")
        sys.stderr.write("\n".join(compared(outcomes)) + "\n")
    machine = f"{platform.machine()}, {options.threads} threads, Python {platform.python_version()}"
    data = f"PyTorch {torch.__version__}, embeddings {list(embeddings.shape)}"
    sys.stdout.write(f"{machine}, {data}\n{report(outcomes)}\n")


if __name__ == "__main__":
    main()
