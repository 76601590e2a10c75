"""Intentions and preferences of users in words (paper III-C3): one file per source, and the choice among them.

Knows training sequences, item texts and reviews of training interactions. Refuses to know instructions, indices and
language models that are tuned. Nothing held out comes in, so nothing held out goes out.
"""
