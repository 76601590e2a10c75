"""Two models of another package; importing their specifications loads neither PyTorch nor RecBole."""

from pathlib import Path

from recbole_lcrec import ModelSpec

FOLDER = Path(__file__).parent

TINY_GPT = ModelSpec(
    name="TinyGPT",
    model="recbole_stranger.models:TinyGPT",
    property_file=FOLDER / "TinyGPT.yaml",
    settings="recbole_stranger.models:SETTINGS",
)
ITEM_BAG = ModelSpec(
    name="ItemBag",
    model="recbole_stranger.models:ItemBag",
    property_file=FOLDER / "ItemBag.yaml",
)
