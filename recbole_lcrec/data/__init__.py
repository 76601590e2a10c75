"""From what lies on disk to RecBole's data sets, item texts and user sequences.

Knows file formats, RecBole's atomic files and the order of time. Refuses to know item indices, language models and
ranking.
"""
