"""Counting models: rankings from co-visitation and the similarity of item texts.

Nothing is learned by gradient.
"""
