"""Amazon's review data, editions 2018 and 2023.

From raw files to atomic files, as in the paper (IV-A1).

``prepare`` runs the steps; ``files`` finds and names the raw files, ``interactions``, ``metadata`` and ``review_texts``
read them, ``choice`` selects the interactions, and ``report`` counts what remains.
"""
