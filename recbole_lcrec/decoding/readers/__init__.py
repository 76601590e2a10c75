"""Readers: how decoding queries a language model.

A reader reads prompts once, extends branches of tokens from them, and returns log-probabilities of next tokens. Each
kind of reader has its own file and follows the protocols in ``base.py``.
"""
