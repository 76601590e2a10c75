"""Check whether a Hugging Face model is a causal language model.

The check reads the model's configuration, no weights.
"""

from __future__ import annotations

from transformers import PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

__all__ = ["causal_lm_error"]

_ENDINGS = ("ForCausalLM", "LMHeadModel")


def causal_lm_error(config: PretrainedConfig) -> str:
    """Return why a model is not a causal language model; an empty string if it is one.

    Some model types, such as BERT, have a causal class among others, so the class that a model was saved as is checked
    too.

    Args:
        config: configuration of the model.

    Returns:
        A clause that continues a sentence starting with the model's name.
    """
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or getattr(config, "is_encoder_decoder", False):
        return (
            f"is of type {config.model_type!r}, which is not a causal language model such as LLaMA, Qwen2, Qwen3, "
            "Mistral or GPT-2"
        )
    saved_as = getattr(config, "architectures", None) or []
    if saved_as and not any(name.endswith(_ENDINGS) for name in saved_as):
        return f"was saved as {', '.join(saved_as)}, which is not a causal language model"
    return ""
