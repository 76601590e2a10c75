"""The language model: loading it, teaching its tokenizer the item indices, and tuning it.

Knows Hugging Face models and tokenizers, and instructions as text. Refuses to know data sets, how item indices came
about, and RecBole.
"""
