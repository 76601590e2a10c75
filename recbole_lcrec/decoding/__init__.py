"""Constrained decoding: the trie of existing items, exact beam search over it, and scoring of given items.

Knows a Hugging Face causal language model, token ids and arrays. Refuses to know RecBole, texts and tokenizers: who
calls this room has already turned histories into prompt tokens and item indices into token ids.
"""

from recbole_lcrec.decoding.beam_search import Beams, beam_search
from recbole_lcrec.decoding.prompt_batch import Prompts
from recbole_lcrec.decoding.ranker import Ranker, Ranking, UserPrompts
from recbole_lcrec.decoding.readers.base import Reader
from recbole_lcrec.decoding.readers.causal import SharedReader
from recbole_lcrec.decoding.readers.opening import open_reader
from recbole_lcrec.decoding.readers.plain import PlainReader
from recbole_lcrec.decoding.scoring import score_items
from recbole_lcrec.decoding.trie import Candidates, Trie

__all__ = [
    "Beams",
    "Candidates",
    "PlainReader",
    "Prompts",
    "Ranker",
    "Ranking",
    "Reader",
    "SharedReader",
    "Trie",
    "UserPrompts",
    "beam_search",
    "open_reader",
    "score_items",
]
