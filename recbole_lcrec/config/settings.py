"""Settings of every stage: one frozen dataclass each, built once and checked before any work starts.

Only property files hold defaults (``properties/stages`` for stages that models share, else the model's own file), so
that each key is documented and given its default in one place. ``configurator.py`` merges the sources of values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
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
    "SCRATCH",
    "BackboneSettings",
    "DecodingSettings",
    "IndexSettings",
    "IntentionSettings",
    "LoraSettings",
    "ScratchSettings",
    "StageSettings",
    "TextSettings",
    "TuningSettings",
    "WordingSettings",
    "keys_of",
    "setting",
]


def setting(check: Check, key: str | None = None) -> Any:
    """Return a dataclass field with its check.

    Args:
        check: check of the value (see ``value_checks.py``).
        key: the full key, if it is not the stage's prefix followed by the field's name.
    """
    return field(metadata={"check": check, "key": key})


SCRATCH = "scratch"
"""The value of ``base_model`` for a small, randomly initialised model instead of a pretrained one."""

DEFAULT_INDEX_METHOD = "rqvae"
"""The index method that ``index_method: auto`` stands for when no index is given."""

_CAPS = optional(either(integer(1), mapping_of(text, integer(1))))


class StageSettings:
    """Base of every stage's settings: a frozen dataclass read from flat, prefixed keys, each value checked.

    Attributes:
        prefix: common prefix of the keys; a field may have a key of its own.
        default_file: file below ``properties`` with the defaults, for stages that several models share; None: the
            model's own property file holds them.
        preset_folder: folder below ``properties`` with presets, files that set several keys at once and are chosen by
            the key ``<prefix>preset``; None: there are none.
    """

    prefix: ClassVar[str] = ""
    default_file: ClassVar[str | None] = None
    preset_folder: ClassVar[str | None] = None

    @classmethod
    def keys(cls) -> dict[str, str]:
        """Return field name -> flat key, in the order of definition."""
        return {
            f.name: f.metadata["key"] or cls.prefix + f.name
            for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        }

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Build the settings from anything with ``config[key]``: RecBole's Config or a plain dict.

        Raises:
            ValueError: a key is absent, or its value has the wrong type or is out of range; names all of them.
        """
        values, problems = {}, []
        for name, key in cls.keys().items():
            if key not in config:
                problems.append(f"{key} is missing: give it a default in the model's property file")
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
class TextSettings(StageSettings):
    """Text of the items: which fields of the item file it is made of, and which model encodes it (paper III-B1)."""

    prefix: ClassVar[str] = "text_"
    default_file: ClassVar[str | None] = "stages/text.yaml"
    title_fields: tuple[str, ...] = setting(list_of(text))
    description_fields: tuple[str, ...] = setting(list_of(text, allow_empty=True))
    encoder: str = setting(text)
    max_length: int = setting(integer(1))
    batch_size: int = setting(integer(1))
    precision: str = setting(one_of("auto", "fp32", "bf16"))


@dataclass(frozen=True)
class IndexSettings(StageSettings):
    """Item indexing: the RQ-VAE with uniform semantic mapping (paper III-B, IV-A4), and other methods."""

    prefix: ClassVar[str] = "index_"
    default_file: ClassVar[str | None] = "stages/index.yaml"
    method: str = setting(text)
    file: str | None = setting(optional(text))
    embedding_file: str | None = setting(optional(text))
    embedding_ids: str | None = setting(optional(text))
    label_field: str | None = setting(optional(text))
    report: bool = setting(flag)
    levels: int | str = setting(either(one_of("auto"), integer(1, 26)))
    codebook_size: int | str = setting(either(one_of("auto"), integer(2)))
    latent_dim: int = setting(integer(1))
    hidden_sizes: tuple[int, ...] = setting(list_of(integer(1), allow_empty=True))
    beta: float = setting(number(0.0))
    epochs: int = setting(integer(1))
    max_steps: int = setting(integer(1))
    learning_rate: float = setting(number(0.0, above=True))
    weight_decay: float = setting(number(0.0))
    batch_size: int = setting(integer(1))
    sinkhorn_epsilon: float = setting(number(0.0, above=True))
    sinkhorn_iterations: int = setting(integer(1))
    kmeans_balanced: bool = setting(flag)

    @property
    def shape(self) -> tuple[int, int]:
        """H and K.

        Raises:
            RuntimeError: one is ``auto``; ``indexing.sizes.sized`` replaces it.
        """
        if isinstance(self.levels, str) or isinstance(self.codebook_size, str):
            raise RuntimeError("index_levels or index_codebook_size is auto; call indexing.sizes.sized first")
        return self.levels, self.codebook_size

    def resolved(self) -> IndexSettings:
        """Return the settings with ``auto`` replaced by the default method, for a data set without a given index."""
        return dataclasses.replace(self, method=DEFAULT_INDEX_METHOD) if self.method == "auto" else self


@dataclass(frozen=True)
class BackboneSettings(StageSettings):
    """The causal language model that is tuned."""

    base_model: str = setting(text)
    attention: str = setting(one_of("sdpa", "eager"), key="base_model_attention")


