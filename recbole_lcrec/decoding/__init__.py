"""Constrained decoding: a trie of item indices and beam search over it.

Results come with certificates of optimality; given items can be scored, too.

Callers turn histories into prompt tokens and item indices into token ids; this package works on ids and arrays only.
"""

from recbole_lcrec.decoding.beam_search import Beams, beam_search
from recbole_lcrec.decoding.prompt_batch import PromptBatch
from recbole_lcrec.decoding.ranker import Ranker, Ranking, UserPrompts
from recbole_lcrec.decoding.readers.base import Reader
from recbole_lcrec.decoding.readers.causal import SharedReader
from recbole_lcrec.decoding.readers.opening import open_reader
from recbole_lcrec.decoding.readers.plain import PlainReader
from recbole_lcrec.decoding.scoring import score_items
from recbole_lcrec.decoding.trie import Children, Trie

__all__ = [
    "Beams",
    "Children",
    "PlainReader",
    "PromptBatch",
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
