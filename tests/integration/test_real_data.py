"""The data stage on real catalogues: indices learned from real texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_lcrec import Config, create_dataset

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"
Parameters = Callable[..., dict[str, Any]]
# the paper's codebooks; few epochs and short texts, because no number here depends on the quality of the index
LEARNED = {
    "index_method": "rqvae", "index_levels": 4, "index_codebook_size": 256, "index_latent_dim": 32,
    "index_hidden_sizes": [64], "index_epochs": 2, "text_max_length": 16, "text_description_fields": [],
}  # fmt: skip


def on_shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} is not in {SHARED}")
    return SHARED


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ml-100k", "Industrial_and_Scientific"])
def test_an_index_learned_from_real_texts_has_no_conflicts(name: str, tiny: Parameters) -> None:
    parameters = {**tiny(Path()), **LEARNED}
    if name == "ml-100k":
        del parameters["data_path"]
        parameters["text_title_fields"] = ["movie_title"]
    else:
        parameters["data_path"] = str(on_shared(name))
    dataset = create_dataset(Config("LCRec", name, config_dict=parameters))
    assert len(np.unique(dataset.item_index.codes, axis=0)) == len(dataset.item_ids) > 1000
    assert dataset.item_index.codes.shape[1] == 4
