"""Counting models: rankings from co-visitation and the similarity of item texts; nothing is learned by gradient."""
