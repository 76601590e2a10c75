"""What a run is asked for: models, keys, values, and which value wins.

Knows models by their specifications and keys by their settings. ``Config`` is loaded on first use, because it loads
PyTorch and RecBole. Refuses to know what stages do with their settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recbole_lcrec.config.configurator import Config

__all__ = ["Config"]


def __getattr__(name: str) -> Any:
    if name == "Config":
        from recbole_lcrec.config.configurator import Config

        return Config
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
