"""Sizes of an index that follow from the catalogue."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_lcrec import Config
from recbole_lcrec.config.resources import properties_dir
from recbole_lcrec.config.settings import IndexSettings
from recbole_lcrec.config.values import read_yaml
from recbole_lcrec.indexing.sizes import sized


def index_settings(**changes: Any) -> IndexSettings:
    values = read_yaml(properties_dir() / "stages" / "index.yaml")
    return IndexSettings.from_config({**values, **{f"index_{key}": value for key, value in changes.items()}})


@pytest.mark.parametrize(
    ("n_items", "shape"), [(5, (2, 4)), (148, (2, 16)), (1682, (2, 64)), (2047, (2, 64)), (2048, (4, 256))]
)
def test_sizes_by_hand(n_items: int, shape: tuple[int, int]) -> None:
    assert sized(index_settings(), n_items).shape == shape


def test_given_sizes_stay_and_the_other_follows() -> None:
    assert sized(index_settings(levels=3, codebook_size=8), 10**6).shape == (3, 8)
    assert sized(index_settings(codebook_size=8), 1682).shape == (4, 8)
    assert sized(index_settings(levels=3), 1682).shape == (3, 16)
    assert sized(index_settings(levels=2), 3686).shape == (2, 256)


@given(st.integers(1, 2047), st.sampled_from(["auto", 1, 3]), st.sampled_from(["auto", 2, 16]))
def test_small_catalogues_leave_a_third_free(n_items: int, levels: Any, codes: Any) -> None:
    settings = sized(index_settings(levels=levels, codebook_size=codes), n_items)
    found_levels, found_codes = settings.shape
    if levels == "auto" or codes == "auto":
        assert found_codes**found_levels >= 1.5 * n_items
    assert levels in ("auto", found_levels) and codes in ("auto", found_codes)


def test_sizes_are_needed_before_they_are_used() -> None:
    with pytest.raises(RuntimeError, match=r"sizes\.sized"):
        _ = index_settings().shape


def test_a_wrong_size_names_auto() -> None:
    with pytest.raises(ValueError, match=r"index_levels = 'atuo'.*auto"):
        Config("LCRec", "ml-100k", config_dict={"index_levels": "atuo"})
