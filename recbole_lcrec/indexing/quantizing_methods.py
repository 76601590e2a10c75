"""The methods that quantize embeddings: RQ-VAE with and without uniform semantic mapping, and residual k-means.

Knows what each learns, which codes it gives and how it parts items in conflict. Refuses to know files, texts and
artifacts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.indexing.base import Assignment, IndexMethod, Training
from recbole_lcrec.indexing.conflicts import Resolution, resolve_conflicts, resolve_without_embeddings
from recbole_lcrec.indexing.kmeans import residual_codebooks
from recbole_lcrec.indexing.quantizer import ResidualQuantizer
from recbole_lcrec.indexing.rqvae import RQVAE
from recbole_lcrec.indexing.training import ROWS_AT_ONCE, EpochReport, train_rqvae

__all__ = ["RQKMeansMethod", "RQVAEMethod", "SupplementMethod"]


class RQVAEMethod(IndexMethod):
    """RQ-VAE with uniform semantic mapping (paper III-B).

    The last level is mapped uniformly in training, and each prefix's conflicting items are reassigned to its free codes
    at the least distance.
    """

    uniform: ClassVar[bool] = True

    def __init__(self, model: RQVAE, settings: IndexSettings, seed: int) -> None:
        super().__init__(settings, seed)
        self.model = model.eval()

    @classmethod
    def train(cls, embeddings: np.ndarray | None, training: Training) -> tuple[Self, list[EpochReport]]:
        """Trains by Algorithm 1; one report per epoch."""
        settings, inputs = training.settings, _tensor(_given(embeddings))
        generator = torch.Generator().manual_seed(training.seed)
        model = _new_rqvae(inputs.shape[1], settings, generator).to(training.device)
        curve = train_rqvae(model, inputs, settings, generator, training.show_progress, uniform=cls.uniform)
        return cls(model, settings, training.seed), curve

    @torch.no_grad()
    def assign(self, embeddings: np.ndarray | None, rows: range) -> Assignment:
        """The nearest code of each level (Eq. 1), chunk by chunk."""
        inputs = _tensor(_given(embeddings))
        codes, latents, lost = [], [], 0.0
        for chunk in inputs.split(ROWS_AT_ONCE):
            encoded = self.model.latents(chunk.to(self.model.mean.device))
            codes.append(self.model.quantizer.encode(encoded))
            latents.append(encoded.cpu())
            decoded = self.model.decoder(self.model.quantizer.decode(codes[-1]))
            lost += float((decoded - self.model.scaled(chunk.to(decoded.device))).square().mean(dim=1).double().sum())
        lost *= float(self.model.scale) ** 2  # in the unit of the embeddings
        return Assignment(torch.cat(codes).cpu().numpy(), torch.cat(latents).numpy(), lost)

    def separate(
        self, assignment: Assignment, embeddings: np.ndarray | None, occupied: np.ndarray | None = None
    ) -> Resolution:
        """Reassigns the items in conflict to free codes (Eq. 6)."""
        codebooks = self.model.quantizer.codebooks.detach().cpu().numpy()
        return resolve_conflicts(assignment.codes, _given(assignment.latents), codebooks, occupied=occupied)

    def state(self) -> dict[str, Tensor]:
        """Weights, codebooks, mean and scale."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: IndexSettings, seed: int, device: torch.device) -> Self:
        """The same model again."""
        if "mean" not in state:
            raise ValueError(f"no RQ-VAE was saved there, only {sorted(state)}; learn the index anew")
        model = _new_rqvae(len(state["mean"]), settings, torch.Generator())
        _require_shapes(state, {name: tensor.shape for name, tensor in model.state_dict().items()})
        model.load_state_dict(dict(state))
        return cls(model.to(device), settings, seed)


class SupplementMethod(RQVAEMethod):
    """RQ-VAE without uniform semantic mapping (Fig. 2, "w/o USM"): one more level tells conflicting items apart.

    Its code is the item's number among those that share all codes of the learned levels; every item has it, so the
    index is rectangular with H + 1 levels. The level has K codes, or as many as the largest group needs.
    """

    uniform = False

    def separate(
        self, assignment: Assignment, embeddings: np.ndarray | None, occupied: np.ndarray | None = None
    ) -> Resolution:
        """Numbers the items that share all learned codes."""
        codes = np.pad(assignment.codes, ((0, 0), (0, 1)))
        if occupied is None:
            groups = np.unique(assignment.codes, axis=0, return_counts=True)[1]
            last = max(self.settings.codebook_size, int(groups.max(initial=1)))
        else:
            last = max(self.settings.codebook_size, int(occupied[:, -1].max(initial=0)) + 1)
        separated, moved = resolve_without_embeddings(codes, (*self.codebook_sizes, last), occupied=occupied)
        return Resolution(separated, moved)

    def sizes_of(self, codes: np.ndarray) -> tuple[int, ...]:
        """The learned levels, and the one of numbers."""
        return (*self.codebook_sizes, max(self.settings.codebook_size, int(codes[:, -1].max()) + 1))


