"""eSASRec (Tikhonovich et al., RecSys 2025, arXiv 2508.06450): shifted sequence, LiGR layers, sampled softmax."""
