"""The settings of every stage: one frozen dataclass each, built once and checked before any work starts.

Knows the flat keys of ``properties/model/LCRec.yaml`` and what values each may take. Refuses to know where a value
came from (file, command line, dictionary: that is ``configurator.py``) and what a stage does with it. Defaults live in
the property file alone, so that a key is documented and defaulted in one place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from recbole_lcrec.config.value_checks import (
    Check,
    either,
    flag,
    integer,
    list_of,
    mapping_of,
    number,
    one_of,
    optional,
    text,
)

__all__ = [
    "DEFAULT_INDEX_METHOD",
    "RESUMED_KEYS",
    "SCRATCH",
    "BackboneSettings",
    "DecodingSettings",
    "IndexSettings",
    "IntentionSettings",
    "LoraSettings",
    "ScratchSettings",
    "TextSettings",
    "TuningSettings",
    "default_learning_rate",
    "known_keys",
]


def _setting(check: Check, key: str | None = None) -> Any:
    """A dataclass field with its check; ``key`` is the full key where it does not follow the prefix."""
    return field(metadata={"check": check, "key": key})


SCRATCH = "scratch"
"""The ``base_model`` that is initialised small instead of loaded."""

DEFAULT_INDEX_METHOD = "rqvae"
"""What ``index_method: auto`` learns an item index by where none is given."""

_CAPS = optional(either(integer(1), mapping_of(text, integer(1))))


class _Settings:
    """Reads one dataclass from flat, prefixed keys and checks every value."""

    prefix: ClassVar[str] = ""

    @classmethod
    def keys(cls) -> dict[str, str]:
        """Field name -> flat key, in the order of definition."""
        return {
            f.name: f.metadata["key"] or cls.prefix + f.name
            for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        }

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Builds the settings from anything with ``config[key]``: RecBole's Config or a plain dict.

        Raises:
            ValueError: a key is absent, or its value is of the wrong type or out of range; all are named at once.
        """
        values, problems = {}, []
        for name, key in cls.keys().items():
            if key not in config:
                problems.append(f"{key} is missing; properties/model/LCRec.yaml documents it")
                continue
            values[name] = tuple(config[key]) if isinstance(config[key], list) else config[key]
        if problems:
            raise ValueError("; ".join(problems))
        return cls(**values)

    def __post_init__(self) -> None:
        problems = []
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            expected = f.metadata["check"](value)
            if expected:
                problems.append(f"{self.keys()[f.name]} = {value!r}: expected {expected}")
        if problems:
            raise ValueError("; ".join(problems))


@dataclass(frozen=True)
class TextSettings(_Settings):
    """Which fields of the item file are the item's text, and what encodes them (paper III-B1)."""

    prefix: ClassVar[str] = "text_"
    title_fields: tuple[str, ...] = _setting(list_of(text))
    description_fields: tuple[str, ...] = _setting(list_of(text, allow_empty=True))
    encoder: str = _setting(text)
    max_length: int = _setting(integer(1))
    batch_size: int = _setting(integer(1))
    precision: str = _setting(one_of("auto", "fp32", "bf16"))


@dataclass(frozen=True)
class IndexSettings(_Settings):
    """How items get their indices: the RQ-VAE with uniform semantic mapping (paper III-B, IV-A4) and its rivals."""

    prefix: ClassVar[str] = "index_"
    method: str = _setting(text)
    file: str | None = _setting(optional(text))
    embedding_file: str | None = _setting(optional(text))
    embedding_ids: str | None = _setting(optional(text))
    label_field: str | None = _setting(optional(text))
    report: bool = _setting(flag)
    levels: int = _setting(integer(1, 26))
    codebook_size: int = _setting(integer(2))
    latent_dim: int = _setting(integer(1))
    hidden_sizes: tuple[int, ...] = _setting(list_of(integer(1), allow_empty=True))
    beta: float = _setting(number(0.0))
    epochs: int = _setting(integer(1))
    max_steps: int = _setting(integer(1))
    learning_rate: float = _setting(number(0.0, above=True))
    weight_decay: float = _setting(number(0.0))
    batch_size: int = _setting(integer(1))
    sinkhorn_epsilon: float = _setting(number(0.0, above=True))
    sinkhorn_iterations: int = _setting(integer(1))

    def resolved(self) -> IndexSettings:
        """The same with ``auto`` put in words, for a data set without a given index."""
        return dataclasses.replace(self, method=DEFAULT_INDEX_METHOD) if self.method == "auto" else self


