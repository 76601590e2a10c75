"""Embeddings of a catalogue: from a file, or encoded in parts by one or several processes with equal results."""

import logging
import multiprocessing
import os

import numpy as np
import pytest
import torch

from recbole_lcrec.config.settings import IndexSettings, TextSettings
from recbole_lcrec.data.item_text import ItemTexts
from recbole_lcrec.indexing import embeddings
from recbole_lcrec.indexing.embeddings import check_embedding_inputs, encoder_identity, item_embeddings
from recbole_lcrec.indexing.encoder_models import load_text_model
from recbole_lcrec.indexing.text_encoder import encode_items
from recbole_lcrec.runtime.artifacts import ArtifactStore
from tests.indexing import tiny_encoders

CPU = torch.device("cpu")
IDS = tuple(f"i{n}" for n in range(10))
TEXTS = ItemTexts(
    IDS,
    (*(" ".join("abcdefgh"[(n + k) % 8] for k in range(1 + n)) for n in range(9)), ""),
    ("", "h", "g", "", "g", "h", "", "h", "g", ""),
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoders.bert(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(embeddings, "_ITEMS_PER_PART", 3)


def text_settings(encoder, **changes):
    fields = {"max_length": 8, "batch_size": 2, "precision": "fp32", **changes}
    return TextSettings(("title",), ("description",), encoder, **fields)


class _Given:
    """The two fields of the index settings that matter here."""

    def __init__(self, embedding_file=None, embedding_ids=None):
        self.embedding_file, self.embedding_ids = embedding_file, embedding_ids


def index_settings(embedding_file=None, embedding_ids=None) -> IndexSettings:
    return _Given(embedding_file, embedding_ids)  # type: ignore[return-value]


def embed(root, encoder, texts=TEXTS, **changes):
    store = ArtifactStore(root)
    return item_embeddings(
        texts, texts.item_ids, text_settings(encoder, **changes), index_settings(), store, CPU, False
    )


def at_once(encoder):
    """Encode all texts at once, without parts or store."""
    return encode_items(TEXTS, load_text_model(encoder, 8, "fp32", CPU), 64).embeddings


def refuse(*_):
    raise AssertionError("an encoder was loaded although its work was there")


def test_encoded_in_parts_and_reused(encoder, tmp_path, caplog, monkeypatch):
    with caplog.at_level(logging.INFO):
        made = embed(tmp_path, encoder)
    assert not made.reused and made.folder.parent == tmp_path
    assert made.vectors.dtype == np.float32 and isinstance(made.vectors, np.memmap)
    np.testing.assert_allclose(made.vectors, at_once(encoder), rtol=1e-4, atol=1e-6)
    assert "1 items without text have the embedding of the empty text" in caplog.text
    # three parts of three titles and two descriptions, and the empty text; titles of 7, 8 and 9 words have no room
    assert "10 items, 16 texts, 3 of them cut to 8 tokens -> [10, 16], made" in caplog.text
    caplog.clear()
    monkeypatch.setattr(embeddings, "load_text_model", refuse)
    with caplog.at_level(logging.INFO):
        again = embed(tmp_path, encoder, batch_size=5)
    assert again.reused and again.folder == made.folder
    assert "3 of them cut to 8 tokens -> [10, 16], reused" in caplog.text and "1 items without" in caplog.text
    np.testing.assert_array_equal(again.vectors, made.vectors)


def test_writing_to_the_vectors_keeps_the_artifact(encoder, tmp_path, recwarn):
    made = embed(tmp_path, encoder)
    kept = made.vectors.copy()
    torch.from_numpy(made.vectors).zero_()
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]
    again = embed(tmp_path, encoder)
    assert again.reused
    np.testing.assert_array_equal(again.vectors, kept)


def test_changed_inputs_give_another_artifact(encoder, tmp_path):
    other_encoder = tiny_encoders.llama(tmp_path / "llama")
    swapped = ItemTexts(IDS, TEXTS.descriptions, TEXTS.titles)
    folders = {
        embed(tmp_path, encoder).folder,
        embed(tmp_path, encoder, max_length=5).folder,
        embed(tmp_path, encoder, precision="bf16").folder,
        embed(tmp_path, other_encoder).folder,
        embed(tmp_path, encoder, swapped).folder,
        embed(tmp_path, encoder, ItemTexts(IDS, ("ab", "c", *TEXTS.titles[2:]), TEXTS.descriptions)).folder,
        embed(tmp_path, encoder, ItemTexts(IDS, ("a", "bc", *TEXTS.titles[2:]), TEXTS.descriptions)).folder,
    }
    assert len(folders) == 7
    assert embed(tmp_path, encoder, precision="auto").reused  # fp32 on a CPU


def test_an_interrupted_encoding_is_resumed(encoder, tmp_path, monkeypatch):
    encoded = []

    def until(limit):
        def counting(texts, *rest):
            if len(encoded) == limit:
                raise KeyboardInterrupt
            encoded.append(texts.item_ids)
            return encode_items(texts, *rest)

        return counting

    monkeypatch.setattr(embeddings, "encode_items", until(2))
    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path, encoder)
    monkeypatch.setattr(embeddings, "encode_items", until(9))
    made = embed(tmp_path, encoder)
    assert encoded == [IDS[:3], IDS[3:6], IDS[6:9], IDS[9:]]
    np.testing.assert_allclose(made.vectors, at_once(encoder), rtol=1e-4, atol=1e-6)


