"""Two models of another package; importing their specifications loads neither PyTorch nor RecBole."""

from pathlib import Path

from recbole_lcrec import ModelSpec

FOLDER = Path(__file__).parent

TINY_GPT = ModelSpec(
    name="TinyGPT",
    model="recbole_stranger.models:TinyGPT",
    property_file=FOLDER / "TinyGPT.yaml",
    settings="recbole_stranger.models:SETTINGS",
    dataset="recbole_lcrec.models.indexed_dataset:IndexedDataset",
    check_inputs="recbole_lcrec.models.indexed_dataset:check_inputs",
)
ITEM_BAG = ModelSpec(
    name="ItemBag",
    model="recbole_stranger.models:ItemBag",
    property_file=FOLDER / "ItemBag.yaml",
    full_ranking=False,
)
