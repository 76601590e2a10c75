"""Import of user tables as a data set, with checks and a report.

Tables are csv, tsv, JSON lines or parquet files.

``importing`` runs the steps; ``form``, ``reading`` and ``parquet`` read tables as text columns; ``columns`` maps
columns to fields; ``checks``, ``items`` and ``rows`` check the rows; ``findings``, ``report`` and ``page`` report the
results.
"""
