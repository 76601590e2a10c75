"""The frame of the package's HTML pages: one file each, readable without a network, in light and in dark.

Knows nothing itself; ``page`` fills templates, which extend ``frame.html.jinja``.
"""

from recbole_lcrec.report.page import Figure, plotly_json, render_page

__all__ = ["Figure", "plotly_json", "render_page"]
