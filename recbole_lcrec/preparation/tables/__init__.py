"""Import of user tables (csv, tsv, JSON lines, parquet) as a data set, with checks and a report.

``importing`` runs the steps; ``form``, ``reading`` and ``parquet`` read tables as text columns; ``columns`` maps
columns to fields; ``checks``, ``items`` and ``rows`` check the rows; ``findings``, ``report`` and ``page`` report the
results.
"""