class RQKMeansMethod(IndexMethod):
    """Residual k-means on the embeddings themselves: no network, a codebook of centres per level.

    Embeddings are centred and divided by a power of two near their largest element, which changes no digit and keeps
    squares finite. Conflicts are resolved as for the RQ-VAE.
    """

    def __init__(
        self, mean: Tensor, scale: Tensor, quantizer: ResidualQuantizer, settings: IndexSettings, seed: int
    ) -> None:
        super().__init__(settings, seed)
        self.mean = mean
        self.scale = scale
        self.quantizer = quantizer

    @classmethod
    def train(cls, embeddings: np.ndarray | None, training: Training) -> tuple[Self, list[EpochReport]]:
        """Clusters the centred embeddings, then each level's residuals."""
        settings, given = training.settings, _given(embeddings)
        generator = torch.Generator().manual_seed(training.seed)
        mean = given.mean(axis=0, dtype=np.float64).astype(np.float32)
        points = given - mean
        spread = float(np.abs(points).max())
        scale = np.float32(2.0 ** np.floor(np.log2(spread)) if spread > 0 else 1.0)
        points /= scale
        books = residual_codebooks(points, settings.levels, settings.codebook_size, generator)
        state = {"mean": torch.from_numpy(mean), "scale": torch.tensor(scale), "codebooks": torch.from_numpy(books)}
        return cls.from_state(state, settings, training.seed, training.device), []

    @torch.no_grad()
    def assign(self, embeddings: np.ndarray | None, rows: range) -> Assignment:
        """The nearest centre of each level, chunk by chunk."""
        codes, lost = [], 0.0
        for chunk in _tensor(_given(embeddings)).split(ROWS_AT_ONCE):
            points = (chunk.to(self.mean.device) - self.mean) / self.scale
            codes.append(self.quantizer.encode(points))
            lost += float((self.quantizer.decode(codes[-1]) - points).square().mean(dim=1).double().sum())
        return Assignment(torch.cat(codes).cpu().numpy(), None, lost * float(self.scale) ** 2)

    def separate(
        self, assignment: Assignment, embeddings: np.ndarray | None, occupied: np.ndarray | None = None
    ) -> Resolution:
        """Reassigns the items in conflict to free codes (Eq. 6).

        The mean goes into the first codebook, so that distances are those to the embeddings where they lie and no copy
        of them is made.
        """
        codebooks = self.quantizer.codebooks.detach().cpu().double().numpy() * float(self.scale)
        codebooks[0] += self.mean.cpu().double().numpy()
        return resolve_conflicts(assignment.codes, _given(embeddings), codebooks, occupied=occupied)

    def state(self) -> dict[str, Tensor]:
        """Mean, scale and centres."""
        codebooks = self.quantizer.codebooks.detach().cpu()
        return {"mean": self.mean.cpu(), "scale": self.scale.cpu(), "codebooks": codebooks}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], settings: IndexSettings, seed: int, device: torch.device) -> Self:
        """The same centres again."""
        if set(state) != {"mean", "scale", "codebooks"}:
            raise ValueError(f"no residual k-means was saved there, only {sorted(state)}; learn the index anew")
        dim = len(state["mean"])
        shapes = {"mean": (dim,), "scale": (), "codebooks": (settings.levels, settings.codebook_size, dim)}
        _require_shapes(state, shapes)
        quantizer = ResidualQuantizer(settings.levels, settings.codebook_size, dim)
        with torch.no_grad():
            quantizer.codebooks.copy_(state["codebooks"])
            quantizer.initialised.fill_(True)
        return cls(state["mean"].to(device), state["scale"].to(device), quantizer.to(device), settings, seed)


def _given(array: np.ndarray | None) -> np.ndarray:
    if array is None:
        raise RuntimeError("this index method works on embeddings, and none were given")
    return array


def _tensor(embeddings: np.ndarray) -> Tensor:
    """On the CPU, where a memory map stays one; chunks and batches of it are moved."""
    return torch.from_numpy(np.ascontiguousarray(embeddings, dtype=np.float32))


def _new_rqvae(input_dim: int, settings: IndexSettings, generator: torch.Generator) -> RQVAE:
    """An RQ-VAE whose weights are drawn from the generator alone."""
    quantizer = ResidualQuantizer(
        settings.levels,
        settings.codebook_size,
        settings.latent_dim,
        settings.beta,
        settings.sinkhorn_epsilon,
        settings.sinkhorn_iterations,
    )
    return RQVAE(input_dim, settings.hidden_sizes, quantizer, generator)


def _require_shapes(state: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]]) -> None:
    for name in sorted({*state, *expected}):
        found = list(state[name].shape) if name in state else None
        wanted = list(expected[name]) if name in expected else None
        if found != wanted:
            raise ValueError(
                f"saved tensor {name!r} has shape {found} where the settings say {wanted}; "
                "the file belongs to an index of other sizes: learn the index anew, or restore the file"
            )
