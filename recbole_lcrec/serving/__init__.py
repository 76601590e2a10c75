"""Recommendations from saved runs: checks of requests, answers, and new items in a run's catalogue."""
