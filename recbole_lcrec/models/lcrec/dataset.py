"""LC-Rec's data set: item indices, training sequences and texts for a tokenizer."""

from __future__ import annotations

from recbole_lcrec.bridge.windows import oldest_of_lists
from recbole_lcrec.data.sequences import UserSequences, training_sequences
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

    def sequences(self) -> UserSequences:
        """Return the users' sequences of this split, which should be the training split."""
        feat = self.inter_feat
        return training_sequences(
            feat[self.uid_field].numpy(),
            feat[self.iid_field].numpy(),
            feat[self.item_list_length_field].numpy(),
            oldest_of_lists(feat, self.item_id_list_field).numpy(),
        )
