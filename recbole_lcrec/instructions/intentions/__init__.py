"""Intentions and preferences of users in words (paper III-C3).

One file per source, and the choice among them.

Sources get training sequences, item texts and reviews of training interactions, and nothing that is held out.
"""
