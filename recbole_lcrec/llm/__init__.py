"""The language model: loading it, adding item indices to its vocabulary, and fine-tuning it on instructions."""
