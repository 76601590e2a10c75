"""SASRec (Kang and McAuley, ICDM 2018) with the paper's objective: every position a target, binary cross entropy."""
