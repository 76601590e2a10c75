"""The indexing room: from item texts to embeddings, codes and a conflict-free item index (paper III-B).

Knows nothing itself; each module says what it knows. It loads nothing, so that ``item_index`` alone stays light.
"""
