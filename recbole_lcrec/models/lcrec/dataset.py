"""LC-Rec's data set: item indices, and texts for a tokenizer."""

from __future__ import annotations

from recbole_lcrec.instructions.templates import Templates
from recbole_lcrec.models.indexed_dataset import IndexedDataset

__all__ = ["LCRecDataset"]


class LCRecDataset(IndexedDataset):
    """A sequential data set with item indices and the sources of LC-Rec's instructions."""

    def tokenizer_texts(self, templates: Templates) -> list[str]:
        """Return the texts on which a tokenizer is trained from scratch: templates, and item texts if there are any."""
        if not self.has_texts():
            return templates.texts()
        texts = self.item_texts
        return [*templates.texts(), *(text for text in (*texts.titles, *texts.descriptions) if text)]
