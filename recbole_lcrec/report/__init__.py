"""HTML reports: self-contained pages that need no network, with a light and a dark theme.

``render_page`` fills templates that extend ``frame.html.jinja``.
"""

from recbole_lcrec.report.page import Figure, plotly_json, render_page

__all__ = ["Figure", "plotly_json", "render_page"]
