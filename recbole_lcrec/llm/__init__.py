"""The language model: loading, item indices in its vocabulary, and fine-tuning."""
