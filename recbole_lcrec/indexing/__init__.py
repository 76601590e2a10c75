"""Item indices: from item texts to embeddings, codes and an index without conflicts (paper III-B).

The package imports nothing, so that ``item_index`` alone loads fast.
"""
