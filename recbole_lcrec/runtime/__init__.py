"""Infrastructure for all rooms: processes, artifacts, memory and errors.

Fingerprints and the compatibility with RecBole are here, too.
"""
