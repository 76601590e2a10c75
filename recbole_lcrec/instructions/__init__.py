"""From user sequences and item indices to instructions: pairs of a prompt and its response, in text.

Knows the alignment tasks, their templates and which datum is shown in which epoch. Refuses to know tokenizers, models
and RecBole.
"""
