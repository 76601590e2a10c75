"""Number formats that follow the settings and the device."""

from __future__ import annotations

import pytest
import torch

from recbole_lcrec.llm.devices import resolve_precision, weight_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_auto_is_bf16_on_gpus_with_native_support(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("auto", CPU) == "fp32" and resolve_precision("bf16", CPU) == "bf16"
    for native in (True, False):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, native=native: including_emulation or native,
        )
        assert resolve_precision("auto", GPU) == ("bf16" if native else "fp32")
    assert resolve_precision("fp16", GPU) == "fp16"
    with pytest.raises(ValueError, match=r"fp16.*needs a GPU"):
        resolve_precision("fp16", CPU)


@pytest.mark.parametrize(
    ("precision", "device", "deepspeed", "lora", "expected"),
    [
        ("bf16", CPU, False, False, torch.float32),
        ("bf16", CPU, True, False, torch.bfloat16),
        ("bf16", CPU, False, True, torch.bfloat16),
        ("fp16", GPU, False, True, torch.float16),
        ("fp16", GPU, False, False, torch.float32),
        ("fp32", CPU, True, True, torch.float32),
        ("auto", CPU, True, True, torch.float32),
    ],
)
def test_trained_weights_load_in_float32(
    precision: str, device: torch.device, deepspeed: bool, lora: bool, expected: torch.dtype
) -> None:
    assert weight_dtype(precision, device, deepspeed, lora) is expected
    if not lora:
        assert weight_dtype(precision, device, deepspeed) is expected


def test_adapter_of_a_half_precision_base_is_float32() -> None:
    """As :func:`weight_dtype` relies on: peft keeps all trained weights, new rows included, in float32."""
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.LlamaConfig(vocab_size=16, **sizes)
    base = transformers.LlamaForCausalLM(config).to(weight_dtype("bf16", CPU, deepspeed=False, lora=True))
    rows = {"embed_tokens": [14, 15], "lm_head": [14, 15]}
    lora = peft.LoraConfig(r=2, target_modules="all-linear", trainable_token_indices=rows, task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, lora)
    trained = {name: weight.dtype for name, weight in model.named_parameters() if weight.requires_grad}
    assert any("trainable_tokens" in name for name in trained) and any("lora_A" in name for name in trained)
    assert set(trained.values()) == {torch.float32}
    assert {weight.dtype for weight in model.parameters() if not weight.requires_grad} == {torch.bfloat16}