@dataclass(frozen=True)
class BackboneSettings(_Settings):
    """Which causal language model is tuned."""

    base_model: str = _setting(text)
    attention: str = _setting(one_of("sdpa", "eager"), key="base_model_attention")


@dataclass(frozen=True)
class ScratchSettings(_Settings):
    """Sizes of the small LLaMA-architecture model that ``base_model: scratch`` initialises."""

    prefix: ClassVar[str] = "scratch_"
    preset: str | None = _setting(optional(one_of("tiny", "small", "base")))
    vocab_size: int = _setting(integer(300))
    hidden_size: int = _setting(integer(8))
    intermediate_size: int = _setting(integer(8))
    layers: int = _setting(integer(1))
    heads: int = _setting(integer(1))
    dropout: float = _setting(number(0.0, 0.95))
    tie_embeddings: bool = _setting(flag)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise ValueError(
                f"scratch_hidden_size = {self.hidden_size} must be an even multiple of "
                f"scratch_heads = {self.heads} (rotary position embeddings rotate pairs)"
            )


@dataclass(frozen=True)
class TuningSettings(_Settings):
    """Instructions and optimisation of the language model (paper III-C, III-D1, IV-A4)."""

    prefix: ClassVar[str] = "tuning_"
    tasks: str | tuple[str, ...] = _setting(either(one_of("auto"), list_of(text)))
    samples_per_task: int | Mapping[str, int] | None = _setting(_CAPS)
    seq_format: str = _setting(one_of("instruction", "stream"))
    stream_epochs: int = _setting(integer(0))
    template_file: str | None = _setting(optional(text))
    text_tokens: int = _setting(integer(1))
    general_file: str | None = _setting(optional(text))
    max_length: int = _setting(integer(8))
    batch_tokens: int | None = _setting(optional(integer(1)))
    accumulation_steps: int = _setting(integer(1))
    scheduler: str = _setting(one_of("cosine", "linear", "constant", "constant_with_warmup"))
    warmup_ratio: float = _setting(number(0.0, 0.99))
    precision: str = _setting(one_of("auto", "fp32", "bf16", "fp16"))
    deepspeed: str | None = _setting(optional(text))
    gradient_checkpointing: bool = _setting(flag)
    workers: int = _setting(integer(0))
    checkpoint_steps: int | None = _setting(optional(integer(1)))
    resume: str | None = _setting(optional(text), key="resume")
    epochs: int = _setting(integer(1), key="epochs")
    batch_size: int = _setting(integer(1), key="train_batch_size")
    learning_rate: float = _setting(number(0.0, above=True), key="learning_rate")
    weight_decay: float = _setting(number(0.0), key="weight_decay")
    valid_sample_users: int | None = _setting(optional(integer(1)), key="valid_sample_users")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tasks != "auto" and len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tuning_tasks = {list(self.tasks)} names a task twice")
        if self.stream_epochs and self.seq_format == "stream":
            raise ValueError(
                f"tuning_stream_epochs = {self.stream_epochs} puts streams before instructions, but "
                "tuning_seq_format = 'stream' has no instructions of seq: leave one of the two out"
            )
        if self.stream_epochs and self.tasks != "auto" and "seq" not in self.tasks:
            raise ValueError(
                f"tuning_stream_epochs = {self.stream_epochs} begins with streams of seq, but tuning_tasks = "
                f"{list(self.tasks)} lacks it: add seq, or set tuning_stream_epochs to 0"
            )
        if self.stream_epochs >= self.epochs:
            raise ValueError(
                f"tuning_stream_epochs = {self.stream_epochs} leaves none of epochs = {self.epochs} to instructions; "
                "lower it, or set tuning_seq_format=stream"
            )


