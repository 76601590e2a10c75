"""Configuration of a run: which models exist, which parameters they take, and which source of a value wins.

``Config`` is loaded on first use, because it loads PyTorch and RecBole.
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