def _embed_as(rank, root, encoder, results, together):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    parts = []

    def noting(texts, *rest):
        parts.append(texts.item_ids)
        return encode_items(texts, *rest)

    embeddings.encode_items = noting
    together.wait()
    results.put((parts, np.array(embed(root, encoder).vectors)))


def test_two_processes_share_the_encoding(encoder, tmp_path):
    context = multiprocessing.get_context("fork")
    results, together = context.Queue(), context.Barrier(2)
    arguments = (tmp_path / "two", encoder, results, together)
    processes = [context.Process(target=_embed_as, args=(rank, *arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    (one, first), (two, second) = (results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert sorted(one + two) == [IDS[:3], IDS[3:6], IDS[6:9], IDS[9:]]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, embed(tmp_path / "one", encoder).vectors)


def test_a_given_file_needs_neither_texts_nor_encoder(tmp_path):
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.save(tmp_path / "own.npy", table)
    (tmp_path / "names.txt").write_text("c\nb\na\nx\n")
    given = index_settings(str(tmp_path / "own.npy"), str(tmp_path / "names.txt"))
    text = text_settings(str(tmp_path / "no encoder"))
    check_embedding_inputs(text, given)
    found = item_embeddings(None, ["a", "c"], text, given, ArtifactStore(tmp_path / "store"), CPU, False)
    np.testing.assert_array_equal(found.vectors, table[[2, 0]])
    assert found.folder is None and found.reused and not (tmp_path / "store").exists()


def test_mistakes_are_reported_before_any_encoding(encoder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"index_embedding_ids = 'x.ids' has no effect without index_embedding_file"):
        check_embedding_inputs(text_settings(encoder), index_settings(None, "x.ids"))
    with pytest.raises(ValueError, match=r"index_embedding_file = 'none.npy': there is no such file"):
        check_embedding_inputs(text_settings(encoder), index_settings("none.npy"))
    with pytest.raises(ValueError, match="no such folder"):
        check_embedding_inputs(text_settings("./none"), index_settings())
    monkeypatch.setattr(embeddings, "load_text_model", refuse)
    with pytest.raises(ValueError, match="none of the 10 items has text"):
        embed(tmp_path, encoder, ItemTexts(IDS, ("",) * 10, ("",) * 10))
    with pytest.raises(ValueError, match="catalogue is empty"):
        embed(tmp_path, encoder, ItemTexts((), (), ()))
    store = ArtifactStore(tmp_path)
    for texts in (TEXTS, None):
        with pytest.raises(ValueError, match="do not belong to the items"):
            item_embeddings(texts, IDS[::-1], text_settings(encoder), index_settings(), store, CPU, False)


def test_texts_are_read_only_when_needed(encoder, tmp_path):
    store, settings = ArtifactStore(tmp_path), text_settings(encoder)
    found = item_embeddings(lambda: TEXTS, list(IDS), settings, index_settings(), store, CPU, False)
    np.testing.assert_allclose(found.vectors, at_once(encoder), rtol=1e-4, atol=1e-6)


def test_identity_depends_on_content_alone(tmp_path, monkeypatch):
    def folder(name: str, **files: bytes) -> str:
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
            os.utime(tmp_path / name / file, (len(name), len(name)))
        return str(tmp_path / name)

    monkeypatch.setattr(embeddings, "_WHOLE_FILE", 100)
    monkeypatch.setattr(embeddings, "_SAMPLE", 4)
    weights = bytes(range(256)) * 40
    plain = encoder_identity(folder("plain", config=b"{}", weights=weights))
    assert encoder_identity(folder("a copy of it", config=b"{}", weights=weights)) == plain
    others = [
        folder("config", config=b"[]", weights=weights),
        folder("longer", config=b"{}", weights=weights + b"\0"),
        folder("first", config=b"{}", weights=b"\1" + weights[1:]),
        folder("last", config=b"{}", weights=weights[:-1] + b"\0"),
        folder("trained", config=b"{}", weights=bytes(255 - byte for byte in weights)),
        folder("named", config=b"{}", weight=weights),
        "org/name",
        "org/other",
    ]
    assert len({repr(encoder_identity(place)) for place in others} | {repr(plain)}) == len(others) + 1
