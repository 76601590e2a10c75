"""Entry point of ``python -m recbole_lcrec.recommend``."""

from __future__ import annotations

import sys

from recbole_lcrec.cli.recommend import main

if __name__ == "__main__":
    sys.exit(main())
