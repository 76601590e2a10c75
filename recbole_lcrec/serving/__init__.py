"""Recommendations from saved runs: requests checked, answered, and catalogues grown by new items.

Knows saved runs. Refuses to know how they were trained.
"""
