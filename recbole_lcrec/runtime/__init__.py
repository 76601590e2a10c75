"""What every room stands on: processes, artifacts, fingerprints, memory, errors, and RecBole on today's libraries.

Knows nothing of settings, data and models.
"""
