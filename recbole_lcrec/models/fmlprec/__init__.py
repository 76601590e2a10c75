"""FMLP-Rec (Zhou et al., WWW 2022, arXiv 2202.13556): learnable filters in the frequency domain."""