@dataclass(frozen=True)
class LoraSettings(_Settings):
    """Low-rank adaptation (Hu et al., ICLR 2022) in the place of full fine-tuning."""

    prefix: ClassVar[str] = "lora_"
    r: int | None = _setting(optional(integer(1)))
    alpha: int = _setting(integer(1))
    dropout: float = _setting(number(0.0, 0.95))
    targets: str | tuple[str, ...] = _setting(either(one_of("all-linear"), list_of(text)))
    merge: bool = _setting(flag)


@dataclass(frozen=True)
class IntentionSettings(_Settings):
    """Where the intentions and preferences of users come from (paper III-C3)."""

    prefix: ClassVar[str] = "intention_"
    source: str = _setting(one_of("auto", "file", "llm", "extractive", "none"))
    file: str | None = _setting(optional(text))
    review_fields: tuple[str, ...] = _setting(list_of(text, allow_empty=True))
    per_user: int | None = _setting(optional(integer(1)))
    sentences: int = _setting(integer(1))
    llm_model: str | None = _setting(optional(text))
    llm_base_url: str | None = _setting(optional(text))
    llm_key_variable: str = _setting(text)
    llm_parallel: int = _setting(integer(1))
    llm_requests_per_minute: int | None = _setting(optional(integer(1)))
    llm_timeout: float = _setting(number(0.0, above=True))
    llm_retries: int = _setting(integer(0))
    llm_max_tokens: int = _setting(integer(1))


@dataclass(frozen=True)
class DecodingSettings(_Settings):
    """Trie-constrained beam search (paper III-D2, IV-A4)."""

    prefix: ClassVar[str] = "decoding_"
    beam_size: int = _setting(integer(1, 2**31 - 1))
    max_tokens: int | None = _setting(optional(integer(1)))
    search: str = _setting(one_of("shared", "plain"))
    normalizer: str = _setting(one_of("full", "legal"))
    exact: bool = _setting(flag)
    exclude_history: bool = _setting(flag)
    allowed_items: str | None = _setting(optional(text))
    template: int = _setting(integer(0))
    eval_templates: str = _setting(one_of("one", "all", "ensemble"), key="eval_templates")


def default_learning_rate(base_model: str) -> float:
    """AdamW's peak rate where none is given: the paper's for a pretrained model, a higher one for one from nothing."""
    return 0.002 if base_model == SCRATCH else 0.00005


STAGES: tuple[type[_Settings], ...] = (
    TextSettings,
    IndexSettings,
    BackboneSettings,
    ScratchSettings,
    LoraSettings,
    IntentionSettings,
    TuningSettings,
    DecodingSettings,
)


def known_keys() -> list[str]:
    """Every flat key that some stage of LCRec reads."""
    return [key for stage in STAGES for key in stage.keys().values()]


def check_all(config: Mapping[str, Any]) -> None:
    """Builds every stage's settings and throws them away: all bad values are reported before work starts.

    Raises:
        ValueError: every bad value of every stage, in one message.
    """
    problems = []
    for stage in STAGES:
        try:
            stage.from_config(config)
        except ValueError as err:
            problems.append(str(err))
    if problems:
        raise ValueError("; ".join(problems))


RESUMED_KEYS = frozenset(known_keys()) - {
    "resume",
    "index_file",
    "index_report",
    "index_label_field",
    "text_batch_size",
    "tuning_workers",
    "tuning_batch_tokens",
    "tuning_gradient_checkpointing",
    "decoding_max_tokens",
    "tuning_checkpoint_steps",
    "intention_llm_parallel",
    "intention_llm_requests_per_minute",
    "intention_llm_timeout",
    "intention_llm_retries",
} | {
    "mask_history",
    "seed",
    "clip_grad_norm",
    "eval_step",
    "stopping_step",
    "valid_metric",
    "eval_args",
    "MAX_ITEM_LIST_LENGTH",
}
"""Keys that must not differ when a killed run is gone on with; the others change how it is done, not what."""
