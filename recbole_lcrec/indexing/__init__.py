"""Item indices: from item texts to an index without conflicts (paper III-B).

The steps are embeddings, codes, and the resolution of conflicts.

The package imports nothing, so that ``item_index`` alone loads fast.
"""
