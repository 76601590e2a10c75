"""A local language model as a source: a tiny random LLaMA on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, LlamaForCausalLM, PreTrainedTokenizerFast

from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import IntentionSettings
from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.data.sequences import UserSequences
from recbole_lcrec.instructions.intentions import local_model
from recbole_lcrec.instructions.intentions.from_llm import ask_user_texts, check_llm
from recbole_lcrec.instructions.intentions.local_model import ask_local_model, check_local_model
from recbole_lcrec.instructions.intentions.questions import UnusableAnswer
from recbole_lcrec.llm.backbone import train_tokenizer
from tests.tiny_llama import tiny_llama

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[answer]{% endif %}"
)
TOKENS = 6


def settings(folder: Path, **changes: Any) -> IntentionSettings:
    values = read_yaml(properties_dir() / "model/LCRec.yaml")
    chosen = {"llm_model": str(folder), "llm_max_tokens": TOKENS, "llm_parallel": 3}
    return dataclasses.replace(IntentionSettings.from_config(values), **{**chosen, **changes})


def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(["The buyer wants a lamp. What was this buyer looking for?"], 300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose generation settings ask for sampling, which must be ignored."""
    path = tmp_path_factory.mktemp("models") / "llama"
    words = tokenizer()
    model = tiny_llama(words, 7, max_position_embeddings=1024, initializer_range=0.5)
    model.generation_config.update(do_sample=True, temperature=2.0)
    model.save_pretrained(path)
    words.save_pretrained(path)
    return path


def greedy_by_hand(folder: Path, prompt: str) -> str:
    """Generate with one full forward pass per token, without batches, padding and cache."""
    words, model = tokenizer(), LlamaForCausalLM.from_pretrained(folder).eval()
    tokens = words(prompt)["input_ids"]
    start = len(tokens)
    with torch.no_grad():
        while len(tokens) < start + TOKENS:
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
            if tokens[-1] == words.eos_token_id:
                break
    return words.decode(tokens[start:], skip_special_tokens=True)


def questions(*texts: str) -> list[tuple[str, list[dict[str, str]]]]:
    return [(text, [{"role": "system", "content": "Say."}, {"role": "user", "content": text}]) for text in texts]


def anything(text: str, whole: bool) -> str:
    return f"{text}|{whole}"


def test_answers_are_those_of_greedy_decoding_one_by_one(folder: Path) -> None:
    texts = ["a lamp", "What was this buyer looking for? " * 5, "x", "The buyer wants a lamp.", "7"]
    kept: dict[str, str] = {}
    ticks: list[int] = []
    chosen = settings(folder)
    assert ask_local_model(questions(*texts), chosen, kept.__setitem__, lambda: ticks.append(1), anything) == []
    assert len(ticks) == 5 and list(kept) == texts
    for text in texts:
        assert kept[text].rpartition("|")[0] == greedy_by_hand(folder, f"Say.\n\n{text}\n\nAnswer:")
    assert len(set(kept.values())) > 1


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (TEMPLATE, "[system]Say.[user]a lamp[answer]"),
        ("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE,
         "[user]Say.\n\na lamp[answer]"),
    ],
    ids=["with a system message", "without"],
)  # fmt: skip
def test_a_chat_template_is_used(folder: Path, tmp_path: Path, template: str, prompt: str) -> None:
    LlamaForCausalLM.from_pretrained(folder).save_pretrained(tmp_path)
    words = tokenizer()
    words.chat_template = "<s>" + template
    words.save_pretrained(tmp_path)
    kept: dict[str, str] = {}
    ask_local_model(questions("a lamp"), settings(tmp_path), kept.__setitem__, accept=anything)
    assert kept["a lamp"].rpartition("|")[0] == greedy_by_hand(folder, prompt)


def test_unusable_answers_and_long_questions_are_reported(folder: Path) -> None:
    def picky(text: str, whole: bool) -> str:
        raise UnusableAnswer("not this")

    kept: dict[str, str] = {}
    long = "lamp " * 2000
    failures = ask_local_model(questions("a", long), settings(folder), kept.__setitem__, accept=picky)
    assert sorted(failures)[0] == "not this" and "the model's context leaves 1018" in sorted(failures)[1]
    assert kept == {}


def test_stored_answers_are_not_requested_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*arguments: Any) -> list[str]:
        numbers.append(1)
        return ask_local_model(*arguments, accept=anything)

    numbers: list[int] = []
    monkeypatch.setattr(local_model, "ask_local_model", asked)
    monkeypatch.chdir(folder.parent)
    two = UserSequences(np.arange(2), np.array([0, 1, 1, 0]), np.array([0, 2, 4]))
    texts = ItemTexts(("a", "b"), ("lamp", "rope"), ("", ""))
    store = tmp_path / "kept.sqlite"
    first = ask_user_texts(two, texts, {}, settings(folder), store, show_progress=False)
    assert [(one.user, one.position) for one in first.intentions] == [(0, 1), (1, 1)]
    assert [(one.user, one.until) for one in first.preferences] == [(0, 2), (1, 2)]
    again = ask_user_texts(two, texts, {}, settings(Path("llama")), store, show_progress=False)
    assert (again.intentions, again.preferences) == (first.intentions, first.preferences)
    assert numbers == [1]


def test_a_good_folder_passes(folder: Path) -> None:
    check_llm(settings(folder))


def test_other_folders_are_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such folder"):
        check_local_model(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="holds no model with a tokenizer"):
        check_local_model(str(tmp_path))
    words = tokenizer()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path / "bert")
    words.save_pretrained(tmp_path / "bert")
    with pytest.raises(
        ValueError, match="was saved as BertModel, which is not a causal language model; give the folder"
    ):
        check_local_model(str(tmp_path / "bert"))


def test_a_truncated_model_is_an_error(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="cannot be loaded"):
        ask_local_model(questions("a"), settings(tmp_path), {}.__setitem__)
