"""The index report: one HTML page that shows whether an item index means something.

``making`` gathers the content, ``writing`` checks and writes it; ``shape`` and ``meaning`` make its sections,
``figures`` draws, ``page`` renders.
"""

from recbole_lcrec.indexing.report.making import make_report
from recbole_lcrec.indexing.report.writing import IndexReport, write_report

__all__ = ["IndexReport", "make_report", "write_report"]
