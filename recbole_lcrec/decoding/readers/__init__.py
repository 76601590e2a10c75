"""How decoding asks a language model: prompts are read once, branches grow, next tokens have log-probabilities.

Knows kinds of language models, one file each. Refuses to know the trie and items.
"""
