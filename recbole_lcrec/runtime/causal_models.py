"""Whether a Hugging Face model is a causal language model, told from its configuration.

Knows transformers' table of causal language models and the class that a model was saved as. Refuses to know which
parameter named the model, where it lies and what it is for. Loads no weights.
"""

from __future__ import annotations

from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

__all__ = ["causal_lm_error"]

_ENDINGS = ("ForCausalLM", "LMHeadModel")


def causal_lm_error(config: PretrainedConfig) -> str:
    """What keeps a model from being a causal language model; empty when it is one.

    A type of model may have a causal class and others, as BERT has, so the class it was saved as counts too.

    Args:
        config: of the model.

    Returns:
        The rest of a sentence that begins with the model's name.
    """
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or getattr(config, "is_encoder_decoder", False):
        return (
            f"is of type {config.model_type!r}, which is no causal language model, as LLaMA, Qwen2, Qwen3, Mistral and "
            "GPT-2 are"
        )
    saved_as = getattr(config, "architectures", None) or []
    if saved_as and not any(name.endswith(_ENDINGS) for name in saved_as):
        return f"was saved as {', '.join(saved_as)}, which is no causal language model"
    return ""
