"""LC-Rec's data set: item indices (``models/indexed_dataset.py``), training sequences and texts for a tokenizer."""

from __future__ import annotations

from recbole_lcrec.bridge.windows import oldest_of_lists
from recbole_lcrec.data.sequences import UserSequences, training_sequences
from recbole_lcrec.instructions.templates import Templates
from recbole_lcrec.models.indexed_dataset import IndexedDataset

__all__ = ["LCRecDataset"]


class LCRecDataset(IndexedDataset):
    """A sequential data set whose items have indices, with what LC-Rec's instructions are made from."""

    def tokenizer_texts(self, templates: Templates) -> list[str]:
        """Return what a tokenizer from scratch learns from: templates, and the items' texts where there are any."""
        if not self.has_texts():
            return templates.texts()
        texts = self.item_texts
        return [*templates.texts(), *(text for text in (*texts.titles, *texts.descriptions) if text)]

    def sequences(self) -> UserSequences:
        """Return the users' sequences of this split, meant to be the training split."""
        feat = self.inter_feat
        return training_sequences(
            feat[self.uid_field].numpy(),
            feat[self.iid_field].numpy(),
            feat[self.item_list_length_field].numpy(),
            oldest_of_lists(feat, self.item_id_list_field).numpy(),
        )