@dataclass(frozen=True)
class ScratchSettings(StageSettings):
    """Sizes of the small LLaMA-architecture model that ``base_model: scratch`` initialises."""

    prefix: ClassVar[str] = "scratch_"
    preset_folder: ClassVar[str | None] = "scratch"
    preset: str | None = setting(optional(one_of("tiny", "small", "base")))
    vocab_size: int = setting(integer(300))
    hidden_size: int = setting(integer(8))
    intermediate_size: int = setting(integer(8))
    layers: int = setting(integer(1))
    heads: int = setting(integer(1))
    dropout: float = setting(number(0.0, 0.95))
    tie_embeddings: bool = setting(flag)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.heads or (self.hidden_size // self.heads) % 2:
            raise ValueError(
                f"scratch_hidden_size = {self.hidden_size} must be an even multiple of "
                f"scratch_heads = {self.heads} (rotary position embeddings rotate pairs)"
            )


@dataclass(frozen=True)
class TuningSettings(StageSettings):
    """Instructions and optimisation of the language model (paper III-C, III-D1, IV-A4)."""

    prefix: ClassVar[str] = "tuning_"
    tasks: str | tuple[str, ...] = setting(either(one_of("auto", "paper"), list_of(text)))
    samples_per_task: int | Mapping[str, int] | None = setting(_CAPS)
    seq_format: str = setting(one_of("auto", "instruction", "stream"))
    index_start: str = setting(one_of("auto", "random", "texts"))
    stream_epochs: int = setting(integer(0))
    template_file: str | None = setting(optional(text))
    text_tokens: int = setting(integer(1))
    general_file: str | None = setting(optional(text))
    max_length: int = setting(integer(8))
    batch_tokens: int | None = setting(optional(integer(1)))
    accumulation_steps: int = setting(integer(1))
    scheduler: str = setting(one_of("cosine", "linear", "constant", "constant_with_warmup"))
    warmup_ratio: float = setting(number(0.0, 0.99))
    precision: str = setting(one_of("auto", "fp32", "bf16", "fp16"))
    deepspeed: str | None = setting(optional(text))
    gradient_checkpointing: bool = setting(flag)
    workers: int = setting(integer(0))
    checkpoint_steps: int | None = setting(optional(integer(1)))
    resume: str | None = setting(optional(text), key="resume")
    epochs: int = setting(integer(1), key="epochs")
    batch_size: int = setting(integer(1), key="train_batch_size")
    learning_rate: float = setting(number(0.0, above=True), key="learning_rate")
    weight_decay: float = setting(number(0.0), key="weight_decay")
    valid_sample_users: int | None = setting(optional(integer(1)), key="valid_sample_users")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.tasks, str) and len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tuning_tasks = {list(self.tasks)} names a task twice")
        if self.stream_epochs and self.seq_format == "stream":
            raise ValueError(
                f"tuning_stream_epochs = {self.stream_epochs} starts with streams and continues with instructions, but "
                "tuning_seq_format = 'stream' has no instructions of seq: remove one of the two"
            )
        if self.stream_epochs and not isinstance(self.tasks, str) and "seq" not in self.tasks:
            raise ValueError(
                f"tuning_stream_epochs = {self.stream_epochs} starts with streams of seq, but tuning_tasks = "
                f"{list(self.tasks)} does not contain seq: add it, or set tuning_stream_epochs to 0"
            )
        if self.stream_epochs >= self.epochs:
            raise ValueError(
                f"tuning_stream_epochs = {self.stream_epochs} leaves no epoch of epochs = {self.epochs} for "
                "instructions; lower it, or set tuning_seq_format=stream"
            )


@dataclass(frozen=True)
class LoraSettings(StageSettings):
    """Low-rank adaptation (Hu et al., ICLR 2022) instead of full fine-tuning."""

    prefix: ClassVar[str] = "lora_"
    r: int | None = setting(optional(integer(1)))
    alpha: int = setting(integer(1))
    dropout: float = setting(number(0.0, 0.95))
    targets: str | tuple[str, ...] = setting(either(one_of("all-linear"), list_of(text)))
    merge: bool = setting(flag)


@dataclass(frozen=True)
class IntentionSettings(StageSettings):
    """Source of the users' intentions and preferences (paper III-C3)."""

    prefix: ClassVar[str] = "intention_"
    source: str = setting(one_of("auto", "file", "llm", "extractive", "none"))
    file: str | None = setting(optional(text))
    review_fields: tuple[str, ...] = setting(list_of(text, allow_empty=True))
    per_user: int | None = setting(optional(integer(1)))
    sentences: int = setting(integer(1))
    llm_model: str | None = setting(optional(text))
    llm_base_url: str | None = setting(optional(text))
    llm_key_variable: str = setting(text)
    llm_parallel: int = setting(integer(1))
    llm_requests_per_minute: int | None = setting(optional(integer(1)))
    llm_timeout: float = setting(number(0.0, above=True))
    llm_retries: int = setting(integer(0))
    llm_max_tokens: int = setting(integer(1))


@dataclass(frozen=True)
class DecodingSettings(StageSettings):
    """Trie-constrained beam search (paper III-D2, IV-A4)."""

    prefix: ClassVar[str] = "decoding_"
    default_file: ClassVar[str | None] = "stages/decoding.yaml"
    beam_size: int = setting(integer(1, 2**31 - 1))
    max_tokens: int | None = setting(optional(integer(1)))
    search: str = setting(one_of("shared", "plain"))
    normalizer: str = setting(one_of("full", "legal"))
    exact: bool = setting(flag)
    exclude_history: bool = setting(flag)
    allowed_items: str | None = setting(optional(text))


@dataclass(frozen=True)
class WordingSettings(StageSettings):
    """The SEQ template that asks for the next item, and whether a test covers all templates (paper IV-D)."""

    template: int = setting(integer(0), key="decoding_template")
    eval_templates: str = setting(one_of("one", "all", "ensemble"), key="eval_templates")


def keys_of(stages: Iterable[type[StageSettings]]) -> list[str]:
    """Return every flat key that one of these stages reads."""
    return [key for stage in stages for key in stage.keys().values()]
