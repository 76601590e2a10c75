"""Instructions: pairs of prompt and response, as text.

They are built from user sequences, item indices and item texts.

The alignment tasks (``tasks/``), their templates, and which datum an epoch shows. Tokenizers and models come later.
"""
