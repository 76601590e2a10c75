"""Entry point of ``python -m recbole_lcrec.indexing``; the command is in ``recbole_lcrec/cli/index.py``."""

from __future__ import annotations

import sys

from recbole_lcrec.cli.index import main

if __name__ == "__main__":
    sys.exit(main())
