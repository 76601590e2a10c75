"""A trained method on disk: round trip, and an error for each kind of damaged folder."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from recbole_lcrec.config.settings import TextSettings
from recbole_lcrec.indexing.base import Training
from recbole_lcrec.indexing.methods import METHODS, index_method
from recbole_lcrec.indexing.saved import METHOD_FILE, STATE_FILE, SavedMethod, load_method, save_method
from tests.indexing.plain_settings import index_settings

CPU = torch.device("cpu")
TEXT = TextSettings(("title",), (), "some-encoder", 32, 4, "fp32")


def trained(name, n=60):
    embeddings = np.random.default_rng(0).normal(size=(n, 12)).astype(np.float32)
    settings = index_settings(method=name)
    method, _ = index_method(name).train(embeddings, Training(settings, 7, CPU, False))
    return method, embeddings


@pytest.mark.parametrize("name", sorted(METHODS))
def test_round_trip(tmp_path, name):
    method, embeddings = trained(name)
    before = method.assign(embeddings, range(60)).codes
    save_method(SavedMethod(method, (16, 16, 16), TEXT), tmp_path)
    again = load_method(tmp_path, CPU)
    np.testing.assert_array_equal(again.method.assign(embeddings, range(60)).codes, before)
    assert (again.codebook_sizes, again.text, again.method.settings) == ((16, 16, 16), TEXT, method.settings)
    assert type(again.method) is type(method)


@pytest.fixture
def folder(tmp_path):
    save_method(SavedMethod(trained("rqkmeans")[0], (16, 16, 16), None), tmp_path)
    return tmp_path


def change(folder, **tensors):
    state = load_file(folder / STATE_FILE)
    save_file({**state, **tensors}, folder / STATE_FILE)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: change(f, codebooks=torch.zeros(3, 15, 12)),
            r"'codebooks' has shape \[3, 15, 12\] .* \[3, 16, 12\]",
        ),
        (lambda f: change(f, mean=torch.zeros(11)), r"'codebooks' has shape \[3, 16, 12\] .* \[3, 16, 11\]"),
        (lambda f: save_file({"weights": torch.zeros(2)}, f / STATE_FILE), r"no residual k-means .*\['weights'\]"),
        (lambda f: (f / STATE_FILE).write_bytes(b"12345678torn"), "damaged"),
        (lambda f: (f / STATE_FILE).unlink(), "no residual k-means"),
        (lambda f: (f / METHOD_FILE).write_text("{"), "damaged"),
        (lambda f: (f / METHOD_FILE).write_text(json.dumps({"method": "x"})), "does not describe"),
        (lambda f: (f / METHOD_FILE).unlink(), "given, not learned"),
    ],
)
def test_a_wrong_folder(folder, damage, message):
    damage(folder)
    with pytest.raises(ValueError, match=message):
        load_method(folder, CPU)


def test_settings_of_an_older_version_get_defaults(folder):
    content = json.loads((folder / METHOD_FILE).read_text())
    before = load_method(folder, CPU).method.settings
    del content["settings"]["report"]
    content["settings"]["gone"] = 1
    (folder / METHOD_FILE).write_text(json.dumps(content))
    assert load_method(folder, CPU).method.settings == before


def test_a_codebook_file_of_another_shape_for_the_rqvae(tmp_path):
    save_method(SavedMethod(trained("rqvae")[0], (16, 16, 16), None), tmp_path)
    change(tmp_path, **{"quantizer.codebooks": torch.zeros(2, 16, 8)})
    with pytest.raises(
        ValueError, match=r"quantizer.codebooks' has shape \[2, 16, 8\] where the settings say \[3, 16, 8\]"
    ):
        load_method(tmp_path, CPU)
