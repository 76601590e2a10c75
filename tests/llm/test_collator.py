"""Labels stand on responses alone, even where padding and end token are one."""

from __future__ import annotations

import dataclasses

from recbole_lcrec.instructions.templates import Instruction
from recbole_lcrec.llm.backbone import Backbone
from recbole_lcrec.llm.collator import IGNORED, InstructionCollator, label_batch
from recbole_lcrec.llm.tokens import TokenRow


def test_label_batch_by_hand() -> None:
    batch = label_batch([TokenRow([1, 2], [3, 9]), TokenRow([1], [4])], pad_id=9)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 9], [1, 4, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    # the first row's 9 is its end token and is learned; the second row's are padding and are not
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 3, 9], [IGNORED, 4, IGNORED, IGNORED]]


def test_collator_learns_the_end_token_when_it_also_pads(backbone: Backbone) -> None:
    backbone.tokenizer.pad_token = backbone.tokenizer.eos_token
    collate = InstructionCollator(backbone.tokenizer, max_length=64)
    batch = collate([Instruction("a lamp, a hammer", "<a_1><b_2>"), Instruction("a", "<a_0><b_0>")])
    end = backbone.tokenizer.eos_token_id
    learned = [[int(i) for i in row[row != IGNORED]] for row in batch["labels"]]
    assert [len(row) for row in learned] == [3, 3]
    assert all(row[-1] == end for row in learned)
    assert dataclasses.is_dataclass(collate)
