"""LC-Rec (Zheng et al., ICDE 2024): a language model tuned to generate item indices."""
