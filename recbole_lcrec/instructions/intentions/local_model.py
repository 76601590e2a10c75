"""Answers of a causal language model in a local folder.

Code that comes with a model is never run, and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
)

from recbole_lcrec.config.settings import IntentionSettings
from recbole_lcrec.config.values import first_line
from recbole_lcrec.instructions.intentions.questions import Messages, UnusableAnswer, accept_answer
from recbole_lcrec.runtime.causal_models import causal_lm_error

__all__ = ["ask_local_model", "check_local_model"]

_REMEDY = "give the folder of a causal language model, or name an endpoint with intention_llm_base_url"
_LOADING_ERRORS = (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError)


def check_local_model(folder: str) -> None:
    """Check, without loading the weights, that a folder holds a causal language model and a tokenizer.

    Raises:
        ValueError: there is no such folder, or its model is of another kind.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"intention_llm_model = {folder!r}: there is no such folder; {_REMEDY}")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except _LOADING_ERRORS as err:
        raise ValueError(
            f"intention_llm_model = {folder!r} holds no model with a tokenizer ({first_line(err)}); {_REMEDY}"
        ) from err
    problem = causal_lm_error(config)
    if problem:
        raise ValueError(f"intention_llm_model = {folder!r} {problem}; {_REMEDY}")


def ask_local_model(
    requests: Iterable[tuple[str, Messages]],
    settings: IntentionSettings,
    keep: Callable[[str, str], None],
    advance: Callable[[], object] = lambda: None,
    accept: Callable[[str, bool], str] = accept_answer,
) -> list[str]:
    """Answer all requests in batches of ``llm_parallel``, with greedy decoding so that answers are reproducible.

    Args:
        requests: (key, messages), taken batch by batch.
        settings: the folder, the batch size and the maximum number of tokens of an answer.
        keep: called with each key and accepted answer after its batch.
        advance: called after each request.
        accept: ``(text, complete) -> one clean line``; raises ``UnusableAnswer``.

    Returns:
        The reason for each request without a usable answer. None is tried again, because greedy decoding would give the
        same answer.

    Raises:
        ValueError: the model cannot be loaded.
    """
    model, tokenizer = _load(settings.llm_model or "")
    queue, failures = iter(requests), []
    while batch := list(islice(queue, settings.llm_parallel)):
        prompts = {key: _prompt_tokens(messages, tokenizer) for key, messages in batch}
        room = _context(model) - settings.llm_max_tokens
        fitting = {key: tokens for key, tokens in prompts.items() if len(tokens) <= room}
        failures += [
            f"the question has {len(tokens)} tokens; the model's context leaves {room} beside intention_llm_max_tokens"
            for key, tokens in prompts.items()
            if key not in fitting
        ]
        written = _generate(list(fitting.values()), model, tokenizer, settings.llm_max_tokens) if fitting else []
        for key, (text, complete) in zip(fitting, written, strict=True):
            try:
                keep(key, accept(text, complete))
            except UnusableAnswer as err:
                failures.append(str(err))
        for _ in batch:
            advance()
    return failures


def _load(folder: str) -> tuple[Any, PreTrainedTokenizerBase]:
    check_local_model(folder)
    gpu = torch.cuda.is_available()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            dtype="auto" if gpu else torch.float32,  # half precision is slow on most CPUs
        )
    except _LOADING_ERRORS as err:
        raise ValueError(f"intention_llm_model = {folder!r} cannot be loaded ({first_line(err)}); {_REMEDY}") from err
    own = model.generation_config.eos_token_id
    ends = list(own) if isinstance(own, (list, tuple)) else [tokenizer.eos_token_id if own is None else own]
    if ends == [None]:
        raise ValueError(f"intention_llm_model = {folder!r} has no end token, so its answers would not end; {_REMEDY}")
    pad = ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    # Replaces the model's own configuration, which may ask for sampling.
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=pad)
    return model.to("cuda" if gpu else "cpu").eval(), tokenizer


def _context(model: Any) -> int:
    """Return the length of the model's context in tokens."""
    return int(getattr(model.config, "max_position_embeddings", None) or 2**31)


def _prompt_tokens(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the chat in the tokenizer's chat template; without one, as plain text to be continued."""
    joined = "\n\n".join(message["content"] for message in messages)
    if tokenizer.chat_template:
        try:
            text = _chat_text(messages, tokenizer)
        except TemplateError:  # some templates, such as Gemma's, reject a system message
            text = _chat_text([{"role": "user", "content": joined}], tokenizer)
        return tokenizer(text, add_special_tokens=False)["input_ids"]  # the template has its own
    return tokenizer(joined + "\n\nAnswer:")["input_ids"]


def _chat_text(messages: Messages, tokenizer: PreTrainedTokenizerBase) -> str:
    # Thinking would use up the answer's tokens; templates without it ignore the argument.
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    )


def _generate(
    prompts: list[list[int]], model: Any, tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> list[tuple[str, bool]]:
    """Return the text, and whether the model ended it, for each of B prompts, padded on the left."""
    width, pad = max(map(len, prompts)), int(model.generation_config.pad_token_id)
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    with torch.inference_mode():
        output = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=max_tokens)[:, width:]
    ends = model.generation_config.eos_token_id
    written = []
    for row in output.tolist():
        stop = next((position for position, token in enumerate(row) if token in ends), None)
        written.append((str(tokenizer.decode(row[:stop], skip_special_tokens=True)), stop is not None))
    return written
