"""Infrastructure for all packages: processes, artifacts, fingerprints, memory, errors, RecBole compatibility."""
