"""Small index settings for tests."""

from __future__ import annotations

from typing import Any

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.config.values import read_yaml

SMALL = {
    "method": "rqvae", "levels": 3, "codebook_size": 16, "latent_dim": 8, "hidden_sizes": (32,), "epochs": 3,
    "batch_size": 256, "sinkhorn_epsilon": 0.01, "sinkhorn_iterations": 20, "kmeans_balanced": False,
}  # fmt: skip


def index_settings(**changes: Any) -> IndexSettings:
    """Return the package's defaults, made small, with some fields changed."""
    defaults = read_yaml(properties_dir() / str(IndexSettings.default_file))
    values = {name: defaults[key] for name, key in IndexSettings.keys().items()}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return IndexSettings(**{**values, **SMALL, **changes})
