"""The door of the command ``python -m recbole_lcrec.indexing``; the work is in ``recbole_lcrec/cli/index.py``.

Knows nothing; refuses to know how an index is made.
"""

from __future__ import annotations

import sys

from recbole_lcrec.cli.index import main

if __name__ == "__main__":
    sys.exit(main())
