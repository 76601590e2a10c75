"""The process environment that DeepSpeed needs, restored afterwards."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import torch
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

__all__ = ["deepspeed_accelerator", "deepspeed_environment"]


@contextmanager
def deepspeed_accelerator(device: torch.device) -> Iterator[None]:
    """Make DeepSpeed, which chooses its accelerator on import, ignore a GPU that the run does not use.

    At the end the whole environment is restored, including variables that other code set in the meantime.
    """
    before = dict(os.environ)
    if device.type != "cuda":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _no_compiled_reduction(device: torch.device) -> Iterator[None]:
    """Keep DeepSpeed from compiling a shared-memory all-reduce; gloo is as good for a few processes."""
    if device.type == "cuda":
        yield
        return
    compatible = import_module("deepspeed.ops").__compatible_ops__
    before = {name: value for name, value in compatible.items() if "shm" in name}
    compatible.update(dict.fromkeys(before, False))
    try:
        yield
    finally:
        compatible.update(before)


@contextmanager
def deepspeed_environment(device: torch.device) -> Iterator[None]:
    """Set up this process for training with DeepSpeed: environment variables, and a rendezvous without a launcher.

    The environment, DeepSpeed's list of ops to compile and transformers' global DeepSpeed configuration are restored
    for later runs in the same Python process. Three things cannot be undone: the accelerator that DeepSpeed chose on
    import, the ops it selected when it opened the process group, and that group, which later runs use again.

    Args:
        device: the device to tune on.
    """
    with deepspeed_accelerator(device), _no_compiled_reduction(device):
        if "RANK" not in os.environ:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            single = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
            os.environ.update(single, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        try:
            yield
        finally:
            unset_hf_deepspeed_config()
