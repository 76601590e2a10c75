"""RecBole's side of the package: its data sets with exact order of time, loaders, splits, filters and building.

Knows RecBole's interfaces. Refuses to know item indices, instructions and language models.
"""
