"""The index report: one HTML page that shows people whether an item index means something.

Knows nothing itself; ``writing`` takes the inputs, ``shape`` and ``meaning`` make sections, ``figures`` draws, ``page``
puts them together.
"""

from recbole_lcrec.indexing.report.writing import IndexReport, write_report

__all__ = ["IndexReport", "write_report"]
