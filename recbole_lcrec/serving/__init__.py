"""Recommendations from saved runs.

Checks of requests, answers, and new items in a run's catalogue.
"""
